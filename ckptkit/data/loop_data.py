"""Where the data of a loop stands: the passes over it, and those that are under way."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from ckptkit.compat import tf_checkpoint
from ckptkit.data.iterator_state import (
    DrawProgress,
    draw,
    keeps_a_cache,
    put_back,
    repeats_within,
    why_not_saved,
)
from ckptkit.errors import ConfigError
from ckptkit.run.manifest import DATA
from ckptkit.tracking.leaves import Leaf, PythonLeaf, Tensors
from ckptkit.tracking.random_state import python_and_numpy, set_python_and_numpy


@dataclass
class DataPass:
    """One pass over data.

    Args:
        done: batches whose turn counts.
        drawn: batches that were drawn; one more than `done` while a turn is under way, and after a
            `break`.
        over: whether the data has ended, or the program has gone on after it broke the pass off.
        left: whether the program broke it off; it is over when the program goes on with something
            else.
        caches: whether it fills a cache, from which later passes read.
        random: Python's and NumPy's states when it began.
        iterator: what it draws from, in this process.
        saved: the iterator's saved state, until the loop makes the iterator that it belongs to.
    """

    done: int = 0
    drawn: int = 0
    over: bool = False
    left: bool = False
    caches: bool = False
    random: dict[str, Any] | None = None
    iterator: Any = None
    saved: Tensors = field(default_factory=dict)

    @property
    def earlier(self) -> int:
        """What is remembered of a pass that is over: one less than the times that its data was
        asked, the last time in vain.
        """
        return self.drawn - 1 if self.left else self.done

    def end(self) -> None:
        """Nothing more is drawn."""
        self.over, self.iterator, self.saved = True, None, {}


class LoopData:
    """The data of `manager.data(...)`, as an entry of the state.

    An epoch may have several passes, one for each call of `manager.data`, one after the other or
    several at once; the n-th call in an epoch goes over the same data as the n-th call in any
    other.

    Args:
        inexact: is told why the run cannot go on bit for bit.
    """

    def __init__(self, inexact: Callable[[str], None]) -> None:
        self._inexact = inexact
        self._epochs: list[
            list[int]
        ] = []  # `DataPass.earlier` of each pass, of the epochs that are over
        self._passes: list[DataPass] = []  # of the present epoch
        self._calls = 0  # of `batches` in this epoch, in this process
        self._drawn_again: str | None = None
        self._goes_on = False
        self._known: set[int] = set()

    def leaves(self, name: str) -> list[Leaf]:
        """The passes, and the states of their iterators where TensorFlow can save them."""
        return [
            PythonLeaf(f"{name}/state/0", name, self._get_state, self._set_state),
            _LoopIterators(f"{name}/{DATA}/0", self),
        ]

    def _get_state(self) -> dict[str, Any]:
        passes = [
            {
                "done": each.earlier if each.over else each.done,
                "over": each.over,
                "random": None if each.over else each.random,
            }
            for each in self._passes
        ]
        return {"epochs": self._epochs, "passes": passes, "drawn_again": self._drawn_again}

    def _set_state(self, state: dict[str, Any]) -> None:
        self._epochs, self._drawn_again = state["epochs"], state["drawn_again"]
        self._passes = [
            DataPass(
                done=each["done"], drawn=each["done"], over=each["over"], random=each["random"]
            )
            for each in state["passes"]
        ]
        self._calls, self._goes_on, self._known = 0, True, set()

    def iterator_states(self) -> Tensors:
        """The states of the iterators under way, `<number of the pass>/<part>`; none of one that
        stands behind a batch whose turn does not count: what was done is then drawn again.
        """
        states: Tensors = {}
        for number, each in enumerate(self._passes):
            tensors = each.saved
            if each.iterator is not None:
                tensors = (
                    tf_checkpoint.serialize(each.iterator)
                    if self._drawn_again is None and each.drawn == each.done
                    else {}
                )
            states |= {f"{number}/{part}": tensor for part, tensor in tensors.items()}
        return states

    def keep_iterator_states(self, tensors: Mapping[str, tf.Tensor]) -> None:
        """Keeps saved states until the loop makes the iterators that they belong to."""
        for key, tensor in tensors.items():
            number, _, part = key.partition("/")
            if int(number) < len(self._passes):
                self._passes[int(number)].saved[part] = tensor

    def epoch_ended(self) -> None:
        """An epoch of the loop is over."""
        for each in self._passes:
            each.left = not each.over or each.left
            self._end(each)
        self._epochs.append([each.earlier for each in self._passes])
        self._passes, self._calls = [], 0

    @property
    def in_use(self) -> bool:
        """Whether this epoch has had a pass."""
        return bool(self._passes)

    def goes_on(self) -> None:
        """The program goes on with something else: the passes that it broke off are over."""
        for each in self._passes:
            if each.left:
                self._end(each)

    def _end(self, each: DataPass) -> None:
        """Nothing more is drawn from a pass.

        TensorFlow reads ahead: whether it has read all that is to be cached when a pass is broken
        off depends on how fast the program was, and with that, whether the next pass draws its
        elements anew.
        """
        each.end()
        if each.left and each.caches:
            self._inexact(
                "the first pass over data with cache() was broken off, and what TensorFlow has "
                "cached by then depends on time"
            )

    def batches(self, dataset: Iterable[Any]) -> Generator[Any]:
        """The batches that are left of a pass; `done` is to be called after each."""
        self.goes_on()
        call, self._calls = self._calls, self._calls + 1
        present = self._passes[call] if call < len(self._passes) else None
        earlier = [passes[call] for passes in self._epochs if call < len(passes)]
        if present is not None and present.over:
            earlier.append(present.done)
        if self._goes_on and call not in self._known:
            self._known.add(call)
            self._go_over(dataset, earlier)
        if present is None:
            present = DataPass(random=python_and_numpy())
            self._passes.append(present)
            iterator = iter(dataset)
        elif present.over:
            return
        else:
            iterator = self._under_way(present, dataset, first=not earlier)
        if self._drawn_again is None:
            self._drawn_again = why_not_saved(iterator)
        present.iterator, present.saved = iterator, {}
        present.caches = (
            not earlier and isinstance(iterator, tf.data.Iterator) and keeps_a_cache(iterator)
        )
        try:
            for batch in iterator:
                present.drawn += 1
                yield batch
                if present.over:
                    raise ConfigError(
                        "An iterator of manager.data is one pass over the data, inside one epoch, "
                        "and its epoch is over. Call "
                        "manager.data(dataset) in the body of `for epoch in manager.epochs(...)`."
                    )
        except GeneratorExit:
            present.left = not present.over
            raise
        present.end()

    def done(self) -> None:
        """The turn is complete: the batches that were drawn for it count."""
        for each in self._passes:
            each.done = each.drawn

    def _go_over(self, dataset: Iterable[Any], earlier: list[int]) -> None:
        """Makes the iterators that this call made before, and draws from them what advances the
        counters of shuffles and the random states of generators; `ckptkit/keras/fit/train_replay.py` does
        the same in `fit`.
        """
        now = python_and_numpy()
        progress = DrawProgress(sum(earlier), time.monotonic)
        for number, made in enumerate(earlier):
            iterator = iter(dataset)
            progress.add(
                draw(iterator, made + 1 if self._draws_all(iterator, first=number == 0) else 1)
            )  # the data's end is one call more
        set_python_and_numpy(now)

    def _under_way(
        self, present: DataPass, dataset: Iterable[Any], *, first: bool
    ) -> Iterator[Any]:
        """The iterator of a pass in which the run was interrupted, where it was."""
        now = python_and_numpy()
        if self._drawn_again is not None and present.random is not None:
            set_python_and_numpy(present.random)
        iterator = iter(dataset)
        if (
            present.done
            and present.saved
            and not self._draws_all(iterator, first=first, present=True)
        ):
            draw(iterator, 1)
            put_back(iterator, present.saved, max(present.done - 1, 1))
        else:
            draw(iterator, present.done)
        set_python_and_numpy(now)
        return iterator

    def _draws_all(self, iterator: Any, *, first: bool, present: bool = False) -> bool:
        """Whether every batch has to be drawn again: where no state can be saved, where the first
        pass fills a cache, and where an earlier pass drew several orders.
        """
        if self._drawn_again is not None or not isinstance(iterator, tf.data.Iterator):
            return True
        return (first and keeps_a_cache(iterator)) or (
            not present and repeats_within(iterator, endless=True)
        )


class _LoopIterators:
    """The states of the iterators under way; on a resume they wait until the loop makes those
    iterators.
    """

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
