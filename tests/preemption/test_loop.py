"""Signals to a loop of the user's own, at every moment of it."""

from __future__ import annotations

import signal

import pytest

import ckptkit
from ckptkit.run import events
from tests.preemption.conftest import Held, recorded, result
from tests.support.spread import spread

# Where the program stands still; the phase that the journal names; the step that is saved, by a
# signal that asks for it.
MOMENTS = [
    ("tracing", "training", 1),
    ("batch", "training", 8),
    ("turn", "training", 8),
    ("evaluation", "training", 9),
    ("commit-2", "training", 10),
    ("last_turn", "training", 15),
    ("commit-3", "training", 15),
]


def finishes_right(start, undisturbed, run, step) -> None:
    """The next start makes the turns that are left, and all is as if nothing had happened."""
    expected = undisturbed("loop.py")
    assert result(start("loop.py").process) == {**expected, "turns": expected["turns"][step:]}
    assert [event.step for event in recorded(run, events.Finished)] == [15]
    assert ckptkit.open_run(run).find("latest").manifest.final
    exports = [path.name for path in (run / "export").iterdir() if path.name.isdecimal()]
    assert len(exports) == 1


@pytest.mark.parametrize(("hold", "phase", "step"), spread(MOMENTS, 3))
@pytest.mark.parametrize(
    "number", spread([signal.SIGTERM, signal.SIGINT]), ids=lambda number: number.name
)
def test_a_signal_saves_and_stops(start, undisturbed, number, hold, phase, step):
    held: Held = start("loop.py", hold).wait_for(hold)
    held.signal(number).go_on(hold)
    held.ends(-signal.SIGINT if number == signal.SIGINT else 75)

    (received,) = held.received
    assert received.phase == phase
    (preempted,) = recorded(held.run, events.RunPreempted)
    assert (preempted.step, preempted.reason) == (step, number.name)
    assert ckptkit.open_run(held.run).find("latest").step == step
    assert [event.outcome for event in recorded(held.run, events.AttemptEnded)] == ["preempted"]
    assert not recorded(held.run, events.Failed)
    if number == signal.SIGINT:
        assert "Ctrl-C again to stop now" in held.process.stderr
    finishes_right(start, undisturbed, held.run, step)


@pytest.mark.parametrize("hold", spread(["batch", "turn", "commit-2"], 3))
def test_a_second_ctrl_c_stops_at_once(start, undisturbed, hold):
    held: Held = start("loop.py", hold).wait_for(hold)
    held.signal(signal.SIGINT)
    held.signal(signal.SIGINT)
    if hold == "batch":
        held.go_on(hold)  # Python interrupts when the step comes back from C code
    held.ends(-signal.SIGINT)
    assert [checkpoint.step for checkpoint in ckptkit.open_run(held.run).checkpoints] == [5]
    assert [event.outcome for event in recorded(held.run, events.AttemptEnded)] == ["stopped"]
    finishes_right(start, undisturbed, held.run, 5)


@pytest.mark.parametrize(
    ("hold", "step"),
    [
        ("batch", 5),
        ("evaluation", 5),
        ("commit-2", 5),
        ("last_turn", 10),
        ("commit-3", 10),
        ("committed-3", 15),
    ],
)
def test_a_kill_costs_what_was_not_saved(start, undisturbed, hold, step):
    held: Held = start("loop.py", hold).wait_for(hold)
    held.process.send_signal(signal.SIGKILL)
    held.ends(-signal.SIGKILL)
    finishes_right(start, undisturbed, held.run, step)


def test_a_second_signal_during_the_save_changes_nothing(start, undisturbed):
    held: Held = start("loop.py", "turn", "commit-2").wait_for("turn")
    held.signal(signal.SIGTERM).go_on("turn").wait_for("commit-2")
    held.signal(signal.SIGTERM).go_on("commit-2")
    held.ends(75)
    assert [event.step for event in recorded(held.run, events.RunPreempted)] == [8]
    finishes_right(start, undisturbed, held.run, 8)
