"""Signals to `fit`, at every moment of it: how the process ends, what the journal tells, and that the next start finishes right."""

from __future__ import annotations

import signal

import pytest

import ckptkit
from ckptkit.store import events
from tests.signals.conftest import Held, result, told

# Where the program stands still; the phase that the journal names; the step that is saved, by a signal that asks for it.
MOMENTS = [
    ("tracing", "tracing", 1),
    ("batch", "training", 8),
    ("validation", "evaluating", 10),
    ("validation_end", "evaluating", 10),
    ("commit-2", "training", 10),
    ("epoch_end", "training", 15),
    ("commit-3", "training", 15),
    ("export", "exporting", 15),
]
SIGNALS = [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT]


def finishes_right(start, undisturbed, run) -> None:
    """The next start goes on, and all is as if nothing had happened."""
    assert result(start("train.py").process) == undisturbed("train.py")
    assert [event.step for event in told(run, events.Finished)] == [15]
    checkpoints = ckptkit.open_run(run).checkpoints
    assert checkpoints[-1].step == 15
    assert checkpoints[-1].manifest.final
    exports = [path.name for path in (run / "export").iterdir()]
    assert len(exports) == 1, "one version, and nothing half-written beside it"
    assert exports[0].isdecimal()
    assert len(told(run, events.Exported)) == 1


@pytest.mark.parametrize(("hold", "phase", "step"), MOMENTS)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_saves_and_stops(start, undisturbed, number, hold, phase, step):
    held: Held = start("train.py", hold).wait_for(hold)
    held.signal(number).go_on(hold)
    held.ends(-signal.SIGINT if number == signal.SIGINT else 75)

    (received,) = held.received
    assert received.phase == phase
    (preempted,) = told(held.run, events.Preempted)
    assert preempted.step == step
    assert preempted.reason == number.name
    assert ckptkit.open_run(held.run).find("latest").step == step
    assert [event.outcome for event in told(held.run, events.AttemptEnded)] == ["preempted"]
    assert not told(held.run, events.Failed)
    if number == signal.SIGINT:
        assert "Ctrl-C again to stop now" in held.process.stderr
        assert "KeyboardInterrupt" in held.process.stderr
    else:
        assert "Traceback" not in held.process.stderr
        assert f"received {number.name} while {phase}" in held.process.stderr
    finishes_right(start, undisturbed, held.run)


@pytest.mark.parametrize("hold", [hold for hold, _, _ in MOMENTS])
def test_a_second_ctrl_c_stops_at_once(start, undisturbed, hold):
    held: Held = start("train.py", hold).wait_for(hold)
    before = [checkpoint.step for checkpoint in ckptkit.open_run(held.run).checkpoints]
    held.signal(signal.SIGINT)
    held.signal(signal.SIGINT)
    if hold == "batch":
        held.go_on(hold)  # Python interrupts when the step comes back from C code
    held.ends(-signal.SIGINT)
    assert [checkpoint.step for checkpoint in ckptkit.open_run(held.run).checkpoints] == before
    assert not told(held.run, events.Preempted)
    assert not told(held.run, events.Failed)
    assert [event.outcome for event in told(held.run, events.AttemptEnded)] == ["finished" if hold == "export" else "stopped"]
    finishes_right(start, undisturbed, held.run)


@pytest.mark.parametrize("hold", [*(hold for hold, _, _ in MOMENTS), "committed-3"])
def test_a_kill_costs_what_was_not_saved(start, undisturbed, hold):
    held: Held = start("train.py", hold).wait_for(hold)
    held.process.send_signal(signal.SIGKILL)
    held.ends(-signal.SIGKILL)
    finishes_right(start, undisturbed, held.run)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_second_signal_during_the_save_changes_nothing(start, undisturbed, second):
    held: Held = start("train.py", "batch", "commit-1", options=("--no-saves",)).wait_for("batch")
    held.signal(signal.SIGTERM).go_on("batch").wait_for("commit-1")
    held.signal(second).go_on("commit-1")
    held.ends(75)
    (preempted,) = told(held.run, events.Preempted)
    assert (preempted.step, preempted.reason) == (8, "SIGTERM")
    assert [event.outcome for event in told(held.run, events.AttemptEnded)] == ["preempted"]
    finishes_right(start, undisturbed, held.run)


def test_a_second_ctrl_c_during_the_save_that_the_first_one_asked_for(start, undisturbed):
    held: Held = start("train.py", "batch", "commit-1", options=("--no-saves",)).wait_for("batch")
    held.signal(signal.SIGINT).go_on("batch").wait_for("commit-1")
    held.signal(signal.SIGINT)
    held.ends(-signal.SIGINT)
    assert not ckptkit.open_run(held.run).checkpoints
    finishes_right(start, undisturbed, held.run)
