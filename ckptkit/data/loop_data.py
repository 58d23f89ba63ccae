"""The position in the data of a custom loop: saves and resumes passes of `manager.data(...)`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from ckptkit.compat import tf_checkpoint
from ckptkit.data.drawing_state import DrawingState
from ckptkit.data.iterator_state import (
    DrawProgress,
    draw_batches,
    reason_not_repeatable,
    reason_not_restorable,
    reason_not_savable,
    repeats_orders_in_pass,
    restore_iterator,
    uses_cache,
)
from ckptkit.errors import ConfigError
from ckptkit.run.manifest import DATA
from ckptkit.tracking.leaves import Leaf, PythonLeaf, Tensors
from ckptkit.tracking.python_state import program_random, set_program_random


@dataclass
class DataPass:
    """The position in one pass over data, which is one call of `manager.data`.

    Args:
        done: the number of batches whose step is complete.
        drawn: the number of batches that were read; one more than `done` during a step and after a
            `break`.
        over: whether the data has ended, or the program has left the pass early and continued.
        broken_off: whether the program has left the pass early; it is over when the program reads
            other data.
        caches: whether the pass fills a cache that later passes read.
        random: random states and variables of the data at its beginning.
        drawing: the state on which its batches depend, in this process.
        values: these variables at the checkpoint, until the loop makes the iterator.
        iterator: the iterator of the pass, in this process.
        saved: the saved state of the iterator, until the loop makes that iterator.
    """

    done: int = 0
    drawn: int = 0
    over: bool = False
    broken_off: bool = False
    caches: bool = False
    random: dict[str, Any] | None = None
    drawing: DrawingState | None = None
    values: dict[str, Any] = field(default_factory=dict)
    iterator: Any = None
    saved: Tensors = field(default_factory=dict)

    @property
    def earlier(self) -> int:
        """Return the number to remember for a finished pass: its reads to repeat, minus one.

        A pass that reached the end of its data has made one more read than it has batches.
        """
        return self.drawn - 1 if self.broken_off else self.done

    def end(self) -> None:
        """End the pass: nothing more is read from it."""
        self.over, self.iterator, self.saved = True, None, {}
        self.drawing, self.values = None, {}

    def to_state(self) -> dict[str, Any]:
        """Return plain values for the checkpoint."""
        return {
            "done": self.earlier if self.over else self.done,
            "over": self.over,
            "random": None if self.over else self.random,
            "drawing": self.values if self.drawing is None else self.drawing.now(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> DataPass:
        """Return the pass from the result of `to_state`; the loop makes its iterator later."""
        return cls(
            done=state["done"],
            drawn=state["done"],
            over=state["over"],
            random=state["random"],
            values=state.get("drawing", {}),
        )


class LoopData:
    """The positions in the data of `manager.data(...)`, as an entry of the state.

    An epoch may have several passes, one for each call of `manager.data`, in sequence or at the
    same time. The n-th call in each epoch is assumed to use the same data.

    Args:
        inexact: is called with the reason if the run cannot resume bit for bit.
    """

    def __init__(self, inexact: Callable[[str], None]) -> None:
        self._inexact = inexact
        # For each finished epoch: `DataPass.earlier` of each of its passes.
        self._epochs: list[list[int]] = []
        self._passes: list[DataPass] = []  # of the current epoch
        self._calls = 0  # of `batches` in this epoch, in this process
        # By the number of the call: what its first pass began with.
        self._beginnings: dict[str, dict[str, Any]] = {}
        self._not_savable_reason: str | None = None
        self._is_resumed = False
        # The calls whose earlier passes were read again; once in a process restores the counters.
        self._replayed_calls: set[int] = set()
        # The body of a resumed epoch runs from its top, so what it draws before its passes is drawn
        # again, from the states of then. Those of the checkpoint follow at the place in the data.
        self._random_of_epoch: dict[str, Any] | None = None
        self._random_at_place: dict[str, Any] | None = None

    def leaves(self, name: str) -> list[Leaf]:
        """Return the passes, and the states of their iterators if TensorFlow can save them."""
        return [
            PythonLeaf(f"{name}/state/0", name, self._get_state, self._set_state),
            _LoopIterators(f"{name}/{DATA}/0", self),
        ]

    def _get_state(self) -> dict[str, Any]:
        """Return the passes as Python state."""
        return {
            "epochs": self._epochs,
            "passes": [each.to_state() for each in self._passes],
            "beginnings": self._beginnings,
            "drawn_again": self._not_savable_reason,
            "random_of_epoch": self._random_of_epoch if self._passes else None,
        }

    def _set_state(self, state: dict[str, Any]) -> None:
        """Set the passes of a checkpoint; the loop makes their iterators later."""
        self._epochs, self._not_savable_reason = state["epochs"], state["drawn_again"]
        self._passes = [DataPass.from_state(each) for each in state["passes"]]
        self._beginnings = state.get("beginnings", {})
        self._calls, self._is_resumed, self._replayed_calls = 0, True, set()
        self._random_of_epoch = state.get("random_of_epoch")  # earlier versions have none

    def iterator_states(self) -> Tensors:
        """Return the states of the iterators in use, by `<number of the pass>/<part>`.

        An iterator is left out if the step of its last batch does not count. Its batches are read
        again on a resume.
        """
        states: Tensors = {}
        for number, each in enumerate(self._passes):
            tensors = each.saved
            if each.iterator is not None:
                tensors = (
                    tf_checkpoint.serialize(each.iterator)
                    if self._not_savable_reason is None and each.drawn == each.done
                    else {}
                )
            states |= {f"{number}/{part}": tensor for part, tensor in tensors.items()}
        return states

    def keep_iterator_states(self, tensors: Mapping[str, tf.Tensor]) -> None:
        """Keep saved states until the loop makes their iterators."""
        for key, tensor in tensors.items():
            number, _, part = key.partition("/")
            if int(number) < len(self._passes):
                self._passes[int(number)].saved[part] = tensor

    def epoch_began(self) -> None:
        """Note that the body of an epoch begins, or begins again after an interruption in it."""
        if self._passes and self._random_of_epoch is not None:
            self._random_at_place = program_random()
            set_program_random(self._random_of_epoch)
        else:
            self._random_of_epoch = program_random()

    def epoch_ended(self) -> None:
        """End an epoch of the loop, and all of its passes."""
        for each in self._passes:
            each.broken_off = not each.over or each.broken_off
            self._end(each)
        self._epochs.append([each.earlier for each in self._passes])
        self._passes, self._calls, self._random_at_place = [], 0, None

    @property
    def in_use(self) -> bool:
        """Whether the current epoch has had a pass."""
        return bool(self._passes)

    def end_broken_off_passes(self) -> None:
        """End the passes that the program left early, because it continues with something else."""
        for each in self._passes:
            if each.broken_off:
                self._end(each)

    def _end(self, each: DataPass) -> None:
        """End a pass, and report if that makes the run inexact."""
        each.end()
        # TensorFlow reads ahead, so it depends on the program's speed whether its cache is complete
        # when a pass is left early. An incomplete cache is discarded, and the next pass reads the
        # data again.
        if each.broken_off and each.caches:
            self._inexact(
                "the first pass over data with cache() was left early, and the content of "
                "TensorFlow's cache depends on timing"
            )

    def batches(self, dataset: Iterable[Any]) -> Generator[Any]:
        """Yield the remaining batches of a pass; `done` must be called after each step.

        Args:
            dataset: the data of `manager.data`.

        Raises:
            ConfigError: If the iterator is used after its epoch.
        """
        self.end_broken_off_passes()
        call, self._calls = self._calls, self._calls + 1
        present = self._passes[call] if call < len(self._passes) else None
        earlier = [passes[call] for passes in self._epochs if call < len(passes)]
        if present is not None and present.over:
            earlier.append(present.done)
        # Earlier passes are read again only here and not at the restore, because only now the data
        # is known.
        drawing = DrawingState([dataset] if isinstance(dataset, tf.data.Dataset) else [])
        if self._is_resumed and call not in self._replayed_calls:
            self._replayed_calls.add(call)
            self._replay_earlier(dataset, earlier, drawing, self._beginnings.get(str(call), {}))
        if present is None:
            self._beginnings.setdefault(
                str(call), {"variables": drawing.at_beginning()["variables"]}
            )
            present = DataPass(random=drawing.at_epoch(), drawing=drawing)
            self._passes.append(present)
            iterator = iter(dataset)
        elif present.over:
            self._arrive(call)
            return  # the pass was already over at the checkpoint, so the epoch continues after it
        else:
            present.drawing = drawing
            iterator = self._resume_pass(present, dataset, drawing, first=not earlier)
            self._arrive(call)
        if self._not_savable_reason is None:
            self._not_savable_reason = reason_not_savable(iterator)
        if (reason := reason_not_repeatable(iterator)) is not None:
            self._inexact(reason)
        present.iterator, present.saved = iterator, {}
        present.caches = (
            not earlier and isinstance(iterator, tf.data.Iterator) and uses_cache(iterator)
        )
        try:
            for batch in iterator:
                # Before the yield, because a save inside the step must know that this batch was
                # read.
                present.drawn += 1
                yield batch
                if present.over:
                    raise ConfigError(
                        "An iterator of manager.data is valid during one epoch, and that epoch is "
                        "over. Call "
                        "manager.data(dataset) in the body of `for epoch in manager.epochs(...)`."
                    )
        except GeneratorExit:  # on a `break` in the loop, the generator is closed here
            present.broken_off = not present.over
            raise
        present.end()

    def _arrive(self, call: int) -> None:
        """Set the random states of the checkpoint, if this is the last pass that it had begun."""
        if self._random_at_place is not None and call + 1 == len(self._passes):
            set_program_random(self._random_at_place)
            self._random_at_place = None

    def done(self) -> None:
        """Count the batches of a step that is now complete."""
        for each in self._passes:
            each.done = each.drawn

    def _replay_earlier(
        self,
        dataset: Iterable[Any],
        earlier: list[int],
        drawing: DrawingState,
        beginning: dict[str, Any],
    ) -> None:
        """Make the iterators of this call's earlier passes again, and read from them.

        That advances the counters of shuffles and the random states of generators to the run's
        position. `ckptkit/keras/fit/fit_replay.py` does the same in `fit`.
        """
        # The program's random states come from the checkpoint and must not change here.
        now = program_random()
        # A variable that reading does not change already has the value of this epoch, from the
        # loop's body or the checkpoint.
        drawing.set_beginning(beginning, random=False, only_written=True)
        progress = DrawProgress(sum(earlier), time.monotonic)
        for number, made in enumerate(earlier):
            iterator = iter(dataset)
            # One more than the number of batches, because to find the end is also a call.
            progress.add(
                draw_batches(
                    iterator,
                    made + 1 if self._needs_every_batch(iterator, first=number == 0) else 1,
                )
            )
        set_program_random(now)

    def _resume_pass(
        self, present: DataPass, dataset: Iterable[Any], drawing: DrawingState, *, first: bool
    ) -> Iterator[Any]:
        """Return the iterator of the interrupted pass, at its saved position."""
        now = program_random()
        # Data whose position cannot be saved is read again from its start.
        if self._not_savable_reason is not None and present.random is not None:
            drawing.set_epoch(present.random)
        iterator = iter(dataset)
        # An older version may have saved a state that TensorFlow cannot restore.
        self._not_savable_reason = self._not_savable_reason or reason_not_restorable(iterator)
        if (
            present.done
            and present.saved
            and not self._needs_every_batch(iterator, first=first, present=True)
        ):
            draw_batches(iterator, 1)
            restore_iterator(iterator, present.saved, max(present.done - 1, 1))
        else:
            draw_batches(iterator, present.done)
        drawing.set_now(present.values, drawn_again=self._not_savable_reason is not None)
        set_program_random(now)
        return iterator

    def _needs_every_batch(self, iterator: Any, *, first: bool, present: bool = False) -> bool:
        """Return whether every batch must be read again.

        That is so if no state can be saved, if the first pass fills a cache, or if an earlier pass
        used several orders.
        """
        if self._not_savable_reason is not None or not isinstance(iterator, tf.data.Iterator):
            return True
        return (first and uses_cache(iterator)) or (
            not present and repeats_orders_in_pass(iterator, endless=True)
        )


class _LoopIterators:
    """A leaf with the states of all iterators in use; restored states wait for the loop."""

    kind = "trackable"
    trainable = None
    path = "the data of the loop"

    def __init__(self, key: str, data: LoopData) -> None:
        self.key = key
        self._data = data

    def capture(self) -> Tensors:
        return self._data.iterator_states()

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        self._data.keep_iterator_states(tensors)
