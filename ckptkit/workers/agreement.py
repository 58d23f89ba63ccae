"""How workers agree on the moment of a save or a stop, and meet at moments that all know.

Each worker counts the boundaries between its turns. The workers run the same program, so the same
number means the same position. A worker that has to stop tells the first one, which alone decides.
Then it asks all others how far they are, and names a boundary that none has reached:

1. The first worker publishes the plan. A thread of each other worker reads it at once, whatever
   the training does, and answers with its count.
2. A worker that has answered does not pass its next boundary before it knows the named one. So
   nobody can pass it, even if the workers are many steps apart.
3. The first worker names the boundary after the largest count.

If nobody asks, a boundary costs no message.

A meeting is a moment that all reach at the same point of the program. The first worker says there
how many plans it has announced, so that all drop the same ones: a worker may hear a plan late, or
hear of the next one while it is still at the meeting.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace

import msgspec

from ckptkit.errors import ConfigError, WorkerLost
from ckptkit.log import logger
from ckptkit.threads import start_thread
from ckptkit.workers.cluster import Cluster, WorkersLateError

SAVE, STOP = "save", "stop"

ANSWER_SECS = 60.0
"""Seconds within which a worker answers a plan; a thread of its own does that."""

MEETING_SECS = 600.0
"""Seconds within which all workers reach a moment that all know, such as the end of an epoch.

It includes what the program does on one worker alone, such as an evaluation.
"""

_PATIENCE_SECS = 3.0
_CLOSED = b""


@dataclass(frozen=True)
class Plan:
    """What all workers do at a boundary.

    Args:
        action: `SAVE` or `STOP`.
        reason: who asked, and why.
        boundary: the number of the boundary; 0 before it is named.
        for_good: whether no restart may follow a stop.
    """

    action: str
    reason: str
    boundary: int = 0
    for_good: bool = False


@dataclass(frozen=True)
class Meeting:
    """What all workers know after a meeting.

    Args:
        decision: the decision of the first worker.
        plans: what was planned for a boundary that has not come before this meeting.
    """

    decision: bytes
    plans: tuple[Plan, ...] = ()


@dataclass(frozen=True)
class _Told:
    """What the first worker tells at a meeting: its decision, and how many plans it announced."""

    decision: bytes
    plans: int
    stop: Plan | None


class Agreement:
    """The part of one worker in all agreements of a session.

    `pass_boundary`, `plan_here`, `announce` and `meet` belong to the training thread.

    Args:
        cluster: the workers.

    Attributes:
        wanted: on the first worker, the stop that a worker wants; None if none does.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._changed = threading.Condition()
        self._passed = 0
        self._answered = False
        """Whether this worker has answered a plan whose boundary it does not know yet."""
        self._planned: deque[Plan] = deque()
        """A worker may be behind by more than one plan, if nothing makes it wait for the others."""
        self._done = 0
        """How many plans were taken from the queue."""
        self._plans = self._meetings = 0
        self._error: BaseException | None = None
        self._over = threading.Event()
        self._awaited = ""
        self._thread: threading.Thread | None = None
        self.wanted: Plan | None = None

    def start(self) -> None:
        """Start the thread that waits for the others.

        Raises:
            ThreadRefusedError: If the system allows no further thread.
        """
        work = self._hear_wishes if self._cluster.rank == 0 else self._hear_plans
        self._thread = start_thread(work, "ckptkit-workers")

    def close(self) -> None:
        """Stop the thread."""
        self._over.set()
        if self._thread is not None:
            # Its wait has no time limit: TensorFlow keeps memory for each wait that times out.
            with suppress(WorkerLost):
                self._cluster.claim(self._awaited, _CLOSED)
            self._thread.join(_PATIENCE_SECS)

    # -- any thread

    def ask_to_stop(self, reason: str, for_good: bool = False) -> None:
        """Ask all workers to save and stop; call it on any thread.

        Args:
            reason: who asked, and why.
            for_good: whether no restart may follow.
        """
        if self._cluster.rank == 0:
            if self.wanted is None or for_good:
                self.wanted = Plan(STOP, reason, for_good=for_good)
            return
        reason = f"{reason} (worker {self._cluster.rank})"
        value = msgspec.json.encode(Plan(STOP, reason, for_good=for_good))
        number = 0
        while not self._cluster.claim(f"wish/{number}", value):
            number += 1

    # -- the training thread

    @property
    def is_planned(self) -> bool:
        """Whether a boundary is named that has not come yet."""
        return bool(self._planned)

    def pass_boundary(self) -> None:
        """Count a boundary.

        Raises:
            WorkersLateError: If the first worker does not name the boundary of a plan in time.
            WorkerLost: If another worker has ended.
        """
        with self._changed:
            self._passed += 1
            self._wait_for_name()

    def plan_here(self) -> Plan | None:
        """Return what all workers do at this boundary, once; None if nothing was planned."""
        with self._changed:
            if not self._planned or self._planned[0].boundary > self._passed:
                return None
            self._done += 1
            return self._planned.popleft()

    def announce(self, plan: Plan) -> None:
        """Plan something for the next boundary that nobody has reached; on the first worker.

        Raises:
            WorkersLateError: If a worker does not answer in time.
            WorkerLost: If another worker has ended.
        """
        number, cluster = self._plans, self._cluster
        self._plans += 1
        for rank in range(1, cluster.size):
            cluster.put(f"plan/{number}/{rank}", msgspec.json.encode(plan))
        counts = cluster.gather(f"count/{number}", b"%d" % self._passed, ANSWER_SECS)
        boundary = max(map(int, counts)) + 1
        self._planned.append(replace(plan, boundary=boundary))
        cluster.put(f"named/{number}", b"%d" % boundary)
        if number:
            # A worker that has answered this plan has read all of the one before.
            self._forget("plan", "count", "named", number=number - 1)

    def meet(self, what: str, decision: bytes = b"") -> Meeting:
        """Wait for all workers at a moment that all know, and return the first one's decision.

        If a worker wants to stop, that is planned for this moment.

        Args:
            what: the moment, and all that has to be the same on each worker.
            decision: the decision, on the first worker.

        Raises:
            ConfigError: If another worker is at another moment.
            WorkersLateError: If a worker does not come in time.
            WorkerLost: If another worker has ended.
        """
        with self._changed:
            self._wait_for_name()
        number = self._meetings
        self._meetings += 1
        found = self._cluster.gather(f"meeting/{number}", what.encode(), MEETING_SECS)
        there = [each.decode() for each in found]
        for rank, each in enumerate(there):
            if each != there[0]:
                raise ConfigError(
                    "Expected all workers at the same point of the program. Received: worker 0 is "
                    f"at {there[0]}, and worker {rank} is at {each}. Let every worker run the same "
                    "loop, with the same saves."
                )
        if self._cluster.rank == 0:
            stop, self.wanted = self.wanted, None
            told = _Told(decision, self._plans, stop)
            self._cluster.put(f"decision/{number}", msgspec.msgpack.encode(told))
            if number:
                self._forget("meeting", "decision", number=number - 1)
        else:
            value = self._cluster.get(f"decision/{number}", ANSWER_SECS)
            told = msgspec.msgpack.decode(value, type=_Told)
        plans = self._plans_before(told.plans)
        if told.stop:
            plans.append(told.stop)
        return Meeting(told.decision, tuple(plans))

    def _plans_before(self, count: int) -> list[Plan]:
        """Take the first plans of the job out of the queue, also those not yet heard here."""
        plans = []
        with self._changed:
            self._changed.wait_for(
                lambda: self._done + len(self._planned) >= count or self._error is not None
            )
            if self._error is not None:
                raise self._error
            while self._done < count:
                self._done += 1
                plans.append(self._planned.popleft())
        return plans

    def _forget(self, *names: str, number: int) -> None:
        for name in names:
            self._cluster.delete(f"{name}/{number}")

    def _wait_for_name(self) -> None:
        self._changed.wait_for(lambda: not self._answered or self._error is not None)
        if self._error is not None:
            raise self._error

    # -- the thread of its own

    def _hear_wishes(self) -> None:
        number = 0
        while (value := self._heard(f"wish/{number}")) is not None:
            number += 1
            self.wanted = self.wanted or msgspec.json.decode(value, type=Plan)

    def _hear_plans(self) -> None:
        number = 0
        while (value := self._heard(f"plan/{number}/{self._cluster.rank}")) is not None:
            plan = msgspec.json.decode(value, type=Plan)
            with self._changed:
                self._answered = True
                count = self._passed
            try:
                self._cluster.put(f"count/{number}/{self._cluster.rank}", b"%d" % count)
                boundary = int(self._cluster.get(f"named/{number}", ANSWER_SECS))
            except (WorkersLateError, WorkerLost) as error:
                self._fail(error)
                return
            with self._changed:
                self._planned.append(replace(plan, boundary=boundary))
                self._answered = False
                self._changed.notify_all()
            number += 1

    def _heard(self, key: str) -> bytes | None:
        """Wait for a value as long as the session is open; None if it was closed or is lost."""
        self._awaited = key  # before the look at `_over`, which `close` sets first
        if self._over.is_set():
            return None
        try:
            return self._cluster.listen(key) or None
        except WorkerLost as error:
            # The training thread learns it from its own operations, or at its next meeting.
            logger.debug("the other workers are not heard any more: %s", error)
            self._fail(error)
            return None

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()
