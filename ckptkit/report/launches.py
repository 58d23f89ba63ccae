"""What launchers have told of attempts: which start an attempt belongs to, and how that ended.
Pure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from ckptkit.report.attempt_events import AttemptEvents
from ckptkit.report.clamp_time import moment
from ckptkit.run.events import AttemptStarted, LaunchEnded, LaunchStarted, Progressed, Stalled


class Launches:
    """The starts that launchers have told of, and the attempts that came of them.

    A start belongs to what opened the run after it, and before its own end; its end to the last of
    these. A launcher that knows the number of the attempt says so.

    Args:
        told: the launchers' events, in the order of time.
        started: the beginnings of all attempts by their numbers, in this order.
    """

    def __init__(self, told: AttemptEvents, started: Mapping[int, AttemptStarted]) -> None:
        starts = sorted(told.all(LaunchStarted), key=lambda event: event.time)
        times = [start.time for start in starts]
        ends = {(event.launcher, event.number): event for event in told.all(LaunchEnded)}
        self._began: dict[int, float] = {}
        self._ended: dict[int, LaunchEnded] = {}
        self._stalled: dict[int, Stalled] = {}
        last: dict[tuple[str, int], int] = {}
        for number, event in started.items():
            place = bisect_right(times, event.time) - 1
            if place < 0:
                continue
            start = starts[place]
            key = start.launcher, start.number
            end = ends.get(key)
            if end is not None and not end.inferred and end.time < event.time:
                continue
            if key not in last:
                self._began[number] = moment(start.time)
            last[key] = number
        self._ended |= {number: ends[key] for key, number in last.items() if key in ends}
        self._ended |= {
            event.of_attempt: event for event in ends.values() if event.of_attempt in started
        }
        stalls = sorted(
            (event for event in told.all(Stalled) if event.ended), key=lambda event: event.time
        )
        moments = [event.time for event in stalls]
        for number, over in self._ended.items():
            place = bisect_right(moments, over.time) - 1
            if over.cause == "hang" and place >= 0 and started[number].time <= stalls[place].time:
                self._stalled[number] = stalls[place]

    def began(self, number: int) -> float | None:
        """When the program was started that opened the run as this attempt; None for those that it
        opened later, and where no launcher tells.
        """
        return self._began.get(number)

    def ended(self, number: int) -> LaunchEnded | None:
        """How the process of this attempt has ended."""
        return self._ended.get(number)

    def reached(self, number: int) -> Progressed | None:
        """The step to which it had come, as its launcher has heard."""
        event = self._ended.get(number)
        if event is None or event.reached is None or event.of_attempt != number:
            return None
        return Progressed(
            time=self.hung_at(number) or event.time, attempt=number, step=event.reached
        )

    def hung_at(self, number: int) -> float | None:
        """Since when an attempt had not got on whose launcher ended it for that."""
        stall = self._stalled.get(number)
        return None if stall is None else moment(stall.time - stall.secs)
