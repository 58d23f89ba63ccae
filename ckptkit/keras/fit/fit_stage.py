"""The stage that one `fit` is in, and the moves between stages that are legal."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class FitStage(Enum):
    """What one `fit` is doing, from the opening of its run to the closing."""

    PREPARING = "preparing"
    """The run is being opened, and its checkpoints are looked at."""
    STARTING = "starting"
    """The run is new, and no step has been made."""
    REPLAYING = "replaying"
    """Keras' loops repeat the calls of earlier attempts; nothing is trained."""
    RESTORED = "restored"
    """The state is restored, and the other callbacks still have to be shown again."""
    TRAINING = "training"
    """Steps are made."""
    EVALUATING = "evaluating"
    """The evaluation of an epoch is under way."""
    TRAINED = "trained"
    """The last epoch is complete, and the final state is taken."""
    DIVERGED = "diverged"
    """Training was stopped with a loss that is not finite."""
    FINISHED_BEFORE = "finished before"
    """An earlier attempt has finished the run, so nothing is trained."""
    CLOSED = "closed"
    """The run is closed."""


_S = FitStage

LEGAL_MOVES: Mapping[FitStage, frozenset[FitStage]] = {
    _S.PREPARING: frozenset({_S.STARTING, _S.REPLAYING, _S.FINISHED_BEFORE}),
    # Keras may evaluate before the first step, if a callback asks for it.
    _S.STARTING: frozenset({_S.TRAINING, _S.EVALUATING, _S.TRAINED, _S.DIVERGED}),
    _S.REPLAYING: frozenset({_S.RESTORED}),
    _S.RESTORED: frozenset({_S.TRAINING}),
    _S.TRAINING: frozenset({_S.EVALUATING, _S.TRAINED, _S.DIVERGED}),
    # An evaluation ends in the stage in which it began.
    _S.EVALUATING: frozenset({_S.STARTING, _S.TRAINING, _S.TRAINED, _S.DIVERGED}),
    # A subclass of CheckpointCallback may clear `model.stop_training` after the epoch's end.
    _S.TRAINED: frozenset({_S.TRAINING, _S.EVALUATING}),
    _S.DIVERGED: frozenset({_S.TRAINING, _S.EVALUATING}),
    _S.FINISHED_BEFORE: frozenset(),
    _S.CLOSED: frozenset(),
}
"""The stages that each stage may be followed by. Every stage may be followed by `CLOSED` as well,
because an exception can end a `fit` at any moment.
"""


class FitStages:
    """The stage of one `fit`, which moves along `LEGAL_MOVES` only.

    Attributes:
        now: the present stage.
    """

    def __init__(self) -> None:
        self.now = FitStage.PREPARING

    def move(self, to: FitStage) -> None:
        """Moves to another stage.

        Raises:
            RuntimeError: If the move is not legal, which is a defect of ckptkit.
        """
        if to is not FitStage.CLOSED and to not in LEGAL_MOVES[self.now]:
            legal = sorted(stage.value for stage in LEGAL_MOVES[self.now])
            raise RuntimeError(
                f"A fit that is {self.now.value} cannot be {to.value} next. Expected one of "
                f"{[*legal, FitStage.CLOSED.value]}. Received: {to.value!r}."
            )
        self.now = to

    @property
    def is_replaying(self) -> bool:
        """Whether Keras' events still belong to the replay."""
        return self.now in (FitStage.REPLAYING, FitStage.RESTORED)
