"""What the code configures beside what the run had: compared before anything is assigned, and put
into effect as it was settled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptkit.log import logger
from ckptkit.restore.hyperparameter_comparison import (
    CHECKPOINT,
    CODE,
    HyperparameterDifference,
    are_new,
    recorded,
    settle,
    spelled,
)
from ckptkit.run import events
from ckptkit.run.catalog import Checkpoint
from ckptkit.run.journal import Journal
from ckptkit.session.options import RunOptions
from ckptkit.tracking import hyperparameters


class HyperparameterChanges:
    """Hyperparameters of one attempt.

    Args:
        plan: of the attempt.

    Attributes:
        recorded: what a checkpoint of this attempt says of them.
    """

    def __init__(self, plan: RunOptions) -> None:
        self._plan = plan
        self._changes: list[HyperparameterDifference] = []
        self._configured: dict[str, tuple[Any, str, object]] = {}
        self._replaced: list[tuple[Any, str, Any]] = []
        self.recorded: hyperparameters.Hyperparameters = {}

    def check(
        self, checkpoint: Checkpoint | None, more: Mapping[str, object] | None = None
    ) -> None:
        """Compares what the code configures with what the run had, before anything is assigned.

        Args:
            checkpoint: where the run goes on, or None.
            more: configured values beside those of the optimizers and the user's own.

        Raises:
            ConfigError: where they differ, and it is not said which counts.
        """
        self._configured = hyperparameters.configured_values(self._plan.state)
        now = {**{name: value for name, (_, _, value) in self._configured.items()}, **(more or {})}
        then = checkpoint.manifest.hyperparameters if checkpoint is not None else {}
        settable = frozenset(
            name
            for name, (_, _, value) in self._configured.items()
            if isinstance(value, int | float)
        )
        self._changes = settle(then, now, self._plan.hparams, self._plan.changed, settable)
        self.recorded = recorded(now, self._plan.hparams, self._changes)
        if checkpoint is not None and are_new(then, self._plan.hparams):
            logger.info(
                "hparams are recorded and compared from here on: the run was begun without any, "
                "so there is nothing to compare them with"
            )

    def apply(self) -> bool:
        """Puts arguments of optimizers into effect whose value of the checkpoint counts and is no
        part of the state; before a step is traced.

        Returns:
            Whether an argument of an optimizer has changed, so that a step that was traced before
            has another one in it.
        """
        changes = [change for change in self._changes if change.name in self._configured]
        for change in changes:
            optimizer, argument, _ = self._configured[change.name]
            if change.settled == CHECKPOINT and argument != "learning_rate":
                self._replaced.append((optimizer, argument, getattr(optimizer, argument)))
                setattr(optimizer, argument, change.then)
        return bool(changes)

    def undo(self) -> None:
        """Gives optimizers their arguments of before `put`, where the checkpoint was not restored
        after all.
        """
        for optimizer, argument, value in reversed(self._replaced):
            setattr(optimizer, argument, value)
        self._replaced = []

    def remember(self, journal: Journal) -> None:
        """The state is that of the checkpoint: puts the rest into effect, and tells."""
        self._replaced = []
        for change in self._changes:
            optimizer, argument, value = self._configured.get(change.name, (None, "", None))
            if (
                change.settled == CODE
                and argument == "learning_rate"
                and isinstance(value, int | float)
            ):
                optimizer.learning_rate = value
            then, now = spelled(change.then), spelled(change.now)
            journal.record(
                events.HyperparameterChanged(
                    name=change.name, then=then, now=now, settled=change.settled
                )
            )
            logger.info(
                "%s: the run had %s, the code says %s; the %s counts",
                change.name,
                then,
                now,
                change.settled,
            )

    def left(self) -> None:
        """This process lets go of the run; a later attempt of it compares with the values of now."""
        hyperparameters.remember_optimizers(self._configured)
