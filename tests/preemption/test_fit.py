"""Signals to `fit`, at every moment of it: how the process ends, what the journal tells, and that
the next start finishes right.
"""

from __future__ import annotations

import signal

import pytest

import ckptkit
from ckptkit.run import events
from tests.preemption.conftest import Held, recorded, result
from tests.support.spread import spread

# Where the program stands still; the phase that the journal names; the step, epoch and batch that a
# signal there has saved.
MOMENTS = [
    ("tracing", "tracing", (1, 0, 1)),
    ("batch", "training", (8, 1, 3)),
    ("validation", "evaluating", (10, 1, 5)),
    ("validation_end", "evaluating", (10, 1, 5)),
    ("commit-2", "training", (10, 2, 0)),
    ("epoch_end", "training", (15, 3, 0)),
    ("commit-3", "training", (15, 3, 0)),
    ("export", "exporting", (15, 3, 0)),
]
IDS = [hold for hold, _, _ in MOMENTS]
# SIGUSR1 takes the way of SIGTERM, and SIGINT most of it: one of their moments here, all of them in
# the long suite.
IN_SHORT = {
    signal.SIGTERM: ["tracing", "batch", "validation", "commit-2", "epoch_end", "export"],
    signal.SIGUSR1: ["batch"],
    signal.SIGINT: ["validation"],
}
AT_MOMENTS = [
    pytest.param(
        number,
        *moment,
        id=f"{number.name}-{moment[0]}",
        marks=[] if moment[0] in IN_SHORT[number] else [pytest.mark.long],
    )
    for number in IN_SHORT
    for moment in MOMENTS
]


def finishes_right(start, undisturbed, run) -> None:
    """The next start goes on, and all is as if nothing had happened."""
    assert result(start("train.py").process) == undisturbed("train.py")
    assert [event.step for event in recorded(run, events.Finished)] == [15]
    checkpoints = ckptkit.open_run(run).checkpoints
    assert checkpoints[-1].step == 15
    assert checkpoints[-1].manifest.final
    exports = [path.name for path in (run / "export").iterdir()]
    assert len(exports) == 1, "one version, and nothing half-written beside it"
    assert exports[0].isdecimal()
    assert len(recorded(run, events.Exported)) == 1


@pytest.mark.parametrize(("number", "hold", "phase", "position"), AT_MOMENTS)
def test_a_signal_saves_and_stops(start, undisturbed, number, hold, phase, position):
    held: Held = start("train.py", hold).wait_for(hold)
    held.signal(number).go_on(hold)
    held.ends(-signal.SIGINT if number == signal.SIGINT else 75)

    (received,) = held.received
    assert received.phase == phase
    (preempted,) = recorded(held.run, events.RunPreempted)
    assert (preempted.step, preempted.reason) == (position[0], number.name)
    newest = ckptkit.open_run(held.run).find("latest").manifest
    assert (newest.step, newest.epoch, newest.batch) == position
    assert (held.run / "export").exists() == (hold == "export"), (
        "an interrupted run publishes nothing; the next start does"
    )
    assert [event.outcome for event in recorded(held.run, events.AttemptEnded)] == ["preempted"]
    assert not recorded(held.run, events.Failed)
    if number == signal.SIGINT:
        assert "Ctrl-C again to stop now" in held.process.stderr
        assert "KeyboardInterrupt" in held.process.stderr
    else:
        assert "Traceback" not in held.process.stderr
        assert f"received {number.name} while {phase}" in held.process.stderr
    finishes_right(start, undisturbed, held.run)


@pytest.mark.parametrize("hold", spread(IDS, 4, 1))
def test_a_second_ctrl_c_stops_at_once(start, undisturbed, hold):
    held: Held = start("train.py", hold).wait_for(hold)
    before = [checkpoint.step for checkpoint in ckptkit.open_run(held.run).checkpoints]
    held.signal(signal.SIGINT)
    held.signal(signal.SIGINT)
    if hold == "batch":
        held.go_on(hold)  # Python interrupts when the step comes back from C code
    held.ends(-signal.SIGINT)
    assert [checkpoint.step for checkpoint in ckptkit.open_run(held.run).checkpoints] == before
    assert not recorded(held.run, events.RunPreempted)
    assert not recorded(held.run, events.Failed)
    assert [event.outcome for event in recorded(held.run, events.AttemptEnded)] == [
        "finished" if hold == "export" else "stopped"
    ]
    finishes_right(start, undisturbed, held.run)


@pytest.mark.parametrize("hold", spread([*IDS, "committed-3"], 5))
def test_a_kill_costs_what_was_not_saved(start, undisturbed, hold):
    held: Held = start("train.py", hold).wait_for(hold)
    held.process.send_signal(signal.SIGKILL)
    held.ends(-signal.SIGKILL)
    finishes_right(start, undisturbed, held.run)


@pytest.mark.parametrize(
    "second", spread([signal.SIGTERM, signal.SIGUSR1]), ids=lambda number: number.name
)
def test_a_second_signal_during_the_save_changes_nothing(start, undisturbed, second):
    held: Held = start("train.py", "batch", "commit-1", options=("--no-saves",)).wait_for("batch")
    held.signal(signal.SIGTERM).go_on("batch").wait_for("commit-1")
    held.signal(second).go_on("commit-1")
    held.ends(75)
    (preempted,) = recorded(held.run, events.RunPreempted)
    assert (preempted.step, preempted.reason) == (8, "SIGTERM")
    assert [event.outcome for event in recorded(held.run, events.AttemptEnded)] == ["preempted"]
    finishes_right(start, undisturbed, held.run)


def test_a_second_ctrl_c_during_the_save_that_the_first_one_asked_for(start, undisturbed):
    held: Held = start("train.py", "batch", "commit-1", options=("--no-saves",)).wait_for("batch")
    held.signal(signal.SIGINT).go_on("batch").wait_for("commit-1")
    held.signal(signal.SIGINT)
    held.ends(-signal.SIGINT)
    assert not ckptkit.open_run(held.run).checkpoints
    finishes_right(start, undisturbed, held.run)


def test_a_signal_on_the_way_back_to_where_the_run_was(start, undisturbed):
    held: Held = start("train.py", "batch").wait_for("batch")
    held.signal(signal.SIGTERM).go_on("batch").ends(75)
    names = [str(checkpoint.name) for checkpoint in ckptkit.open_run(held.run).checkpoints]
    # The second start traces its step before it has restored anything.
    held = start("train.py", "tracing").wait_for("tracing")
    held.signal(signal.SIGTERM).go_on("tracing").ends(75)
    assert [event.phase for event in held.received] == ["training", "tracing"]
    assert [event.step for event in recorded(held.run, events.RunPreempted)] == [8, 8]
    assert [str(checkpoint.name) for checkpoint in ckptkit.open_run(held.run).checkpoints] == names
    finishes_right(start, undisturbed, held.run)


@pytest.mark.parametrize(
    ("number", "twice"),
    [
        pytest.param(number, twice, id=f"{'twice' if twice else 'once'}-{number.name}", marks=marks)
        for number, twice, marks in (
            (signal.SIGTERM, False, []),
            (signal.SIGINT, True, []),
            (signal.SIGKILL, False, []),
            (signal.SIGTERM, True, pytest.mark.long),
            (signal.SIGINT, False, pytest.mark.long),
        )
    ],
)
def test_a_signal_while_a_save_is_written_behind_training(start, undisturbed, number, twice):
    """Training stands in a batch, the save before its commit. What was being written is finished,
    but for a second Ctrl-C.
    """
    held: Held = (
        start("train.py", "commit-1", "batch", options=("--background",))
        .wait_for("commit-1")
        .wait_for("batch")
    )
    if number == signal.SIGKILL:
        held.process.send_signal(number)
        held.ends(-number)
        assert not ckptkit.open_run(held.run).checkpoints
    else:
        held.signal(number)
        if twice:
            held.signal(number)
        at_once = twice and number == signal.SIGINT
        held.go_on("batch")
        if not at_once:
            held.go_on("commit-1")
        held.ends(-number if number == signal.SIGINT else 75)
        steps = [checkpoint.step for checkpoint in ckptkit.open_run(held.run).checkpoints]
        assert steps == ([] if at_once else [5, 8])
        assert [event.step for event in recorded(held.run, events.RunPreempted)] == (
            [] if at_once else [8]
        )
    finishes_right(start, undisturbed, held.run)
