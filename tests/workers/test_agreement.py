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
from tests.support.polling import until


class LateValues:
    """The store as a worker sees it that gets each value late."""

    def __init__(self, store: SharedKeyValues, secs: float) -> None:
        self._store, self._secs = store, secs
        self.put, self.delete = store.put, store.delete

    def get(self, key: str, timeout_secs: float) -> str | None:
        value = self._store.get(key, timeout_secs)
        time.sleep(self._secs)
        return value


def run(
    size: int, work: Any, store: SharedKeyValues | None = None, lateness: float = 0.0
) -> list[Any]:
    """Run a worker's program in as many threads, each with its agreement."""
    shared = store or SharedKeyValues()

    def one(rank: int) -> Any:
        values = LateValues(shared, lateness * (rank % 2))
        agreement = Agreement(Coordinated(rank, size, values, "job"))
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
                assert plan.for_good == (asker == 0)
                return number
            if rank == asker and number == asks_at:
                agreement.ask_to_stop("SIGTERM", rank == 0)
            if rank == 0 and agreement.wanted and not agreement.is_planned:
                agreement.announce(agreement.wanted)
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
        return [*done, *(turns for _ in agreement.meet("the end").plans)]

    found = run(4, work)
    # One that was named for a boundary that did not come is left on all workers.
    assert len(found[0]) > 1
    assert all(each == found[0] for each in found), found


def test_a_meeting_returns_the_decision_of_the_first_one():
    def work(rank: int, agreement: Agreement) -> list[bytes]:
        decisions = [b"%d" % (n * (rank + 1)) for n in range(3)]
        return [agreement.meet(f"epoch {n}", each).decision for n, each in enumerate(decisions)]

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
    clusters[0].start()
    first = Agreement(clusters[0])
    clusters[1].end("MemoryError")
    with pytest.raises(WorkerLost, match="worker 1 has ended: MemoryError"):
        first.announce(Plan(SAVE, "due"))
    with pytest.raises(WorkerLost, match="worker 1 has ended: MemoryError"):
        first.meet("the end of training")
    clusters[0].close()


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


@pytest.mark.parametrize("size", [2, 5])
def test_meetings_drop_the_same_plans_on_all_workers(size: int, seed: int):
    """A worker that is late at a meeting hears there of plans that belong after it."""

    def work(rank: int, agreement: Agreement) -> list[str]:
        draw, seen = random.Random(f"{seed} {rank}"), []
        for number in range(40):
            agreement.pass_boundary()
            if (plan := agreement.plan_here()) is not None:
                seen.append(f"boundary {number}: {plan.reason}")
            if number % 3 == 0:
                met = agreement.meet(f"boundary {number}")
                seen += [f"meeting {number}: {each.reason}" for each in met.plans]
            if rank == 0 and not agreement.is_planned:
                agreement.announce(Plan(SAVE, f"due at {number}"))
            elif rank and draw.random() < 0.3:
                time.sleep(draw.random() * 0.005)
        return [*seen, *(each.reason for each in agreement.meet("the end").plans)]

    found = run(size, work, lateness=0.003)
    assert len(found[0]) > 10
    assert all(each == found[0] for each in found), found


def test_a_wish_is_served_at_a_meeting_if_no_boundary_comes():
    """For loops that call `manager.save` and nothing else."""

    def work(rank: int, agreement: Agreement) -> tuple[int, Plan | None]:
        if rank == 0:
            agreement.ask_to_stop("ckptkit stop", for_good=True)
        for number in range(1000):
            if plans := agreement.meet(f"save {number}").plans:
                return number, plans[0]
        return -1, None

    found = run(3, work)
    assert len(set(found)) == 1
    assert found[0][1] == Plan(STOP, "ckptkit stop", for_good=True)


def test_the_store_does_not_grow():
    store = SharedKeyValues()

    def work(rank: int, agreement: Agreement) -> int:
        sizes = []
        for number in range(30):
            agreement.pass_boundary()
            agreement.plan_here()
            agreement.meet(f"boundary {number}")
            if rank == 0:
                agreement.announce(Plan(SAVE, "due"))
                sizes.append(len(store.keys))
        return max(sizes, default=0)

    assert run(3, work, store)[0] < 30


def test_an_idle_worker_sends_one_call_and_ends_at_once():
    """TensorFlow keeps memory for each call that it has not answered in time."""
    store = SharedKeyValues()
    clusters = [Coordinated(rank, 2, store, "job") for rank in range(2)]
    agreements = [Agreement(cluster) for cluster in clusters]
    for each in [*clusters, *agreements]:
        each.start()
    until(lambda: store.waiting == 4)
    for each in [*agreements, *clusters]:
        each.close()
    assert store.waiting == store.unanswered == 0
