"""The stages of one `fit`, and the legal moves between them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class FitStage(Enum):
    """The stage of one `fit`: what it is doing now."""

    PREPARING = "preparing"
    """The run is being opened, and its checkpoints are checked."""
    STARTING = "starting"
    """The run is new, and no step was made yet."""
    REPLAYING = "replaying"
    """Keras' loops repeat the calls of earlier attempts without training."""
    RESTORED = "restored"
    """The state is restored, but the other callbacks are still hidden from Keras."""
    TRAINING = "training"
    """`fit` is training steps."""
    EVALUATING = "evaluating"
    """`fit` is evaluating after an epoch."""
    TRAINED = "trained"
    """The last epoch is complete, and the final snapshot is taken."""
    STOPPED = "stopped"
    """Training was stopped before its end, as by a clock; the run is not finished."""
    DIVERGED = "diverged"
    """Training was stopped with a loss of NaN or infinity."""
    FINISHED_BEFORE = "finished before"
    """An earlier attempt has finished the run, so nothing is trained."""
    CLOSED = "closed"
    """The run is closed."""


_S = FitStage

_ENDS = frozenset({_S.TRAINED, _S.STOPPED, _S.DIVERGED})
"""How the training of a `fit` may end."""

LEGAL_MOVES: Mapping[FitStage, frozenset[FitStage]] = {
    _S.PREPARING: frozenset({_S.STARTING, _S.REPLAYING, _S.FINISHED_BEFORE}),
    # Keras may evaluate before the first step, if a callback asks for it.
    _S.STARTING: frozenset({_S.TRAINING, _S.EVALUATING, *_ENDS}),
    _S.REPLAYING: frozenset({_S.RESTORED}),
    _S.RESTORED: frozenset({_S.TRAINING}),
    _S.TRAINING: frozenset({_S.EVALUATING, *_ENDS}),
    # An evaluation ends in the stage in which it began.
    _S.EVALUATING: frozenset({_S.STARTING, _S.TRAINING, *_ENDS}),
    # A subclass of CheckpointCallback may clear `model.stop_training` after the epoch's end.
    _S.TRAINED: frozenset({_S.TRAINING, _S.EVALUATING}),
    _S.STOPPED: frozenset({_S.TRAINING, _S.EVALUATING}),
    _S.DIVERGED: frozenset({_S.TRAINING, _S.EVALUATING}),
    _S.FINISHED_BEFORE: frozenset(),
    _S.CLOSED: frozenset(),
}
"""The stages that may follow each stage.

`CLOSED` may follow every stage, because an exception can end a `fit` at any moment.
"""


class FitStages:
    """Keeps the stage of one `fit`, and allows only the moves in `LEGAL_MOVES`.

    Attributes:
        now: the current stage.
    """

    def __init__(self) -> None:
        self.now = FitStage.PREPARING

    def move(self, to: FitStage) -> None:
        """Move to another stage.

        Raises:
            RuntimeError: If the move is not legal, which is a bug in ckptkit.
        """
        if to is not FitStage.CLOSED and to not in LEGAL_MOVES[self.now]:
            legal = sorted(stage.value for stage in LEGAL_MOVES[self.now])
            raise RuntimeError(
                f"A fit that is {self.now.value} cannot be {to.value} next. Expected one of "
                f"{[*legal, FitStage.CLOSED.value]}. Received: {to.value!r}."
            )
        self.now = to

    @property
    def has_ended(self) -> bool:
        """Whether the last epoch is over; Keras may still begin another one."""
        return self.now in _ENDS

    @property
    def is_replaying(self) -> bool:
        """Whether Keras is still replaying calls of earlier attempts."""
        return self.now in (FitStage.REPLAYING, FitStage.RESTORED)
