"""Workers agree on one boundary, whoever asks and however far apart they are."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ckptkit.errors import ConfigError, WorkerLost
from ckptkit.workers.agreement import SAVE, STOP, Agreement, Plan
from ckptkit.workers.coordinated import Coordinated
from tests.support.key_values import SharedKeyValues


def run(size: int, work: Any) -> list[Any]:
    """Run a worker's program in as many threads, each with its agreement."""
    store = SharedKeyValues()

    def one(rank: int) -> Any:
        agreement = Agreement(Coordinated(rank, size, store, "job"))
        agreement.start()
        try:
            return work(rank, agreement)
        finally:
            agreement.close()

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))


@pytest.mark.parametrize("size", [2, 3, 8])
def test_all_stop_at_one_boundary_without_waiting_for_each_other(size, seed):
    """The workers of this test share no operation, so they drift apart."""
    asks_at = random.Random(seed).randrange(3, 10)
    asker = random.Random(seed + 1).randrange(size)

    def work(rank: int, agreement: Agreement) -> int:
        draw = random.Random(f"{seed} {rank}")
        for number in range(1, 2000):
            agreement.pass_boundary()
            plan = agreement.plan_here()
            if plan is not None:
                assert plan.action == STOP
                assert plan.reason.startswith("SIGTERM")
                return number
            if rank == asker and number == asks_at:
                agreement.ask_to_stop("SIGTERM")
            if rank == 0 and agreement.wanted and not agreement.is_planned:
                agreement.announce(Plan(STOP, agreement.wanted))
            time.sleep(draw.random() * 0.01)
        return 0

    stopped = run(size, work)
    assert len(set(stopped)) == 1
    assert stopped[0] > asks_at


def test_many_saves_happen_at_the_same_boundaries(seed):
    turns = 60

    def work(rank: int, agreement: Agreement) -> list[int]:
        draw, done = random.Random(f"{seed} {rank}"), []
        for number in range(turns):
            agreement.pass_boundary()
            if agreement.plan_here() is not None:
                done.append(number)
            if rank == 0 and not agreement.is_planned and draw.random() < 0.2:
                agreement.announce(Plan(SAVE, "due"))
            time.sleep(draw.random() * 0.003)
        agreement.meet("the end")
        return [*done, *(turns for _ in agreement.take_plans())]

    found = run(4, work)
    # One that was named for a boundary that did not come is left on all workers.
    assert len(found[0]) > 1
    assert all(each == found[0] for each in found), found


def test_a_meeting_returns_the_decision_of_the_first_one():
    def work(rank: int, agreement: Agreement) -> list[bytes]:
        return [agreement.meet(f"epoch {n}", b"%d" % (n * (rank + 1))) for n in range(3)]

    assert run(3, work) == [[b"0", b"1", b"2"]] * 3


def test_workers_at_other_points_are_all_told_both():
    def work(rank: int, agreement: Agreement) -> str:
        with pytest.raises(ConfigError) as caught:
            agreement.meet(f"the end of step {rank % 2}")
        return str(caught.value)

    for told in run(3, work):
        assert "worker 0 is at the end of step 0, and worker 1 is at the end of step 1" in told


def test_nobody_waits_for_a_worker_that_has_ended():
    store = SharedKeyValues()
    clusters = [Coordinated(rank, 2, store, "job") for rank in range(2)]
    first = Agreement(clusters[0])
    clusters[1].end("MemoryError")
    with pytest.raises(WorkerLost, match="worker 1 has ended: MemoryError"):
        first.announce(Plan(SAVE, "due"))
    with pytest.raises(WorkerLost, match="worker 1 has ended: MemoryError"):
        first.meet("the end of training")


def test_a_boundary_sends_nothing_if_nobody_asks():
    class Counted(SharedKeyValues):
        calls = 0

        def put(self, key: str, value: str) -> bool:
            self.calls += 1
            return super().put(key, value)

        def get(self, key: str, timeout_secs: float) -> str | None:
            self.calls += 1
            return super().get(key, timeout_secs)

    store = Counted()
    agreement = Agreement(Coordinated(1, 2, store, "job"))
    for _ in range(1000):
        agreement.pass_boundary()
        assert agreement.plan_here() is None
    assert store.calls == 0
