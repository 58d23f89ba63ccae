"""Hides the user's callbacks from Keras during a replay, and saves and restores their state."""

from __future__ import annotations

import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from ckptkit.keras import csv_rows, open_callback_files
from ckptkit.keras.callback_state import CallbackStates
from ckptkit.keras.stopping_callback import ObservedCallbacks
from ckptkit.layout import RunLayout
from ckptkit.run.journal import Journal
from ckptkit.run.journal_reader import read_journal
from ckptkit.tracking.attribute_state import AttributeState


def stop_iteration_error(event: str, error: StopIteration) -> RuntimeError:
    """Return the error that replaces a `StopIteration` of a callback.

    Keras treats each `StopIteration` inside its loops as the end of the data. It would end the
    epoch and continue to train while the run is closed. Python replaces it in generators for the
    same reason (PEP 479).

    Args:
        event: the event in which the callback was called, in words.
        error: the `StopIteration`.
    """
    # Keras removes the cause of an error that leaves `fit`, so the message names the place.
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return RuntimeError(
        f"A callback raised StopIteration in {event}{where}, which Keras would treat as the end "
        f"of the data. To stop training, set self.model.stop_training = True. If the callback "
        "calls next(iterator) itself, catch StopIteration there, or use next(iterator, default)."
    )


class OtherCallbacks:
    """All callbacks of a `fit` except `CheckpointCallback`.

    Args:
        callback_list: the `CallbackList` of the `fit`. It is not kept alive.
        ours: the `CheckpointCallback` of the `fit`.
    """

    def __init__(self, callback_list: Any, ours: Any) -> None:
        self._list = weakref.ref(callback_list)
        self._ours = ours
        self._all = [each for each in callback_list.callbacks if each is not ours]
        self._states: CallbackStates | None = None
        self._journal: tuple[Journal, RunLayout] | None = None

    def use_journal(self, journal: Journal, layout: RunLayout) -> None:
        """Record in the run's journal which rows the callbacks write to CSV files.

        Args:
            journal: the journal of this attempt.
            layout: the run, whose journals list the rows of earlier attempts.
        """
        self._journal = journal, layout

    def put_first(self) -> None:
        """Make Keras pass its events to the other callbacks before `CheckpointCallback`.

        A state that is saved at an event then includes what they do at it.
        """
        self._set_list([*self._all, self._ours])

    def hide(self) -> None:
        """Make Keras pass its events to `CheckpointCallback` only."""
        self._set_list([self._ours])

    def _set_list(self, callbacks: list[Any]) -> None:
        callback_list = self._list()
        if callback_list is not None:
            # A new list, because Keras may be iterating over the old one.
            callback_list.callbacks = ObservedCallbacks(callbacks, self._ours.model)

    @property
    def stopped_by(self) -> Any:
        """The callback that has set `model.stop_training`; None if something else has."""
        return getattr(getattr(self._list(), "callbacks", None), "stopped_by", None)

    def forget_stop(self) -> None:
        """Note that training continues after it was stopped."""
        callbacks = getattr(self._list(), "callbacks", None)
        if isinstance(callbacks, ObservedCallbacks):
            callbacks.stopped_by = None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all)

    def tell(self, event: Callable[[Any], object]) -> None:
        """Pass an event to each of the other callbacks."""
        try:
            for callback in self._all:
                event(callback)
        except StopIteration as error:
            raise stop_iteration_error("an event of fit", error) from error

    def begin(self, attributes: AttributeState) -> None:
        """Note that training begins: attributes that change from now on are state to save.

        Args:
            attributes: the attributes of Python objects that training changes.
        """
        # First, because it sets an attribute.
        if self._journal is not None:
            csv_rows.record_rows(self._all, self._journal[0].record)
        self._states = CallbackStates(self._all)
        attributes.note(self._states.roots())

    def get(self) -> dict[str, Any]:
        """Return the state of all callbacks, for the checkpoint."""
        return {
            "callbacks": self._states.get() if self._states else {},
            "configured": self._states.configured if self._states else {},
            "files": csv_rows.csv_file_sizes(self._all),
        }

    def give_back(self, attributes: AttributeState, state: dict[str, Any]) -> list[str]:
        """Restore the state of the callbacks.

        Args:
            attributes: the restored attributes of Python objects.
            state: the result of `get`.

        Returns:
            A sentence for each saved state that matches no callback.
        """
        if self._states is None:
            self.begin(attributes)
        assert self._states is not None
        return self._states.set(attributes, state["callbacks"], state.get("configured", {}))

    def show(
        self,
        attributes: AttributeState,
        state: dict[str, Any],
        seen: Callable[[Any], object],
        unseen: Callable[[Any], object],
        train_calls: int,
        test_calls: int,
    ) -> list[str]:
        """End the replay, so that Keras calls the callbacks again.

        They receive the current event, then their saved state, and then all later events.

        Args:
            attributes: has the attributes that the checkpoint holds.
            state: the state that `get` returned.
            seen: passes to one callback the current event that it had seen in the saved state.
            unseen: passes to one callback the current events that it had not seen then.
            train_calls: the number of earlier calls of the train function.
            test_calls: the number of earlier calls of the test function.

        Returns:
            A sentence for each saved state that matches no callback.
        """
        # In this order: the saved state already includes the effect of the current event, and
        # overwrites it.
        self.begin(attributes)
        open_callback_files.continue_tensorboard_counts(self._all, train_calls, test_calls)
        self.tell(seen)
        process_state = open_callback_files.process_state(self._all)
        lost = self.give_back(attributes, state)
        open_callback_files.restore_process_state(process_state)
        if self._journal is not None and csv_rows.has_csv_files(self._all):
            events = read_journal(self._journal[1], wanted=csv_rows.WANTED).events
            csv_rows.remove_later_rows(self._all, state["files"], events)
        self.put_first()
        self.tell(unseen)
        return lost

    def flush(self) -> None:
        """Flush the files that the callbacks have open."""
        open_callback_files.flush_open_files(self._all)

    def close(self) -> None:
        """Close the callbacks' event files, which Keras leaves open if `fit` ends early."""
        open_callback_files.close_event_files(self._all)
