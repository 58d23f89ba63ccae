"""What is decided from numbers: what can still be saved, what a save costs, how much memory there
is, when to save.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ckptkit
from ckptkit.policies import Moment
from ckptkit.position import RunPosition
from ckptkit.preemption.emergency import decide
from ckptkit.writing.memory_headroom import available_bytes
from ckptkit.writing.save_cost import CostMeter

secs = st.floats(0.0, 100.0)


@pytest.mark.parametrize(
    ("left", "write", "writing_for", "expected"),
    [
        (None, 5.0, 1.0, "save"),
        (30.0, None, None, "save"),
        (30.0, 5.0, None, "save"),
        (9.0, 5.0, 1.0, "save"),
        (8.0, 5.0, 1.0, "finish"),
        (4.0, 5.0, 1.0, "finish"),
        (3.0, 5.0, 1.0, "keep"),
        (4.0, 5.0, None, "keep"),
        (-1.0, 5.0, 2.0, "keep"),
    ],
)
def test_an_emergency(left, write, writing_for, expected):
    assert decide(left_secs=left, write_secs=write, writing_for_secs=writing_for).action == expected


@given(secs, secs, st.none() | secs)
def test_more_time_never_means_less_is_saved(left, write, writing_for):
    order = ["keep", "finish", "save"]
    before, after = (
        order.index(decide(left_secs=each, write_secs=write, writing_for_secs=writing_for).action)
        for each in (left, left + 1)
    )
    assert after >= before


def measured(steps: list[tuple[float, bool]], stall: float) -> float | None:
    meter, now = CostMeter(), 0.0
    for number in range(20):
        meter.step_done(number * 0.1, busy=False)
        now = number * 0.1
    meter.snapshot_taken(stall)
    meter.step_done(now, busy=True)
    for length, busy in steps:
        now += length
        meter.step_done(now, busy)
    return meter.secs


def test_the_cost_of_a_save():
    assert CostMeter().secs is None
    assert measured([(0.1, False)], 0.0) == pytest.approx(0.0)
    assert measured([(0.1, True), (0.1, False)], 0.5) == pytest.approx(0.5)
    assert measured([(0.15, True), (0.12, True), (0.1, False)], 0.01) == pytest.approx(
        0.01 + 0.05 + 0.02
    )
    assert measured([(60.0, True), (0.1, False)], 0.0) == pytest.approx(0.2), (
        "an evaluation is no cost of a save"
    )
    assert measured([(0.1, True)], 0.0) is None, "it is still being written"


def test_the_step_in_which_a_save_is_written_counts():
    """A step that is longer than the write contains all of it."""
    meter, now = CostMeter(), 0.0
    for _ in range(10):
        now += 2.0
        meter.step_done(now, busy=False)
    for _ in range(2):  # the second save replaces the measurement of the first
        meter.snapshot_taken(0.02)
        now += 0.02 + 2.08  # the stop, and a step that is slower by 0.08 s
        meter.step_done(now, busy=False)
        assert meter.secs == pytest.approx(0.1)


def test_a_save_is_being_measured_until_the_next_step():
    meter = CostMeter()
    assert not meter.is_measuring
    meter.snapshot_taken(0.1)
    assert meter.is_measuring
    meter.step_done(1.0, busy=True)
    assert meter.is_measuring
    meter.step_done(2.0, busy=False)
    assert not meter.is_measuring


def test_the_first_save_counts_until_there_is_a_second_one():
    meter = CostMeter()
    for cost, mean in [(9.0, 9.0), (1.0, 1.0), (3.0, 2.0), (5.0, 3.0), (7.0, 5.0)]:
        meter.snapshot_taken(cost)
        meter.step_done(0.0, busy=False)
        assert meter.secs == pytest.approx(mean)


@given(st.floats(0.0001, 10.0), st.floats(0.001, 0.5), st.floats(0.01, 5.0))
def test_adaptive_keeps_its_bound(cost, bound, step):
    policy = ckptkit.Adaptive(max_overhead=bound, min_secs=0.001, max_secs=1e9)
    last = Moment(position=RunPosition(), time_secs=0.0)
    now, saves = 0.0, 0
    for number in range(2000):
        now += step
        moment = Moment(
            position=RunPosition(number + 1, 0, number + 1), time_secs=now, save_secs=cost
        )
        if policy.due(moment, last):
            saves += 1
            now += cost
            last = Moment(position=moment.position, time_secs=now)
    assert saves * cost <= bound * (now + cost / bound)
    longest = cost / bound + step
    assert saves >= math.floor((now - saves * cost) / longest) - 1, (
        "and it does not save less often than it may"
    )


def test_adaptive_within_its_limits():
    policy = ckptkit.Adaptive(max_overhead=0.02, first_secs=4, min_secs=10, max_secs=60)
    last = Moment(position=RunPosition(), time_secs=100.0)

    def due(after: float, cost: float | None, **values: Any) -> str | None:
        moment = Moment(
            position=RunPosition(1, 0, 1), time_secs=100.0 + after, save_secs=cost, **values
        )
        return policy.due(moment, last)

    assert due(3.9, None) is None
    assert due(4.0, None) == "adaptive: the first after 4 s"
    assert due(99.0, None, is_measuring=True) is None, "the first save is not measured yet"
    assert due(99.0, None, save_bytes=1), "the first save failed before it was measured"
    assert due(99.0, 1.0, is_writing=True) is None, "never a save during a save"
    assert due(9.9, 0.0) is None
    assert due(49.0, 1.0) is None
    assert due(50.0, 1.0) == "adaptive: every 50 s, as a save costs 1 s of training"
    assert due(60.0, 99.0), "not less often than every max_secs"
    assert due(19.9, 0.0, save_bytes=160_000_000) is None, "at most 8 MB per second"
    assert due(20.0, 0.0, save_bytes=160_000_000)
    assert due(39.9, 0.0, write_secs=4.0) is None, "a slow disk is idle most of the time"
    assert due(40.0, 0.0, write_secs=4.0)
    assert due(60.0, 0.0, save_bytes=10**12), "max_secs takes precedence"


def test_adaptive_is_shown_by_what_is_not_a_default():
    assert repr(ckptkit.Adaptive()) == "Adaptive()"
    assert repr(ckptkit.Adaptive(first_secs=1)) == "Adaptive(first_secs=1)"


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_overhead": 0},
        {"max_overhead": 1},
        {"max_overhead": 2},
        {"min_secs": 0},
        {"min_secs": 9, "max_secs": 8},
        {"max_secs": math.inf},
        {"first_secs": 0},
        {"max_bytes_per_sec": 0},
    ],
)
def test_adaptive_with_numbers_that_cannot_be_right(wrong):
    with pytest.raises(ckptkit.ConfigError, match="Received"):
        ckptkit.Adaptive(**wrong)


def test_memory_of_a_container(tmp_path: Path):
    free = available_bytes(tmp_path)
    assert free > 1_000_000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5\n")
    assert available_bytes(tmp_path) > 1_000_000
    (tmp_path / "memory.max").write_text("1000\n")
    assert available_bytes(tmp_path) == 995
    (tmp_path / "memory.max").unlink()
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("700")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("900")
    assert available_bytes(tmp_path) == 0
