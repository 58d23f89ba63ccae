"""Reports or raises each reason why a run cannot resume bit for bit."""

from __future__ import annotations

from ckptkit.errors import ConfigError
from ckptkit.log import logger
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.journal import Journal
from ckptkit.run.library_versions import versions

_LIBRARIES = ("tensorflow", "keras", "numpy")


class Exactness:
    """Collects the reasons why a run cannot resume bit for bit, and reports each once.

    Args:
        mode: `warn`, `require` or `off`.
        journal: the journal of the attempt.
    """

    def __init__(self, mode: str, journal: Journal) -> None:
        self._mode = mode
        self._journal = journal
        self._reasons: set[str] = set()

    def inexact(self, reason: str) -> None:
        """Report a reason why the run cannot continue bit for bit after an interruption.

        Raises:
            ConfigError: If exactness is required.
        """
        if self._mode == "require":
            raise ConfigError(
                "exact='require' was given, but this run cannot continue bit for bit after an "
                f"interruption: {reason}."
            )
        if self._mode == "warn" and reason not in self._reasons:
            logger.warning(
                "not exact after an interruption: %s. (exact='off' silences this, exact='require' "
                "makes it an error)",
                reason,
            )
            self._journal.record(events.Inexact(reason=reason))
        self._reasons.add(reason)

    def check_versions(self, checkpoint: Checkpoint) -> None:
        """Report a reason if the checkpoint was written with other library versions.

        Raises:
            ConfigError: If exactness is required.
        """
        then, now = checkpoint.manifest.versions, versions()
        other = [
            f"{name} {then[name]} then, {now[name]} now"
            for name in _LIBRARIES
            if name in then and then[name] != now[name]
        ]
        if other:
            self.inexact(f"other versions compute other bits ({'; '.join(other)})")
