"""Where the data of a loop stands: the passes over it, and the one that is under way."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from ckptkit import _private
from ckptkit.save.leaves import Leaf, PythonLeaf, Tensors
from ckptkit.save.position import Progress, draw, keeps_a_cache, put_back, repeats_within, why_not_saved
from ckptkit.save.process import python_and_numpy, set_python_and_numpy
from ckptkit.store.manifest import DATA


class LoopData:
    """The data of `manager.data(...)`, as an entry of the state.

    An epoch may have several passes, one for each call of `manager.data`; the n-th call in an epoch goes over the same data as the n-th call
    in any other.
    """

    def __init__(self) -> None:
        self._epochs: list[list[int]] = []  # batches of each pass, of the epochs that are over
        self._over: list[int] = []  # the same of the present epoch
        self._now = 0  # batches done in the pass that is under way
        self._calls = 0  # of `passes` in this epoch, in this process
        self._iterator: Any = None
        self._drawn_again: str | None = None
        self._random: dict[str, Any] | None = None  # Python's and NumPy's states when the pass under way began
        self._saved: Tensors = {}
        self._goes_on = False
        self._known: set[int] = set()

    def leaves(self, name: str) -> list[Leaf]:
        """The passes, and the state of the iterator where TensorFlow can save it."""
        return [PythonLeaf(f"{name}/state/0", name, self._get_state, self._set_state), _LoopIterator(f"{name}/{DATA}/0", self)]

    def _get_state(self) -> dict[str, Any]:
        return {"epochs": self._epochs, "over": self._over, "now": self._now, "drawn_again": self._drawn_again, "random": self._random}

    def _set_state(self, state: dict[str, Any]) -> None:
        self._epochs, self._over, self._now = state["epochs"], state["over"], state["now"]
        self._drawn_again, self._random = state["drawn_again"], state["random"]
        self._calls, self._iterator, self._goes_on, self._known = 0, None, True, set()

    def iterator_state(self) -> Tensors:
        """The state of the iterator under way; nothing where there is none, or where it cannot be saved."""
        if self._iterator is None:
            return dict(self._saved)
        return _private.serialize(self._iterator) if self._drawn_again is None else {}

    def keep_iterator_state(self, tensors: Mapping[str, tf.Tensor]) -> None:
        """Keeps a saved state until the loop makes the iterator that it belongs to."""
        self._saved = dict(tensors)

    def epoch_ended(self) -> None:
        """An epoch of the loop is over."""
        self._epochs.append(self._over)
        self._over, self._now, self._calls, self._iterator, self._saved = [], 0, 0, None, {}

    def batches(self, dataset: Iterable[Any]) -> Iterator[Any]:
        """The batches that are left of a pass; `done` is to be called after each."""
        call, self._calls = self._calls, self._calls + 1
        over = call < len(self._over)
        earlier = [passes[call] for passes in self._epochs if call < len(passes)] + ([self._over[call]] if over else [])
        if self._goes_on and call not in self._known:
            self._known.add(call)
            self._go_over(dataset, earlier)
        if over:
            return
        iterator = self._under_way(dataset, first=not earlier) if self._now else self._new(dataset)
        if self._drawn_again is None:
            self._drawn_again = why_not_saved(iterator)
        self._iterator, self._saved = iterator, {}
        yield from iterator
        self._over.append(self._now)
        self._now, self._iterator = 0, None

    def done(self) -> None:
        """A batch was trained."""
        self._now += 1

    def _new(self, dataset: Iterable[Any]) -> Iterator[Any]:
        self._random = python_and_numpy()
        return iter(dataset)

    def _go_over(self, dataset: Iterable[Any], earlier: list[int]) -> None:
        """Makes the iterators that this call made before, and draws from them what advances the counters of shuffles and the random states of
        generators; `ckptkit/keras/replay.py` does the same in `fit`.
        """
        now = python_and_numpy()
        progress = Progress(sum(earlier), time.monotonic)
        for number, made in enumerate(earlier):
            iterator = iter(dataset)
            progress.add(draw(iterator, made + 1 if self._draws_all(iterator, first=number == 0) else 1))  # the data's end is one call more
        set_python_and_numpy(now)

    def _under_way(self, dataset: Iterable[Any], *, first: bool) -> Iterator[Any]:
        """The iterator of the pass in which the run was interrupted, where it was."""
        now = python_and_numpy()
        if self._drawn_again is not None and self._random is not None:
            set_python_and_numpy(self._random)
        iterator = iter(dataset)
        if self._saved and not self._draws_all(iterator, first=first, present=True):
            draw(iterator, 1)
            put_back(iterator, self._saved, max(self._now - 1, 1))
        else:
            draw(iterator, self._now)
        set_python_and_numpy(now)
        return iterator

    def _draws_all(self, iterator: Any, *, first: bool, present: bool = False) -> bool:
        """Whether every batch has to be drawn again: where no state can be saved, where the first pass fills a cache, and where an earlier pass
        drew several orders.
        """
        if self._drawn_again is not None or not isinstance(iterator, tf.data.Iterator):
            return True
        return (first and keeps_a_cache(iterator)) or (not present and repeats_within(iterator, endless=True))


class _LoopIterator:
    """The state of the iterator under way; on a resume it waits until the loop makes that iterator."""

    kind = "trackable"
    trainable = None
    path = "the data of the loop"

    def __init__(self, key: str, data: LoopData) -> None:
        self.key = key
        self._data = data

    def capture(self) -> Tensors:
        return self._data.iterator_state()

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        self._data.keep_iterator_state(tensors)
