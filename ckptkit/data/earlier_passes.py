"""Repeats earlier passes over the data, so that shuffles and generators continue as before.

A resumed run makes the iterator of each earlier pass again, because each pass changes their state.
It reads all batches of it, one batch or none: the least that leads to the same state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ckptkit.data.iterator_state import DrawProgress, draw_batches
from ckptkit.data.shuffle_counters import OrderCounters, counters_of
from ckptkit.data.start_orders import StartOrders


def read_again(
    dataset: Iterable[Any],
    earlier: Sequence[int],
    orders: StartOrders | None,
    needs_every_batch: Callable[[Any, int], bool],
) -> None:
    """Make the iterators of earlier passes again, and read from them.

    Args:
        dataset: the data.
        earlier: the number of batches of each pass; see `DataPass.earlier`.
        orders: the orders with which one of the passes began. The passes before it are not read.
            None if they are not known.
        needs_every_batch: returns whether an iterator has to read all batches of a pass, given by
            its number.
    """
    left_out = 0 if orders is None else orders.passes
    progress = DrawProgress(sum(earlier[left_out:]), time.monotonic)
    counters: OrderCounters | None = None
    for number, made in enumerate(earlier[left_out:], left_out):
        iterator = iter(dataset if counters is None else counters)
        if orders is not None and number == left_out:
            orders.restore(iterator)
        if counters is not None:
            counters.read_first()
            continue
        if needs_every_batch(iterator, number):
            # One more than the number of batches, because to find the end is also a call.
            again = made + 1
        else:
            counters = counters_of(iterator)
            again = 1 if counters is None else 0
            if counters is not None:
                counters.read_first()
        progress.add(draw_batches(iterator, again))
