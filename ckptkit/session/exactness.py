"""Reports or raises each reason why a run cannot resume bit for bit."""

from __future__ import annotations

from collections.abc import Collection

from ckptkit.compat.tf_random_replacement import REPLACED_OPS
from ckptkit.errors import ConfigError
from ckptkit.log import logger
from ckptkit.restore.replica_numbers import replicas_in, with_values_of_their_own
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.journal import Journal
from ckptkit.run.library_versions import versions
from ckptkit.tracking.worker_part import workers_in

_LIBRARIES = ("tensorflow", "keras", "numpy")

_MOST_NAMED = 4

_SAVED_KINDS = "keras.random with a SeedGenerator, tf.random.Generator, or tf.random.stateless_*"


class Exactness:
    """Collects the reasons why a run cannot resume bit for bit, and reports each once.

    Args:
        mode: `warn`, `require`, `replace` or `off`.
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
        if self._mode != "off" and reason not in self._reasons:
            logger.warning(
                "not exact after an interruption: %s. (exact='off' silences this, exact='require' "
                "makes it an error)",
                reason,
            )
            self._journal.record(events.Inexact(reason=reason))
        self._reasons.add(reason)

    def check_replicas(self, checkpoint: Checkpoint, now: int) -> None:
        """Report a reason if the checkpoint was saved from another number of replicas.

        Args:
            checkpoint: the checkpoint to restore.
            now: the number of replicas of the program.

        Raises:
            ConfigError: If exactness is required.
        """
        entries = checkpoint.manifest.tensors
        then = replicas_in(entries)
        if then == now:
            return
        own = with_values_of_their_own(entries)
        named = ", ".join(own[:_MOST_NAMED]) + (
            f" and {len(own) - _MOST_NAMED} more" if len(own) > _MOST_NAMED else ""
        )
        self.inexact(
            f"the state was saved from {then} {_replicas(then)} of tf.distribute, and the program "
            f"has {now} now, which add up other numbers"
            + (f"; values that each had for itself are joined or split ({named})" if own else "")
        )

    def check_workers(self, checkpoint: Checkpoint, now: int) -> None:
        """Check that as many workers of a job resume a run as have saved it.

        Args:
            checkpoint: the checkpoint to restore.
            now: the number of workers of the program.

        Raises:
            ConfigError: If it are more or fewer.
        """
        then = workers_in(checkpoint.manifest.tensors)
        if then != now:
            raise ConfigError(
                f"Expected {then} {_workers(then)}, as many as saved {checkpoint.path}: each has "
                f"data and statistics of its own. Received: {now}. Start {then} {_workers(then)} "
                "again. Or begin another run in another directory with the weights of this one: "
                f"ckptkit.load_weights(model, {str(checkpoint.path.parent.parent)!r})."
            )

    def drawn(self, who: str, operations: Collection[str], *, traced: bool) -> None:
        """Report random operations whose state cannot be saved, with the remedy.

        Args:
            who: what draws from them.
            operations: their names.
            traced: whether the operations are in a function that is traced.

        Raises:
            ConfigError: If exactness is required.
        """
        if not operations:
            return
        self.inexact(
            f"{who} draws from {', '.join(sorted(operations))}, whose state is inside TensorFlow's "
            f"kernels and cannot be saved. {self._cure(operations, traced)}use {_SAVED_KINDS}"
        )

    def _cure(self, operations: Collection[str], traced: bool) -> str:
        if not traced:
            return (
                "Call tf.random.set_seed(n) before training, and give the operation no seed of its "
                "own; or "
            )
        if self._mode != "replace":
            return (
                "Pass exact='replace', which makes operations of tf.random in a tf.function "
                "stateless and saves their counter; or "
            )
        if others := sorted(set(operations) - REPLACED_OPS):
            return f"exact='replace' cannot replace {', '.join(others)}: "
        return (
            "exact='replace' replaces operations of tf.random in a tf.function that is traced "
            "(first called) while the run is open, on the thread that opened it, and not in "
            "tf.data. Trace this function there (a layer's own tf.function is traced when its "
            "model is built: leave its decorator out); or "
        )

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


def _workers(number: int) -> str:
    return "worker" if number == 1 else "workers"


def _replicas(number: int) -> str:
    return "replica" if number == 1 else "replicas"
