"""The state that `fit` adds to a checkpoint: its position, its iterator, the other callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ckptkit.compat import keras_fit
from ckptkit.data.draw_meter import DrawMeter
from ckptkit.data.drawing_state import DrawingState
from ckptkit.data.iterator_position import NOTHING_DRAWN, EarlierDraws, IteratorPosition
from ckptkit.data.iterator_state import IteratorLeaf
from ckptkit.keras.fit.captured_variables import CapturedVariables
from ckptkit.keras.fit.fit_position import EPOCH_END, EVALUATION, FitPosition, position_to_state
from ckptkit.keras.fit.plain_logs import plain_logs
from ckptkit.keras.user_callbacks import OtherCallbacks
from ckptkit.policies.anchor_policies import AnchorPolicy
from ckptkit.position import RunPosition
from ckptkit.run.manifest import DATA
from ckptkit.tracking.leaves import Leaf, PythonLeaf
from ckptkit.tracking.moved_settings import Record


class FitState:
    """The entry "fit" of a run's state, which holds everything that `fit` needs to resume.

    Args:
        position: the position at which this `fit` begins.
        others: the other callbacks, whose state is saved with the position.
        call: the arguments of the `fit`.
        drawing: the state on which the batches depend, in addition to the data.

    Attributes:
        position: the current position in `fit`.
        run_position: the current position of the run.
        meter: what reading the data takes.
        drawn: the number of batches that the run has read from the current iterator.
        since: the number of batches from the state in the restored checkpoint to its position.
        missing_batches: the number of its batches that the run has read before but this resume has
            skipped.
        traced: which weights were trainable when the train function was traced.
        traced_settings: the settings that training had changed when it was traced.
        loaded: this entry in the restored checkpoint.
        captured: the variables that the train step and the loss use, or None before the search.
    """

    def __init__(
        self,
        position: FitPosition,
        others: OtherCallbacks,
        call: keras_fit.FitCall,
        drawing: DrawingState,
    ) -> None:
        self._others = others
        self._call = call
        self.drawing = drawing
        self.position = position
        self.run_position = RunPosition()
        self.meter: DrawMeter  # set as soon as the run is open
        self._data: IteratorPosition | None = None
        self.drawn = self.missing_batches = self.since = 0
        self.traced: list[bool] = []
        self.traced_settings: Record = {}
        self.loaded: dict[str, Any] = {"callbacks": {}, "files": {}}
        self.captured: CapturedVariables | None = None

    def measure(self, policy: AnchorPolicy, monotonic: Callable[[], float]) -> None:
        """Measure what reading the data takes; see `DrawMeter`."""
        self.meter = DrawMeter(policy, monotonic)

    @property
    def iterator(self) -> Any:
        """The iterator from which Keras read the last batch, or None."""
        return self._data.iterator if self._data is not None else None

    def reads_from(
        self,
        iterator: Any,
        earlier: EarlierDraws = NOTHING_DRAWN,
    ) -> None:
        """Note the iterator from which Keras reads; a known one changes nothing.

        Args:
            iterator: the iterator.
            earlier: what earlier attempts have read from it.
        """
        if iterator is self.iterator:
            return
        # The last call of an epoch may have fewer batches, so the batches of several epochs are not
        # known.
        one_by_one = self.position.per_call == 1 or not keras_fit.may_keep_iterators(self._call)
        self.drawn, self.missing_batches = earlier.drawn, earlier.missing
        self._data = IteratorPosition(
            iterator,
            self.meter,
            earlier,
            countable=self.drawing.is_empty and one_by_one,
        )
        if not earlier.drawn:
            # With `steps_per_epoch`, the number of iterators is not that of the epochs.
            known = self.position.drawn_again is None and not keras_fit.may_keep_iterators(
                self._call
            )
            self._data.begin(len(self.position.epochs) if known else None)
        self.position.drawn_again = self.position.drawn_again or self._data.reason_not_saved

    def leaves(self, name: str) -> list[Leaf]:
        """Return the leaves to save now: the iterator, the position, the other callbacks' state.

        Args:
            name: the name of this entry, which is the first part of the leaves' keys.
        """
        leaves: list[Leaf] = []
        if self._data is not None and self._is_saved():
            leaves.append(
                IteratorLeaf(
                    f"{name}/{DATA}/0",
                    "the data of fit",
                    self._data,
                    self.drawn,
                    self.missing_batches,
                    self.since,
                )
            )
        # After the iterator, because the position says what a snapshot stores of it.
        leaves.append(PythonLeaf(f"{name}/state/0", name, self._get_state, self._set_state))
        return leaves + (self.captured.leaves(name) if self.captured is not None else [])

    def _is_saved(self) -> bool:
        """Whether the iterator's position is saved.

        The next epoch does not read from an exhausted iterator. Its state would contain counters of
        the iterator that was made after it.
        """
        is_over = self.position.taken_at in (EVALUATION, EPOCH_END)
        used_up = is_over and not keras_fit.keeps_iterator(self._call, self.iterator)
        return self.position.drawn_again is None and not used_up

    def _get_state(self) -> dict[str, Any]:
        # Converted here and not after each step, because a conversion waits for the computation.
        position = self.position
        position.logs = plain_logs(position.logs)
        position.evaluation_logs = plain_logs(position.evaluation_logs)
        position.drawing = self.drawing.now()
        return {
            **position_to_state(position),
            **self._others.get(),
            "reads_before": self._call.reads_before,
            "traced": "".join("01"[flag] for flag in self.traced),
            "traced_settings": self.traced_settings,
            "orders": self._data and self._data.orders and self._data.orders.to_state(),
        }

    def _set_state(self, state: dict[str, Any]) -> None:
        # The callbacks' state is restored later, when Keras' loops have reached the position.
        self.loaded = state
        drawing = state["place"].get("drawing")
        if drawing is not None:
            self.drawing.set_now(drawing, drawn_again=self.position.drawn_again is not None)


def state_at_beginning(model: Any, others: OtherCallbacks, call: keras_fit.FitCall) -> FitState:
    """Return the initial state of a `fit`, for a new run and a resume alike."""
    drawing = DrawingState(call.sources)
    position = FitPosition(
        first_epoch=call.initial_epoch,
        random=drawing.at_beginning(),
        per_call=model.steps_per_execution,
    )
    return FitState(position, others, call, drawing)
