"""The position in `fit`: finished epochs and evaluations, and calls in the current epoch.

`RunPosition` counts batches. Keras' loops count calls of the train function, and a resume runs
these loops again. So it needs the number of calls in each epoch and each evaluation.
A checkpoint stores it with a format version of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ckptkit.data.start_orders import StartOrders
from ckptkit.errors import ConfigError, IncompatibleStateError
from ckptkit.restore.saved_values import read_python_state
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.tracking.moved_settings import Record


@dataclass
class EpochPass:
    """One pass over data: an epoch of training, or an evaluation.

    Args:
        calls: the number of calls of the train or test function that received a batch.
        ended: whether one more call found the end of the data (data of unknown length).
    """

    calls: int = 0
    ended: bool = False

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> EpochPass:
        """Return a pass from its entries in a checkpoint; entries of later versions are ignored."""
        return cls(**{name: state[name] for name in cls.__dataclass_fields__ if name in state})


STEP, EVALUATION, BATCH_END, EPOCH_END = "step", "evaluation", "batch_end", "epoch_end"
"""Values of `FitPosition.taken_at`."""


@dataclass
class FitPosition:
    """The position of a `fit`: its finished epochs and evaluations, and the current epoch.

    Args:
        first_epoch: the epoch with which the first attempt began.
        epochs: the finished epochs, from `first_epoch` on.
        evaluations: the finished evaluations.
        now: the current epoch.
        per_call: the number of batches in a call (`steps_per_execution`).
        taken_at: the event after which the state was taken: `step` is the entry to a step, when the
            callbacks had seen that step begin, and `evaluation` the beginning of an evaluation;
            `batch_end` and `epoch_end` are the ends of the last batch and epoch, after which
            nothing has begun.
        drawn_again: the reason why a resume must read the data again, or None if an iterator's
            state is saved.
        evaluation_drawn_again: the same reason for the evaluation's data.
        logs: the logs of the last call of the train function.
        evaluation_logs: the logs of the last call of the test function.
        pipeline: the stages of the data pipeline, and the form of its batches.
        batches: the number of batches in an epoch, or None if unknown.
        random: random states, variables and attributes of the data at the beginning of `fit` (see
            `DrawingState`).
        random_of_epoch: the same at the beginning of the current epoch.
        drawing: the current variables and attributes of the data.
    """

    first_epoch: int = 0
    epochs: list[EpochPass] = field(default_factory=list)
    evaluations: list[EpochPass] = field(default_factory=list)
    now: EpochPass = field(default_factory=EpochPass)
    per_call: int = 1
    taken_at: str = STEP
    drawn_again: str | None = None
    evaluation_drawn_again: str | None = None
    logs: dict[str, Any] = field(default_factory=dict)
    evaluation_logs: dict[str, Any] = field(default_factory=dict)
    pipeline: list[str] = field(default_factory=list)
    batches: int | None = None
    random: dict[str, Any] | None = None
    random_of_epoch: dict[str, Any] | None = None
    drawing: dict[str, Any] | None = None

    @property
    def evaluating(self) -> bool:
        """Whether the training of the current epoch is over and its evaluation begins."""
        return self.taken_at == EVALUATION

    @property
    def epoch(self) -> int:
        """The number of the current epoch."""
        return self.first_epoch + len(self.epochs)

    @property
    def train_calls(self) -> int:
        """The number of calls of the train function in all epochs, including the current one."""
        return sum(each.calls for each in self.epochs) + self.now.calls

    @property
    def test_calls(self) -> int:
        """The number of calls of the test function in all finished evaluations."""
        return sum(each.calls for each in self.evaluations)

    def to_state(self) -> dict[str, Any]:
        """Return plain values for the checkpoint; they share what the position contains."""
        # Not `asdict`, which copies: of the time for which a save in `fit` stopped training, to
        # copy two random states took more than half.
        return {
            **vars(self),
            "epochs": [vars(each) for each in self.epochs],
            "evaluations": [vars(each) for each in self.evaluations],
            "now": vars(self.now),
            "evaluating": self.evaluating,  # as version 0.1 reads it
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> FitPosition:
        """Return the position from the values that `to_state` returned."""
        known = {name: state[name] for name in cls.__dataclass_fields__ if name in state}
        known["epochs"] = [EpochPass.from_state(each) for each in known.get("epochs", [])]
        known["evaluations"] = [EpochPass.from_state(each) for each in known.get("evaluations", [])]
        if state.get("evaluating"):
            known["taken_at"] = EVALUATION
        known["now"] = EpochPass.from_state(known.get("now", {}))
        return cls(**known)

    def with_per_call(self, per_call: int) -> FitPosition | None:
        """Return the same position for a different number of batches in a call.

        Args:
            per_call: batches in a call.

        Returns:
            The position, or None if no call of that size ends there.
        """
        if per_call == self.per_call:
            return self
        done = self.now.calls * self.per_call
        if done % per_call:
            return None
        # Rounded up: the last call of an epoch may be smaller than the others.
        scaled = [
            EpochPass(-(-each.calls * self.per_call // per_call), each.ended)
            for each in self.epochs
        ]
        return FitPosition(
            **{
                **vars(self),
                "epochs": scaled,
                "now": EpochPass(done // per_call, self.now.ended),
                "per_call": per_call,
            }
        )


KEY = "fit/state/0"
"""The key under which a checkpoint stores the position in `fit` and the callbacks' state."""

VERSION = 1
"""The version of this format.

A reader skips unknown entries, so a new entry needs no new version. A larger number means a format
that this reader would misread.
"""


def position_to_state(position: FitPosition) -> dict[str, Any]:
    """Return the entries that describe a position in a checkpoint."""
    return {"version": VERSION, "place": position.to_state()}


def settings_when_traced(checkpoint: Checkpoint) -> Record:
    """Return the settings that training had changed when its train function was traced.

    Raises:
        CorruptCheckpointError: If it cannot be read.
    """
    found: Record = (read_python_state(checkpoint, KEY) or {}).get("traced_settings", {})
    return found


def read_start_orders(checkpoint: Checkpoint) -> StartOrders | None:
    """Return the orders with which the last epoch began, if a resume needs them.

    Raises:
        CorruptCheckpointError: If it cannot be read.
    """
    return StartOrders.from_state((read_python_state(checkpoint, KEY) or {}).get("orders"))


def reads_before(checkpoint: Checkpoint) -> bool | None:
    """Return whether Keras read a batch of the data before it began; None in older checkpoints.

    Raises:
        CorruptCheckpointError: If it cannot be read.
    """
    found: bool | None = (read_python_state(checkpoint, KEY) or {}).get("reads_before")
    return found


def read_position(checkpoint: Checkpoint, per_call: int) -> FitPosition:
    """Read the position of a checkpoint's `fit`.

    Args:
        checkpoint: the checkpoint to resume from.
        per_call: the current number of batches in a call of the train function.

    Raises:
        ConfigError: If the checkpoint was not written from `fit`, or no call of that size ends at
            its position.
        IncompatibleStateError: If a later version wrote it.
        CorruptCheckpointError: If it cannot be read.
    """
    state = read_python_state(checkpoint, KEY)
    if state is None:
        raise ConfigError(
            f"{checkpoint.path} was not written from model.fit, so it has no position in fit to "
            "resume from. Continue with the loop that wrote it, or start another run with its "
            "weights."
        )
    # Checkpoints of the first versions name no version.
    if state.get("version", 1) > VERSION:
        raise IncompatibleStateError(
            f"{checkpoint.path} stores its position in fit in format version {state['version']}, "
            f"and this ckptkit reads up to version {VERSION}. Install the version of ckptkit that "
            "wrote it, or a later one."
        )
    position = FitPosition.from_state(state["place"]).with_per_call(per_call)
    if position is None:
        raise ConfigError(
            f"steps_per_execution was {state['place']['per_call']} and is {per_call} now, and the "
            f"checkpoint is at batch {checkpoint.manifest.batch}: no call of that size ends there. "
            "Restore the earlier value until the end of this epoch."
        )
    if checkpoint.manifest.final and "taken_at" not in state["place"]:
        position.taken_at = EPOCH_END  # version 0.1 took the state of the end there
    return position
