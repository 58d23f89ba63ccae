"""Dear saves and resumes are named once, with the figures of the run and the cheap way."""

from __future__ import annotations

import logging
import random

import pytest
import tensorflow as tf

import ckptkit
from ckptkit.data.draw_meter import DEAR_DRAW_SECS, DEAR_READ_SECS, DrawMeter
from ckptkit.data.iterator_position import IteratorPosition


class Clock:
    """A clock that moves only when told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def passes(self, secs, batches=0):
        self.now += secs
        return batches


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def meter(clock, caplog):
    caplog.set_level(logging.INFO, logger="ckptkit")
    return DrawMeter(ckptkit.AdaptiveAnchors(), clock)


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_dear_resume(meter, clock, caplog):
    seed = random.randrange(2**32)
    print("seed", seed)
    calls = random.Random(seed).randrange(2, 9)
    for _ in range(calls):
        assert meter.draw(lambda: clock.passes(6, batches=300)) == 300
    assert lines(caplog) == []  # not before all of it is known
    meter.drawn()
    (line,) = lines(caplog)
    assert f"{calls * 300} batches again in {calls * 6}.0 s (20.0 ms each)" in line
    assert "ckptkit.data.shuffled" in line
    assert meter.draw_secs == pytest.approx(0.02)
    meter.drawn()
    meter.read(DEAR_READ_SECS + 1)
    assert len(lines(caplog)) == 1


def test_a_dear_save(meter, caplog):
    meter.read(DEAR_READ_SECS + 0.25)
    meter.read(DEAR_READ_SECS + 9)
    (line,) = lines(caplog)
    assert f"{DEAR_READ_SECS + 0.25:.1f} s" in line
    assert "ckptkit.data.shuffled" in line


def test_cheap_ones_are_not_named(meter, clock, caplog):
    meter.draw(lambda: clock.passes(DEAR_DRAW_SECS, batches=5))
    meter.drawn()
    meter.read(DEAR_READ_SECS)
    assert lines(caplog) == []


def test_a_state_that_was_slow_once(meter):
    assert (meter.serialize_secs, meter.readings, meter.draw_secs) == (None, 0, None)
    for secs in (0.5, 0.001, 0.4, 0.3):
        meter.read(secs)
    assert (meter.serialize_secs, meter.readings) == (0.001, 3)
    meter.read(0.2)
    assert meter.serialize_secs == 0.2
    assert meter.longest_secs == 0.5
    for _ in range(10):
        meter.read(0.1)
    assert meter.longest_secs == 0.1


def test_an_anchor_is_taken_when_a_redraw_gets_longer_than_its_bound(meter, clock):
    """The clock is told what a step takes; the data and its states are real."""
    rows = tf.data.Dataset.range(5000).shuffle(2000, seed=1).batch(4)
    position = IteratorPosition(iter(rows), meter)
    counts, drawn = [], 0
    for _ in range(20):
        for _ in range(10):
            next(position.iterator)
            clock.passes(1.0)
            drawn += 1
        counts.append(position.take(drawn).since)
    # Every step takes a second, and a resume may draw for 60 s: the seventh save is an anchor.
    assert counts == [10, 20, 30, 40, 50, 60, 0, 10, 20, 30, 40, 50, 60, 0, 10, 20, 30, 40, 50, 60]
    assert position.take(drawn).anchor.batches == 140
