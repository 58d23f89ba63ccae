"""Matches launchers' records with attempts: when each was started, and how it ended. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from ckptkit.report.attempt_events import AttemptEvents
from ckptkit.report.clamp_time import moment
from ckptkit.run.events import AttemptStarted, LaunchEnded, LaunchStarted, Progressed, Stalled


class Launches:
    """The starts by launchers, each matched with the attempts that followed.

    A start belongs to all attempts between it and the end of the started program. That end belongs
    to the last of these attempts. If the launcher recorded an attempt's number, that decides
    instead.

    Args:
        recorded: the launchers' events, in the order of time.
        started: the beginnings of all attempts by their numbers, in this order.
    """

    def __init__(self, recorded: AttemptEvents, started: Mapping[int, AttemptStarted]) -> None:
        starts = sorted(recorded.all(LaunchStarted), key=lambda event: event.time)
        times = [start.time for start in starts]
        ends = {(event.launcher, event.number): event for event in recorded.all(LaunchEnded)}
        self._began: dict[int, float] = {}
        self._ended: dict[int, LaunchEnded] = {}
        self._stalled: dict[int, Stalled] = {}
        last: dict[tuple[str, int], int] = {}
        for number, event in started.items():
            index = bisect_right(times, event.time) - 1
            if index < 0:
                continue
            start = starts[index]
            key = start.launcher, start.number
            end = ends.get(key)
            # An inferred end was recorded by a later launcher, so its time proves nothing.
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
            (event for event in recorded.all(Stalled) if event.ended), key=lambda event: event.time
        )
        moments = [event.time for event in stalls]
        for number, over in self._ended.items():
            index = bisect_right(moments, over.time) - 1
            if over.cause == "hang" and index >= 0 and started[number].time <= stalls[index].time:
                self._stalled[number] = stalls[index]

    def began(self, number: int) -> float | None:
        """Return when the launcher started the program of an attempt.

        Returns None for the second attempt of one program, and if no launcher recorded the start.
        """
        return self._began.get(number)

    def ended(self, number: int) -> LaunchEnded | None:
        """Return how the process of an attempt ended, or None."""
        return self._ended.get(number)

    def reached(self, number: int) -> Progressed | None:
        """Return the last step of an attempt that its launcher received, or None."""
        event = self._ended.get(number)
        if event is None or event.reached is None or event.of_attempt != number:
            return None
        return Progressed(
            time=self.hung_at(number) or event.time, attempt=number, step=event.reached
        )

    def hung_at(self, number: int) -> float | None:
        """Return when an attempt made its last progress, if its launcher ended it for a hang."""
        stall = self._stalled.get(number)
        return None if stall is None else moment(stall.time - stall.secs)
