"""The processes that train together: alone, and on a store that all share."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ckptkit.errors import ConfigError, WorkerLost
from ckptkit.workers.cluster import Alone, Cluster, WorkersLateError
from ckptkit.workers.coordinated import PIECE_BYTES, Coordinated
from ckptkit.workers.job_members import check_alike, member_of
from ckptkit.workers.pulse import BEAT_SECS, LEAVE_SECS, SILENCE_SECS, Pulse
from tests.support.key_values import SharedKeyValues


def together(size: int, action: Callable[[Coordinated], Any]) -> list[Any]:
    """Run an action on each of some workers, and return the results by rank."""
    store = SharedKeyValues()
    with ThreadPoolExecutor(size) as pool:
        return list(
            pool.map(action, [Coordinated(rank, size, store, "job/1") for rank in range(size)])
        )


def test_alone():
    alone: Cluster = Alone()
    assert (alone.rank, alone.size) == (0, 1)
    alone.put("seed", b"7")
    assert alone.get("seed", 1.0) == b"7"
    assert not alone.claim("seed", b"8")
    assert alone.claim("other", b"8")
    assert alone.gather("loss", b"0.5", 1.0) == [b"0.5"]
    alone.barrier("restored", 1.0)


def test_what_nobody_has_put_names_who_is_late():
    with pytest.raises(WorkersLateError, match=r"'seed' within 3 s.*rank 0") as caught:
        Alone().get("seed", 3.0)
    assert caught.value.late == (0,)


def test_values_of_every_size_arrive(seed):
    draw = random.Random(seed)
    sizes = [0, 1, PIECE_BYTES, PIECE_BYTES + 1, draw.randrange(3 * PIECE_BYTES)]
    values = [draw.randbytes(size) for size in sizes]

    def exchange(worker: Coordinated) -> list[bytes]:
        if worker.rank == 1:
            for number, value in enumerate(values):
                worker.put(f"value/{number}", value)
        return [worker.get(f"value/{number}", 10.0) for number in range(len(values))]

    assert together(2, exchange) == [values, values]


def test_all_values_by_rank_and_one_winner():
    def meet(worker: Coordinated) -> Any:
        mine = b"%d" % worker.rank
        return worker.gather("at", mine, 10.0), worker.claim("first", mine)

    found = together(5, meet)
    assert all(values == [b"0", b"1", b"2", b"3", b"4"] for values, _ in found)
    assert [won for _, won in found].count(True) == 1


def test_a_gathering_names_every_worker_that_is_late():
    worker = Coordinated(0, 4, SharedKeyValues(), "job")
    Coordinated(2, 4, worker._values, "job").put("at/2", b"")
    with pytest.raises(WorkersLateError) as caught:
        worker.gather("at", b"", 0.1)
    assert caught.value.late == (1, 3)


def test_a_wait_ends_if_another_worker_or_the_store_has_ended():
    store = SharedKeyValues()
    first, second = (Coordinated(rank, 2, store, "job") for rank in range(2))
    first.start()
    threading.Timer(0.1, second.end, ["ValueError: a bug"]).start()
    with pytest.raises(WorkerLost, match="worker 1 has ended: ValueError: a bug") as caught:
        first.get("part/1", 60.0)
    assert caught.value.code == 76
    first.close()
    other = Coordinated(0, 2, store, "other")
    threading.Timer(0.1, store.end).start()
    with pytest.raises(WorkerLost, match="cannot be reached"):
        other.get("part/1", 60.0)


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Hasty(SharedKeyValues):
    """A store that is far away, and whose waits take no time in a test."""

    def get(self, key: str, timeout_secs: float) -> str | None:
        return super().get(key, 0) if timeout_secs >= 0.1 else None


def pass_time(clock: Seconds, secs: float, pulses: list[Pulse]) -> None:
    """Let time pass for workers, which look each second and give signs as often as they do."""
    for second in range(int(secs)):
        clock.now += 1.0
        for pulse in pulses:
            if second % int(BEAT_SECS) == 0:
                pulse.beat()
        for pulse in pulses:
            pulse.watch()
            pulse.check()


@pytest.mark.parametrize("silent", [0, 1])
def test_a_silent_worker_is_lost_and_the_process_ended(silent):
    store, clock, ended = Hasty(), Seconds(), []
    pulses = [
        Pulse(rank, 2, store, "job", clock, lambda rank=rank: ended.append(rank))
        for rank in range(2)
    ]
    for pulse in pulses:
        pulse.watch_all(True)
    pass_time(clock, 5 * SILENCE_SECS, pulses)
    assert len(store.keys) == 2
    other = pulses[1 - silent]
    with pytest.raises(WorkerLost):
        pass_time(clock, SILENCE_SECS + 10, [other])
    with pytest.raises(WorkerLost, match=f"worker {silent} has given no sign of life for 30 s"):
        other.check()
    other.watch()
    assert ended == []
    clock.now += LEAVE_SECS + 1
    other.watch()
    assert ended == [1 - silent]


def test_a_worker_that_has_left_is_not_lost():
    store, clock = Hasty(), Seconds()
    first, second = (
        Pulse(rank, 2, store, "job", clock, lambda: pytest.fail("ended")) for rank in range(2)
    )
    first.watch_all(True)
    pass_time(clock, 20, [first, second])
    second._over.set()
    second._beat_on()  # its last sign
    pass_time(clock, 5 * SILENCE_SECS, [first])


def test_no_silence_is_a_loss_after_training():
    """Another worker may export for an hour, and hold Python's lock meanwhile."""
    store, clock = Hasty(), Seconds()
    pulses = [
        Pulse(rank, 2, store, "job", clock, lambda: pytest.fail("ended")) for rank in range(2)
    ]
    for pulse in pulses:
        pulse.watch_all(True)
    pass_time(clock, 20, pulses)
    pulses[0].watch_all(False)
    pass_time(clock, 5 * SILENCE_SECS, pulses[:1])
    pulses[0].watch_all(True)  # the next loop
    with pytest.raises(WorkerLost):
        pass_time(clock, 2 * SILENCE_SECS, pulses[:1])


def test_a_process_that_was_suspended_does_not_count_its_own_sleep():
    store, clock = Hasty(), Seconds()
    pulses = [
        Pulse(rank, 2, store, "job", clock, lambda: pytest.fail("ended")) for rank in range(2)
    ]
    for pulse in pulses:
        pulse.watch_all(True)
    pass_time(clock, 20, pulses)
    clock.now += 10 * SILENCE_SECS
    pulses[0].watch()  # before the first sign of the other one
    pass_time(clock, 20, pulses)


def test_signs_arrive_over_a_network():
    store, clock = Hasty(), Seconds()
    pulses = [
        Pulse(rank, 2, store, "job", clock, lambda: pytest.fail("ended")) for rank in range(2)
    ]
    for pulse in pulses:
        pulse.watch_all(True)
    pass_time(clock, 5 * SILENCE_SECS, pulses)


def test_a_worker_that_has_not_come_yet_is_not_lost():
    store, clock = Hasty(), Seconds()
    pulse = Pulse(0, 2, store, "job", clock, lambda: pytest.fail("ended"))
    for _ in range(10):
        clock.now += SILENCE_SECS
        pulse.beat()
        pulse.watch()
        pulse.check()


def test_ranks_are_those_of_tensorflow():
    tasks = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    places = [("chief", 0), ("worker", 0), ("worker", 1)]
    members = [member_of(tasks, kind, index) for kind, index in places]
    assert [(each.rank, each.size) for each in members] == [(0, 3), (1, 3), (2, 3)]
    assert member_of({"worker": ["a:1", "b:1"]}, "worker", 1).rank == 1
    for kind in ("ps", "evaluator"):
        with pytest.raises(ConfigError, match=kind):
            member_of({"worker": ["a:1"], kind: ["b:1"]}, "worker", 0)


def test_a_difference_names_both_sides():
    first = {"program": "a.py", "hyperparameters": {"rate": 0.1, "beta": 0.9}}
    other = {"program": "a.py", "hyperparameters": {"rate": 0.2, "beta": 0.9}}
    check_alike([first, dict(first)], ["x", "y"])
    with pytest.raises(ConfigError) as caught:
        check_alike([first, first, other], ["host a", "host b", "host c"])
    for part in ('{"rate": 0.1} on worker 0 (host a)', '{"rate": 0.2} on worker 2 (host c)'):
        assert part in str(caught.value)
