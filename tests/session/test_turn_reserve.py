"""How often a snapshot is taken between two turns: never for more than its share of the time."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from ckptkit.errors import ConfigError
from ckptkit.position import RunPosition
from ckptkit.session.reserve_snapshot import ALLOWED_SECS, MOST_BYTES, SHARE, TurnReserve
from ckptkit.testing import FakeClock


@dataclass
class Run:
    """A training whose snapshots take a given time."""

    cost_secs: float
    size_bytes: int = 0
    clock: FakeClock = field(default_factory=FakeClock)
    position: RunPosition = field(default_factory=RunPosition)
    saved_at: RunPosition = field(default_factory=RunPosition)
    reserve: object = None
    spent_secs: float = 0.0
    is_writing: bool = False
    refuses: bool = False

    def state_bytes(self):
        return self.size_bytes

    def take_if_idle(self):
        if self.refuses:
            raise ConfigError("it cannot be saved")
        if self.is_writing:
            return None
        self.clock.advance(self.cost_secs)
        self.spent_secs += self.cost_secs
        return self

    def turn(self, reserve, secs):
        self.clock.advance(secs)
        self.position = RunPosition(step=self.position.step + 1)
        reserve.turn_done()


def reserve_of(run):
    return TurnReserve(run, run, run, run.clock.monotonic)


def test_its_share_of_the_time_is_kept(seed):
    chosen = random.Random(seed)
    for _ in range(50):
        run = Run(cost_secs=10 ** chosen.uniform(-4, 0))
        reserve = reserve_of(run)
        for _ in range(2000):
            run.turn(reserve, 10 ** chosen.uniform(-3, 0))
        # The cost of the first one is not known before it is taken.
        assert run.spent_secs <= SHARE * run.clock.monotonic() + ALLOWED_SECS + run.cost_secs
        assert run.spent_secs > 0


def test_long_turns_have_one_each():
    run = Run(cost_secs=0.002)
    reserve = reserve_of(run)
    for _ in range(100):
        run.reserve = None
        run.turn(reserve, 1.0)
        assert run.reserve is not None


def test_there_is_none_of_a_large_state_nor_while_a_save_is_written():
    for run in (Run(0.0, size_bytes=MOST_BYTES + 1), Run(0.0, is_writing=True)):
        reserve = reserve_of(run)
        for _ in range(100):
            run.turn(reserve, 10.0)
        assert (run.reserve, run.spent_secs) == (None, 0.0)


def test_what_is_saved_needs_none():
    run = Run(0.001)
    reserve = reserve_of(run)
    run.turn(reserve, 1.0)
    assert run.reserve is not None
    run.saved_at = RunPosition(step=2)
    run.turn(reserve, 1.0)
    assert run.reserve is None


def test_a_state_that_cannot_be_saved_is_tried_once():
    run = Run(0.001, refuses=True)
    reserve = reserve_of(run)
    run.turn(reserve, 1.0)
    run.refuses = False
    run.turn(reserve, math.pi)
    assert run.reserve is None
