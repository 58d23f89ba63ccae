"""The phases of a session: legal moves, interludes, and the time that each takes."""

from __future__ import annotations

import threading

import pytest

from ckptkit.session.phase import INTERLUDES, MOVES, IllegalMove, PhaseMachine, SessionPhase


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def phases(clock):
    return PhaseMachine(clock)


def in_phase(clock: Clock, phase: SessionPhase) -> PhaseMachine:
    """A machine that has come to a phase by legal moves."""
    ways = [[SessionPhase.STARTING]]
    while ways[0][-1] is not phase:
        way = ways.pop(0)
        ways += [[*way, following] for following in sorted(MOVES[way[-1]] - {*way})]
    phases = PhaseMachine(clock)
    for each in ways[0][1:]:
        phases.enter(each)
    return phases


REACHED = sorted(MOVES.keys() - {SessionPhase.CLOSED})


@pytest.mark.parametrize("phase", REACHED)
def test_only_moves_of_the_table_are_legal(clock, phase):
    for following in SessionPhase:
        phases = in_phase(clock, phase)
        if following is phase or following in MOVES[phase]:
            phases.enter(following)
            assert phases.phase is following
        else:
            with pytest.raises(IllegalMove, match=r"No move leads from .* to "):
                phases.enter(following)
            assert phases.phase is phase


@pytest.mark.parametrize("phase", REACHED)
@pytest.mark.parametrize("interlude", sorted(INTERLUDES))
def test_an_interlude_returns_to_the_phase_before_it(clock, phase, interlude):
    phases = in_phase(clock, phase)
    kind = phases.stopwatch.kind
    with pytest.raises(ValueError, match="no!"), phases.during(interlude):
        assert phases.phase is interlude
        raise ValueError("no!")
    assert (phases.phase, phases.stopwatch.kind) == (phase, kind)


def test_other_phases_are_no_interludes(phases):
    with pytest.raises(IllegalMove), phases.during(SessionPhase.TRAINING):
        pass


def test_after_the_end_nothing_follows(phases):
    with phases.during(SessionPhase.SAVING):
        phases.close()
    assert phases.phase is SessionPhase.CLOSED
    with phases.during(SessionPhase.SAVING):
        assert phases.phase is SessionPhase.CLOSED
    with pytest.raises(IllegalMove):
        phases.enter(SessionPhase.TRAINING)


def test_moves_set_the_stopwatch(phases, clock):
    def after(secs: float) -> None:
        clock.now += secs

    after(1)
    phases.enter(SessionPhase.TRACING)
    after(2)
    phases.begin_training()
    after(4)
    phases.first_step_done()
    after(8)
    phases.enter(SessionPhase.EVALUATING)
    after(16)
    with phases.during(SessionPhase.SAVING):
        after(32)
    with phases.during(SessionPhase.HELD):
        after(64)
    phases.enter(SessionPhase.TRAINING)
    after(128)
    phases.enter(SessionPhase.BETWEEN_LOOPS)
    after(256)
    assert phases.stopwatch.secs == {
        "preparing": 3,
        "first_step": 4,
        "training": 136,
        "evaluating": 80,
        "saving": 32,
        "outside": 256,
    }


def test_training_on_another_thread_is_measured_there(phases, clock):
    def train() -> None:
        phases.begin_training()
        phases.first_step_done()
        clock.now += 5

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    phases.enter(SessionPhase.EVALUATING)
    clock.now += 2
    assert phases.stopwatch.secs["training"] == 7, "this thread moves nothing any more"


def test_the_words_are_those_of_the_journal():
    assert [str(phase) for phase in SessionPhase] == [
        "starting",
        "tracing",
        "training",
        "evaluating",
        "exporting",
        "between loops",
        "saving",
        "held",
        "closed",
    ]
