"""Saves and resumes the position in the data of a custom loop: passes of `manager.data(...)`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from ckptkit.data.data_pass import DataPass
from ckptkit.data.draw_meter import DrawMeter
from ckptkit.data.drawing_state import DrawingState
from ckptkit.data.earlier_passes import read_again
from ckptkit.data.iterator_position import OTHER_ORDER, EarlierDraws, IteratorPosition
from ckptkit.data.iterator_state import (
    draw_batches,
    needs_full_cache,
    reason_not_repeatable,
    reason_not_savable,
    repeats_orders_in_pass,
    restore_and_draw,
    uses_cache,
)
from ckptkit.data.loop_iterators import LoopIterators
from ckptkit.data.start_orders import StartOrders
from ckptkit.errors import ConfigError
from ckptkit.policies.anchor_policies import AnchorPolicy
from ckptkit.run.manifest import DATA, WORKER, Manifest
from ckptkit.tracking.data_anchor import AnchorUse
from ckptkit.tracking.leaves import Leaf, PythonLeaf, Tensors
from ckptkit.tracking.python_state import program_random, set_program_random
from ckptkit.writing.data_anchor_files import stored_anchors


class LoopData:
    """The positions in the data of `manager.data(...)`, as an entry of the state.

    An epoch may have several passes, one for each call of `manager.data`, in sequence or at the
    same time. The n-th call in each epoch is assumed to use the same data.

    Args:
        inexact: is called with the reason if the run cannot resume bit for bit.
        policy: decides how saves store the positions of iterators.
    """

    def __init__(self, inexact: Callable[[str], None], policy: AnchorPolicy) -> None:
        self._inexact, self._policy = inexact, policy
        # For each finished epoch: `DataPass.earlier` of each of its passes.
        self._epochs: list[list[int]] = []
        self._passes: list[DataPass] = []  # of the current epoch
        self._calls = 0  # of `batches` in this epoch, in this process
        # By the number of the call: what its first pass began with.
        self._beginnings: dict[str, dict[str, Any]] = {}
        self._not_savable_reason: str | None = None
        self._is_resumed = False
        self._restored: Tensors = {}  # states of iterators, until the passes are known
        self._meters: dict[int, DrawMeter] = {}  # by the number of the call
        # The calls whose earlier passes were read again; once in a process restores the counters.
        self._replayed_calls: set[int] = set()
        # The body of a resumed epoch runs from its top, so what it draws before its passes is drawn
        # again, from the states of then. Those of the checkpoint follow at the place in the data.
        self._random_of_epoch: dict[str, Any] | None = None
        self._random_at_place: dict[str, Any] | None = None
        # Of the last pass of the first call in an epoch.
        self._orders: StartOrders | None = None

    def leaves(self, name: str) -> list[Leaf]:
        """Return the passes, and the states of their iterators if TensorFlow can save them."""
        # The iterators first, because the passes say what a snapshot stores of them.
        return [
            LoopIterators(f"{name}/{DATA}/0", self),
            PythonLeaf(f"{name}/state/0", name, self._get_state, self._set_state),
        ]

    def _get_state(self) -> dict[str, Any]:
        """Return the passes as Python state."""
        return {
            "epochs": self._epochs,
            "passes": [each.to_state() for each in self._passes],
            "beginnings": self._beginnings,
            "drawn_again": self._not_savable_reason,
            "random_of_epoch": self._random_of_epoch if self._passes else None,
            "orders": self._orders and self._orders.to_state(),
        }

    def _set_state(self, state: dict[str, Any]) -> None:
        """Set the passes of a checkpoint; the loop makes their iterators later."""
        self._epochs, self._not_savable_reason = state["epochs"], state["drawn_again"]
        self._passes = [DataPass.from_state(each) for each in state["passes"]]
        for key, tensor in self._restored.items():
            number, _, part = key.partition("/")
            if int(number) < len(self._passes):
                self._passes[int(number)].saved[part] = tensor
        self._restored = {}
        self._beginnings = state.get("beginnings", {})
        self._calls, self._is_resumed, self._replayed_calls = 0, True, set()
        # Earlier versions have none of these.
        self._random_of_epoch = state.get("random_of_epoch")
        self._orders = StartOrders.from_state(state.get("orders"))

    def iterator_states(self) -> Tensors:
        """Return the states of the iterators in use, by `<number of the pass>/<part>`.

        An iterator is left out if the step of its last batch does not count. Its batches are read
        again on a resume.
        """
        states: Tensors = {}
        for number, each in enumerate(self._passes):
            tensors = each.saved if each.anchor is None else {}
            if each.position is not None:
                ahead = each.drawn != each.done
                tensors = each.position.take(each.done, ahead=ahead).tensors
            states |= {f"{number}/{part}": tensor for part, tensor in tensors.items()}
        return states

    def anchors(self, key: str) -> tuple[AnchorUse, ...]:
        """Return the anchors that the newest `iterator_states` count from.

        Args:
            key: the key of the leaf.
        """
        return tuple(
            use for number, each in enumerate(self._passes) for use in each.uses(f"{key}/{number}")
        )

    def keep_iterator_states(self, tensors: Mapping[str, tf.Tensor]) -> None:
        """Keep saved states until the passes are known, and the loop makes their iterators."""
        self._restored = dict(tensors)

    def resumed_from(self, manifest: Manifest) -> None:
        """Note the anchors of a restored checkpoint, so that later saves share them.

        Args:
            manifest: its manifest.
        """
        anchors = stored_anchors(manifest)
        for entry in manifest.anchors:
            if entry.key.split("/")[1] == WORKER:
                continue  # of another worker of the job
            number = int(entry.key.rpartition("/")[2])
            # In `fit` there are no passes of a loop.
            if number < len(self._passes):
                self._passes[number].anchor = anchors.get(entry.key)
                self._passes[number].since = entry.since
                self._passes[number].order = entry.order

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
        """End the passes that the program has left early and does not continue."""
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
            restores = not drawing.is_empty or (present is not None and bool(present.saved))
            beginning = self._beginnings.get(str(call), {})
            orders = self._orders_of(dataset, drawing)
            self._replay_earlier(
                dataset, earlier, drawing, beginning, restores=restores, orders=orders
            )
        else:
            orders = None
        if present is None:
            self._beginnings.setdefault(
                str(call), {"variables": drawing.at_beginning()["variables"]}
            )
            present = DataPass(random=drawing.at_epoch(), drawing=drawing)
            self._passes.append(present)
            iterator = self._made(dataset)
        elif present.over:
            self._arrive(call)
            return  # the pass was already over at the checkpoint, so the epoch continues after it
        else:
            present.drawing = drawing
            if orders is not None and orders.passes != len(earlier):
                orders = None
            iterator = self._resume_pass(
                present, dataset, drawing, self._meter(call), first=not earlier, orders=orders
            )
            self._arrive(call)
        present.position = self._position_of(iterator, present, call, len(earlier))
        present.saved = {}
        if (reason := reason_not_repeatable(iterator)) is not None:
            self._inexact(reason)
        present.caches = not earlier and uses_cache(iterator)
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
        """Mark every batch drawn so far as trained, because a step is complete."""
        for each in self._passes:
            each.done = each.drawn

    def _replay_earlier(
        self,
        dataset: Iterable[Any],
        earlier: list[int],
        drawing: DrawingState,
        beginning: dict[str, Any],
        *,
        restores: bool,
        orders: StartOrders | None,
    ) -> None:
        """Make the iterators of this call's earlier passes again, and read from them.

        That advances the counters of shuffles and the random states of generators to the run's
        position. `ckptkit/keras/fit/fit_replay.py` does the same in `fit`. Passes before the one
        whose orders are known are left out.
        """
        # The program's random states come from the checkpoint and must not change here.
        now = program_random()
        # A variable that reading does not change already has the value of this epoch, from the
        # loop's body or the checkpoint.
        drawing.set_beginning(beginning, random=False, only_written=True)
        read_again(
            dataset,
            earlier,
            orders,
            lambda iterator, number: self._needs_every_batch(
                iterator, first=number == 0, restores=restores
            ),
        )
        set_program_random(now)

    def _resume_pass(
        self,
        present: DataPass,
        dataset: Iterable[Any],
        drawing: DrawingState,
        meter: DrawMeter,
        *,
        first: bool,
        orders: StartOrders | None,
    ) -> Iterator[Any]:
        """Return the iterator of the interrupted pass, at its saved position."""
        now = program_random()
        # Data whose position cannot be saved is read again from its start.
        if self._not_savable_reason is not None and present.random is not None:
            drawing.set_epoch(present.random)
        iterator = self._made(dataset)
        if orders is not None:
            orders.restore(iterator)
        if (
            present.done
            and present.saved
            and not self._needs_every_batch(iterator, first=first, present=True)
        ):
            draw_batches(iterator, 1)
            restore_and_draw(
                iterator, present.saved, max(present.done - 1, 1), present.since, meter
            )
        else:
            meter.draw(lambda: draw_batches(iterator, present.done))
        meter.drawn()
        drawing.set_now(present.values, drawn_again=self._not_savable_reason is not None)
        set_program_random(now)
        return iterator

    def _made(self, dataset: Iterable[Any]) -> Iterator[Any]:
        """Return a new iterator, and note whether its position can be saved."""
        iterator = iter(dataset)
        # Asked before the first batch, because a state with full buffers takes seconds to read. An
        # older version may have saved a state that TensorFlow cannot restore.
        if self._not_savable_reason is None:
            self._not_savable_reason = reason_not_savable(iterator)
        if isinstance(iterator, tf.distribute.DistributedIterator):
            self._not_savable_reason = "a strategy has split it; pass strategy=... to manager.data"
        return iterator

    def _orders_of(self, dataset: Any, drawing: DrawingState) -> StartOrders | None:
        """Return the orders in the checkpoint, if they are those of this data.

        They are the data's only if each epoch has one pass, because several calls may read the
        same data.
        """
        orders = self._orders
        alone = len(self._passes) <= 1 and all(len(passes) == 1 for passes in self._epochs)
        if orders is None or not alone or not drawing.is_empty:
            return None
        known = self._not_savable_reason is None and orders.fits(dataset)
        return orders if known else None

    def _meter(self, call: int) -> DrawMeter:
        return self._meters.setdefault(call, DrawMeter(self._policy, time.monotonic))

    def _position_of(
        self, iterator: Any, present: DataPass, call: int, passes: int
    ) -> IteratorPosition | None:
        """Return the position to save of an iterator; None if its batches are read again."""
        if self._not_savable_reason is not None or present.drawing is None:
            return None
        position = IteratorPosition(
            iterator,
            self._meter(call),
            EarlierDraws(present.done, anchor=present.anchor),
            countable=present.drawing.is_empty,
        )
        if not present.done:
            position.begin(passes)
            if call == 0:
                self._orders = position.orders
            return position
        # An anchor that is restored brings its seeds along.
        restores = present.anchor is not None and present.done - 1 > present.since
        if present.order and not restores and present.order != position.order:
            self._inexact(OTHER_ORDER)
        return position

    def _needs_every_batch(
        self, iterator: Any, *, first: bool, present: bool = False, restores: bool = True
    ) -> bool:
        """Return whether every batch must be read again.

        That is so if no state can be saved, if the first pass fills a cache, or if an earlier pass
        used several orders.
        """
        if self._not_savable_reason is not None or not isinstance(iterator, tf.data.Iterator):
            return True
        return (first and needs_full_cache(iterator, restores=restores)) or (
            not present and repeats_orders_in_pass(iterator, endless=True)
        )
