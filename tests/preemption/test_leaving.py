"""A request to stop that comes outside of a turn is served where the run is let go of; runs are
closed in any order.
"""

from __future__ import annotations

import random
import time

import pytest

import ckptkit
from ckptkit.run import events
from tests.preemption.conftest import recorded

LEAVING = "tests.preemption.leaving:"


@pytest.mark.parametrize(
    ("where", "step"),
    [("no loop", 3), ("with a break", 3), ("after a break", 3), ("after the loop", 3)],
)
@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 75), ("SIGINT", -2)])
def test_a_signal_outside_of_a_turn_is_served(tf_call, tmp_path, where, step, number, code):
    run = tmp_path / "run"
    process = tf_call(LEAVING + "outside_a_turn", str(run), number, where).check(code=code)
    assert "trained on" not in process.stdout
    assert [(event.step, event.reason) for event in recorded(run, events.RunPreempted)] == [
        (step, number)
    ]
    assert [event.outcome for event in recorded(run, events.AttemptEnded)] == ["preempted"]
    assert ckptkit.open_run(run).find("latest").step == step


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 75), ("SIGINT", -2)])
def test_a_loop_that_only_saves_stops_at_its_next_save(tf_call, tmp_path, seed, number, code):
    """It was told that it stops, and trained on until it was killed."""
    run, at = tmp_path / "run", random.Random(seed).randrange(1, 16)
    program = LEAVING + "in_a_loop_of_saves"
    process = tf_call(program, str(run), number, str(at)).check(code=code)
    assert "trained on" not in process.stdout
    step = -(-at // 3) * 3
    assert [event.step for event in recorded(run, events.RunPreempted)] == [step]
    assert ckptkit.open_run(run).find("latest").step == step
    process = tf_call(program, str(run), number, "0").check()
    assert process.stdout == "trained on\n"
    assert ckptkit.open_run(run).find("latest").step == 18


def test_a_request_is_served_by_close(tf_call, tmp_path):
    tf_call(LEAVING + "by_close", str(tmp_path / "run")).check()


def test_a_handler_from_before_is_called_where_the_loop_was_left(tf_call, tmp_path):
    process = tf_call(LEAVING + "with_a_handler_from_before", str(tmp_path / "run")).check(code=42)
    assert process.stdout == "handler [3]\n"


@pytest.mark.parametrize("order", ["first", "last"])
def test_two_runs_are_closed_in_any_order(tf_call, tmp_path, order):
    tf_call(LEAVING + "two_runs", str(tmp_path), order).check()


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_while_two_runs_are_open(tf_call, tmp_path, number):
    tf_call(LEAVING + "two_nested", str(tmp_path), number).check()
    assert ckptkit.open_run(tmp_path / "outer").find("latest").step == 3


def test_one_interrupt_is_answered_once(tf_call, tmp_path):
    tf_call(LEAVING + "an_idle_run_and_two_interrupts", str(tmp_path)).check()


def test_two_interrupts_that_the_handler_takes_for_one(tf_call, tmp_path):
    run = tmp_path / "run"
    began = time.monotonic()
    tf_call(LEAVING + "two_interrupts_in_one_call", str(run)).check(code=-2)
    assert time.monotonic() - began < 20
    assert [event.signal for event in recorded(run, events.SignalReceived)] == ["SIGINT", "SIGINT"]


def test_a_run_that_is_closed_off_the_main_thread(tf_call, tmp_path):
    tf_call(LEAVING + "closed_off_the_main_thread", str(tmp_path / "run")).check(code=75)


def test_a_descriptor_that_was_closed_meanwhile(tf_call, tmp_path):
    tf_call(LEAVING + "a_wakeup_descriptor_that_was_closed", str(tmp_path / "run")).check()


@pytest.mark.parametrize(
    ("code", "steps", "outcome", "exit_code"),
    [("0", [3], "stopped", 0), ("None", [3], "stopped", 0), ("3", [], "failed", 3)],
)
def test_an_orderly_exit_is_a_left_loop(tf_call, tmp_path, code, steps, outcome, exit_code):
    run = tmp_path / "run"
    tf_call(LEAVING + "an_orderly_exit", str(run), code).check(code=exit_code)
    assert [checkpoint.step for checkpoint in ckptkit.open_run(run).checkpoints] == steps
    assert [event.outcome for event in recorded(run, events.AttemptEnded)] == [outcome]
    assert bool(recorded(run, events.Failed)) == (outcome == "failed")
