"""Finds metrics that a policy compares and training never reports."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches

from ckptkit.errors import ConfigError
from ckptkit.log import logger
from ckptkit.policies import KeepPolicy, SavePolicy

PATIENCE = 100
"""The turns of a loop without epochs after which a metric counts as missing.

Such a loop may evaluate only sometimes. A misspelled name is told at once."""


class MonitorWatch:
    """Finds monitored metrics that training never reports, and warns once.

    Args:
        save: the policy that says when to save.
        keep: the policy that says which checkpoints stay.

    Attributes:
        may_come_later: returns whether a metric may still be reported later, for example if only
            every fifth epoch evaluates.
        epochs_are_alike: whether every epoch reports the same metrics, as in `fit`. A custom loop
            may evaluate only sometimes, so there only a misspelled name is an error.
    """

    def __init__(self, save: SavePolicy, keep: KeepPolicy) -> None:
        self._save = save
        self._waiting = dict.fromkeys((*save.monitors, *keep.monitors))
        self.may_come_later: Callable[[str], bool] = lambda name: False
        self.epochs_are_alike = False
        self._turns = 0

    def saw(self, metrics: Mapping[str, float], reported: Iterable[str]) -> None:
        """Note which monitored metrics were measured.

        Args:
            metrics: the metrics as numbers; only the missing monitors are read.
            reported: the names of all metrics.
        """
        if self._waiting:
            # Most steps report no missing monitor, and reading a number waits for the device.
            for name in self._waiting.keys() & set(reported):
                if name in metrics:
                    del self._waiting[name]

    def missing(self) -> list[str]:
        """Return monitors that should have been reported by now; each is returned once."""
        return self._take(name for name in self._waiting if not self.may_come_later(name))

    def missing_in_steps(self, reported: Collection[str]) -> list[str]:
        """Return monitors that a loop without epochs should have reported by now.

        Call it once after each turn.

        Args:
            reported: the names of the metrics that the turn has reported.
        """
        self._turns += 1
        if self._turns >= PATIENCE:
            return self.missing()
        return self._take(name for name in self._waiting if _is_misspelled(name, reported))

    def _take(self, names: Iterable[str]) -> list[str]:
        taken = list(names)
        for name in taken:
            del self._waiting[name]
        return taken

    def report(
        self,
        missing: list[str],
        reported: Iterable[str],
        *,
        training: bool,
        since: str = "the first epoch",
    ) -> None:
        """Warn about monitors that were never reported, or raise.

        Args:
            missing: the monitors.
            reported: the names of the metrics that were reported.
            training: whether training continues after this.
            since: what has not reported them.

        Raises:
            ConfigError: If training continues but would never save.
        """
        reported = sorted(reported)
        known = ", ".join(reported) or "none"
        names = ", ".join(map(repr, missing))
        hint = (
            " A val_ metric needs validation_data in fit."
            if any(name.startswith("val_") for name in missing) and "val_" not in known
            else ""
        )
        is_certain = self.epochs_are_alike or all(
            _is_misspelled(name, reported) for name in missing
        )
        if training and is_certain and self._save.never_due_without(missing):
            raise ConfigError(
                f"save={self._save!r} needs {names}, which {since} did not report, so "
                f"nothing would ever be saved. Expected one of: {known}.{hint} The current state "
                f"is saved; correct the name and start again."
            )
        logger.warning(
            "the metric %s was not reported, so no checkpoint is saved or kept because of it. "
            "Reported metrics: %s.%s",
            names,
            known,
            hint,
        )


def _is_misspelled(name: str, reported: Collection[str]) -> bool:
    """Return whether a name is that of a reported metric with a mistake in it.

    `val_loss` beside `loss`, `g_loss` beside `d_loss` and `top_5` beside `top_1` are metrics of
    their own.
    """
    return any(
        not _are_two_metrics(name, each) for each in get_close_matches(name, reported, cutoff=0.8)
    )


def _are_two_metrics(one: str, other: str) -> bool:
    words, others = (set(filter(None, re.split(r"[\W\d_]+", each))) for each in (one, other))
    is_substitution = len(one) == len(other) and sorted(one) != sorted(other)
    return words <= others or others <= words or is_substitution
