"""The ledger and goodput of any journal can be made, and the parts sum to the wall time."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ckptkit.report.goodput import KINDS, Goodput, goodput_of
from ckptkit.report.ledger_builder import ledger_of
from ckptkit.run.events import (
    EVENTS,
    AttemptEnded,
    Event,
    Failed,
    Finished,
    Progressed,
    Restored,
    RunPreempted,
    TrainingStarted,
)
from ckptkit.run.journal import encode_line
from ckptkit.run.journal_reader import decode_line
from tests.report.journals import (
    LAUNCHER,
    journal,
    launch_over,
    launched,
    saved,
    started,
)

TIMES = st.one_of(
    st.floats(),
    st.floats(0, 10_000),
    st.integers(-5, 50).map(float),
    st.sampled_from([0.0, 1.7e9, 1e300, -1.0]),
)
STEPS = st.one_of(st.integers(0, 50), st.integers())
WORDS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "training",
            "saving",
            "data",
            "finished",
            "preempted",
            "failed",
            "stopped",
            "stop",
            "SIGTERM",
            "SIGINT",
            "hang",
            "ckpt-10-1",
            "ckpt-20-2",
            "ckpt-30-3",
            "<script>",
            "\x1b[31m",
            "node7",
        ]
    ),
)
ATTEMPTS = st.one_of(st.integers(0, 4), st.integers())


def of(kind: type[Event]) -> st.SearchStrategy[Event]:
    """Events of a kind with any values that their lines may hold."""
    by_type = {
        "float": TIMES,
        "int": STEPS,
        "str": WORDS,
        "bool": st.booleans(),
        "float | None": st.none() | TIMES,
        "int | None": st.none() | STEPS,
        "dict[str, str]": st.dictionaries(WORDS, WORDS, max_size=2),
        "dict[str, int]": st.dictionaries(WORDS, STEPS, max_size=3),
        "dict[str, float]": st.dictionaries(WORDS, TIMES, max_size=3),
        "list[str]": st.lists(WORDS, max_size=2),
        "dict[str, Number]": st.just({}),
    }
    fields = {
        field.name: by_type[str(field.type)]
        for field in kind.__dataclass_fields__.values()
        if str(field.type) != "ClassVar[str]"
    }
    return st.builds(kind, **{**fields, "time": TIMES, "attempt": ATTEMPTS})


ANY = st.one_of(*(of(kind) for kind in EVENTS.values()))


def decoded(events: list[Event]) -> list[Event]:
    """What a reader gets of them; what cannot be spelled or read is left out."""
    found = []
    for event in events:
        try:
            line = decode_line(encode_line(event))
        except (msgspec.DecodeError, msgspec.ValidationError, ValueError, OverflowError):
            continue
        found += [line] if line is not None else []
    return found


def check(found: Goodput | None) -> None:
    """No part is negative, and together they are the whole."""
    if found is None:
        return
    assert set(found.badput_secs) == set(KINDS)
    every = [found.productive_secs, *found.badput_secs.values()]
    assert all(part >= 0 for part in every)
    # Exact to the microsecond, as long as a float can tell microseconds apart: for 35 years.
    micros = found.wall_secs * 1e6
    tolerance = 0 if micros < 2**50 else len(every) * math.ulp(micros)
    assert abs(sum(round(part * 1e6) for part in every) - round(micros)) <= tolerance
    assert math.isclose(found.end - found.start, found.wall_secs, abs_tol=1e-4)
    assert found.ratio is None or 0 <= found.ratio <= 1


STARTS = st.dictionaries(st.integers(1, 4), st.floats(0, 1e10), min_size=1)
"""The times of starts by the numbers of their attempts. Random events alone have a start in one of
ten journals, and without one there is no attempt to look at.
"""


@given(starts=STARTS, events=st.lists(ANY, max_size=30), now=TIMES, runs=st.booleans())
def test_any_journal_has_a_ledger_and_parts_that_sum_to_the_wall_time(starts, events, now, runs):
    begun: list[Event] = [
        replace(started(), attempt=number, time=time) for number, time in starts.items()
    ]
    ledger = ledger_of(
        decoded([*begun, *events]), now, host="node7", is_running=lambda started: runs
    )
    assert starts.keys() <= {attempt.number for attempt in ledger.attempts}
    for attempt in ledger.attempts:
        assert attempt.began <= attempt.start
        assert min(attempt.steps_done, attempt.steps_lost, attempt.steps_redone) >= 0
        assert attempt.steps_lost <= attempt.steps_done
        assert attempt.steps_redone <= attempt.steps_done
        assert len(attempt.marks) >= attempt.saves
    check(goodput_of(ledger))


@given(times=st.lists(st.floats(0, 100_000), min_size=4, max_size=40), seed=st.integers(0, 2**32))
def test_any_times_of_a_journal_that_makes_sense(times, seed):
    """A run as it could be, with times that jump as they like."""
    events, _ = story(random.Random(seed))
    jumping = [
        replace(event, time=times[number % len(times)]) for number, event in enumerate(events)
    ]
    found = goodput_of(ledger_of(jumping, 1e5, host="node7", is_running=lambda started: False))
    assert found is not None
    check(found)


def story(chance: random.Random) -> tuple[list[Event], dict[str, int]]:
    """A random run, a step a second, and what is true of it: steps that were done, lost, and done
    again, and seconds of recovery.
    """
    true = {"done": 0, "lost": 0, "redone": 0, "recovery": 0}
    told: list[tuple[int, list[tuple[float, Event]]]] = []
    launcher: list[tuple[float, Event]] = []
    now, step, durable, highest = 1000, 0, (0, 0), 0
    attempts = chance.randint(1, 6)
    for number in range(1, attempts + 1):
        lines: list[tuple[float, Event]] = [(now, started())]
        if chance.random() < 0.5:
            launcher.append((now, launched(number)))
        base = durable[0]
        if base:
            lines.append(
                (
                    now,
                    Restored(
                        checkpoint=f"ckpt-{durable[0]}-{durable[1]}",
                        step=base,
                        epoch=0,
                        batch=base,
                        secs=0,
                    ),
                )
            )
        lines.append((now, TrainingStarted(step=base)))
        if number > 1:
            true["lost"] += max(0, step - base)
        began, step = now, base
        for _ in range(chance.randint(1, 60)):
            now, step = now + 1, step + 1
            if chance.random() < 0.1:
                lines.append((now, saved(step, number, taken_at=float(now))))
                durable = step, number
            elif chance.random() < 0.1:
                lines.append((now, Progressed(step=step, spent={"training": float(now - began)})))
        end = chance.choice(["killed", "preempted", "failed"]) if number < attempts else "finished"
        if end == "preempted" or end == "finished":
            lines.append((now, saved(step, number, taken_at=float(now), final=end == "finished")))
            durable = step, number
        if end == "killed":
            if launcher and launcher[-1][0] == began:
                launcher.append((now, launch_over(number, of_attempt=number, reached=step)))
            else:
                lines.append((now, Progressed(step=step, spent={"training": float(now - began)})))
        elif end == "failed":
            lines.append((now, Failed(error="ValueError", message="", step=step, restart=True)))
        elif end == "preempted":
            lines.append((now, RunPreempted(step=step, reason="SIGTERM", exit_code=75, secs=0)))
        else:
            lines.append((now, Finished(step=step, epoch=0)))
        if end != "killed":
            lines.append((now, AttemptEnded(outcome=end, step=step)))
        true["done"] += step - base
        true["redone"] += max(0, min(step, highest) - base)
        highest = max(highest, step)
        told.append((number, lines))
        if number < attempts:
            gap = chance.randint(0, 100)
            true["recovery"] += gap
            now += gap
    return journal((LAUNCHER, launcher), *told), true


@given(seed=st.integers(0, 2**64))
def test_of_a_random_run_the_ledger_says_what_is_true(seed):
    events, true = story(random.Random(seed))
    ledger = ledger_of(events, 1e9, host="node7", is_running=lambda started: False)
    assert sum(attempt.steps_done for attempt in ledger.attempts) == true["done"]
    assert ledger.steps_lost == true["lost"]
    assert sum(attempt.steps_redone for attempt in ledger.attempts) == true["redone"]
    found = goodput_of(ledger)
    assert found is not None
    check(found)
    assert found.badput_secs["infrastructure_recovery"] == true["recovery"]
    assert found.badput_secs["wasted_progress"] == true["lost"]  # a step took a second
    assert found.productive_secs == true["done"] - true["lost"]
