"""Compares the hyperparameters of the code with those of the run, and applies the changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    unknown_names,
)
from ckptkit.restore.layer_comparison import for_each_layer
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.journal import Journal
from ckptkit.session.layer_setting_changes import changed_layers, remember_layer_settings
from ckptkit.session.options import RunOptions
from ckptkit.tracking import hyperparameters
from ckptkit.tracking.tracker import Tracked


class HyperparameterConflicts:
    """Compares hyperparameters before a restore, and applies the value that counts after it.

    Args:
        options: the options of the run.
        tracked: returns the leaves of the live state.

    Attributes:
        recorded: the hyperparameters that the checkpoints of this session record. The same
            dictionary for all of its life.
    """

    def __init__(self, options: RunOptions, tracked: Callable[[], Tracked]) -> None:
        self._options, self._tracked = options, tracked
        self._changes: list[HyperparameterDifference] = []
        self._configured: dict[str, tuple[Any, str, object]] = {}
        self._replaced: list[tuple[Any, str, Any]] = []
        self.recorded: hyperparameters.Hyperparameters = {}

    def check(
        self, checkpoint: Checkpoint | None, more: Mapping[str, object] | None = None
    ) -> None:
        """Compare the code's hyperparameters with the run's, before anything is assigned.

        Args:
            checkpoint: the checkpoint from which the run continues, or None.
            more: further configured values, such as the loss.

        Raises:
            ConfigError: If they differ, and `changed` does not say which counts.
        """
        options = self._options
        layers = changed_layers(options, checkpoint, self._tracked)
        changed = for_each_layer(options.changed, layers.names)
        self._configured = hyperparameters.configured_values(options.state)
        now = {**{name: value for name, (_, _, value) in self._configured.items()}, **(more or {})}
        then = checkpoint.manifest.hyperparameters if checkpoint is not None else {}
        settable = frozenset(
            name
            for name, (_, _, value) in self._configured.items()
            if isinstance(value, int | float)
        )
        unknown, known = unknown_names(then, now, options.hparams, changed, layers.names)
        if unknown:
            logger.warning(
                "changed=... names %s, but no hyperparameter of the run or the code has that "
                "name, so it has no effect. Valid names: %s",
                ", ".join(map(repr, unknown)),
                ", ".join(known) or "none",
            )
        self._changes = settle(
            {**then, **layers.then},
            {**now, **layers.now},
            options.hparams,
            changed,
            settable,
            layers.names,
        )
        self.recorded.clear()
        self.recorded.update(recorded(now, options.hparams, self._changes))
        if checkpoint is not None and are_new(then, options.hparams):
            logger.info(
                "the run began without hparams, so this start compares none. They are recorded "
                "now, and later starts compare them"
            )

    def apply(self) -> bool:
        """Set the optimizer arguments for which the checkpoint's value counts.

        Call it before a step is traced, because tracing turns arguments into constants. The
        learning rate is a variable, so it is restored with the state.

        Returns:
            Whether an optimizer's argument has changed. If so, a step that is already traced has to
                be traced again.
        """
        changes = [change for change in self._changes if change.name in self._configured]
        for change in changes:
            optimizer, argument, _ = self._configured[change.name]
            if change.settled == CHECKPOINT and argument != "learning_rate":
                self._replaced.append((optimizer, argument, getattr(optimizer, argument)))
                setattr(optimizer, argument, change.then)
        return bool(changes)

    @property
    def settled_by_code(self) -> frozenset[str]:
        """Return the arguments of optimizers for which the code's value counts."""
        return frozenset(
            self._configured[change.name][1]
            for change in self._changes
            if change.settled == CODE and change.name in self._configured
        )

    def undo(self) -> None:
        """Reset the arguments of optimizers, because restoring the checkpoint failed."""
        # In reverse order, so that an argument that was replaced twice gets its first value.
        for optimizer, argument, value in reversed(self._replaced):
            setattr(optimizer, argument, value)
        self._replaced = []

    def remember(self, journal: Journal) -> None:
        """Apply the remaining changes after a restore, and record all changes in the journal."""
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

    def close(self) -> None:
        """Remember the current values, with which a later attempt in this process compares."""
        hyperparameters.remember_optimizers(self._configured)
        remember_layer_settings(self._options.state)
