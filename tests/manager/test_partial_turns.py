"""A loop that is left in the middle of a turn: no state is saved under a step that it is not of."""

from __future__ import annotations

import random
import sys

import pytest

import ckptkit
from ckptkit.testing import FakeClock

TURNS = 8


class Training:
    """A small training whose state is a model, an optimizer, an iterator and random numbers."""

    def __init__(self, trainings, run, **options):
        tf, keras = trainings.tf, trainings.keras
        keras.utils.set_random_seed(7)
        self.model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        self.optimizer = keras.optimizers.Adam(0.1)
        self.optimizer.build(self.model.trainable_variables)
        x, y = trainings.rows()
        self.batches = iter(tf.data.Dataset.from_tensor_slices((x, y)).repeat().batch(3))
        self.tf, self.drawn = tf, []
        self.manager = ckptkit.CheckpointManager(
            run,
            {"model": self.model, "optimizer": self.optimizer, "batches": self.batches},
            **options,
        )

    def train(self):
        x, y = next(self.batches)
        self.drawn.append(random.random())
        with self.tf.GradientTape() as tape:
            loss = self.tf.reduce_mean((self.model(x) - y) ** 2) * self.drawn[-1]
        variables = self.model.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)

    def bits(self):
        variables = [*self.model.variables, *self.optimizer.variables]
        return [each.numpy().tobytes() for each in variables]


def leave_by_break(training, at):
    with training.manager as manager:
        for step in manager.steps(TURNS):
            training.train()
            if step == at:
                break


def leave_by_exit(training, at):
    with pytest.raises(SystemExit), training.manager as manager:
        for step in manager.steps(TURNS):
            training.train()
            if step == at:
                sys.exit(0)


def leave_by_return(training, at):
    def body():
        with training.manager as manager:
            for step in manager.steps(TURNS):
                training.train()
                if step == at:
                    return

    body()


def leave_by_close(training, at):
    training.manager.restore_or_initialize()
    for step in training.manager.steps(TURNS):
        training.train()
        if step == at:
            training.manager.close()
            break


def leave_asked_to_stop(training, at):
    with pytest.raises(ckptkit.Preempted), training.manager as manager:
        for step in manager.steps(TURNS):
            training.train()
            if step == at:
                manager.request_stop()
                break


def leave_data(training, at):
    with training.manager as manager:
        for _ in manager.epochs(2):
            for _ in manager.data(range(7)):
                training.train()
                if manager.position.step == at - 1:
                    break
            break


def leave_by_hand(training, at):
    with training.manager as manager:
        for step in range(manager.position.step + 1, TURNS + 1):
            training.train()
            if step == at:
                break
            manager.maybe_save(step)


WAYS = [
    leave_by_break,
    leave_by_exit,
    leave_by_return,
    leave_by_close,
    leave_asked_to_stop,
    leave_data,
    leave_by_hand,
]


def uninterrupted(trainings, run, turns):
    """The bits of the state after a number of turns, by number, and all drawn numbers."""
    training = Training(trainings, run)
    bits = {}
    for number in range(turns):
        bits[number] = training.bits()
        training.train()
    return {**bits, turns: training.bits()}, training.drawn


@pytest.mark.parametrize("leave", WAYS)
def test_a_turn_that_has_trained_is_not_in_what_is_saved(trainings, run, seed, leave):
    at = random.Random(seed).randint(3, 6)
    whole, drawn = uninterrupted(trainings, run.with_name("whole"), TURNS)
    training = Training(trainings, run)
    with trainings.logged() as lines:
        leave(training, at)
    assert any(f"left in the middle of step {at}" in line for line in lines)
    (step,) = training.manager.all_steps
    assert step < at

    again = Training(trainings, run)
    assert again.manager.restore().step == step
    assert again.bits() == whole[step], "the state is that of its step"
    again.manager.close()
    if leave is leave_data:
        return
    again.drawn.clear()
    with again.manager as manager:
        for _ in manager.steps(TURNS):
            again.train()
    assert (again.bits(), again.drawn) == (whole[TURNS], drawn[step:]), "as if nothing had happened"


def test_turns_with_time_for_a_snapshot_lose_nothing(trainings, run):
    training = Training(trainings, run, clock=FakeClock())  # a snapshot takes none of its time
    leave_by_break(training, 4)
    assert training.manager.all_steps == [3]


@pytest.mark.parametrize("reads", [False, True])
def test_a_break_at_the_top_of_the_body_saves(trainings, run, reads):
    training = Training(trainings, run, clock=FakeClock())
    with trainings.logged() as lines, training.manager as manager:
        for step in manager.steps(TURNS):
            if step == 4:
                if reads:
                    random.random()
                    float(training.model.variables[0][0, 0])
                break
            training.train()
    assert training.manager.all_steps == [3]
    assert any("in the middle" in line for line in lines) == reads, "it made a tensor: who knows"
    after = uninterrupted(trainings, run.with_name("whole"), 3)[0][3]
    again = Training(trainings, run)
    again.manager.restore()
    assert again.bits() == after
    again.manager.close()


class Large:
    """A state that is too large for a snapshot in reserve."""

    def __init__(self, trainings, run):
        self.tf = trainings.tf
        self.variable = self.tf.Variable(self.tf.zeros((17_000_000,)))
        self.manager = ckptkit.CheckpointManager(
            run, {"variable": self.variable}, save=ckptkit.EveryNSteps(2), background=False
        )

    def train(self):
        self.variable.assign_add(self.tf.ones_like(self.variable))


def test_a_large_state_is_not_saved_under_a_wrong_step(trainings, run):
    training = Large(trainings, run)
    with trainings.logged() as lines:
        leave_by_break(training, 4)
    assert training.manager.all_steps == [2]
    (said,) = (line for line in lines if "left in the middle of step 4" in line)
    assert "saved is step 2" in said
    assert "manager.save(4)" in said
    again = Large(trainings, run)
    with again.manager as manager:
        steps = [step for step in manager.steps(5) if again.train() is None]
    assert (steps, float(again.variable[0])) == ([3, 4, 5], 5.0)


def test_a_save_of_the_turn_lets_it_count(trainings, run):
    training = Training(trainings, run)
    with trainings.logged() as lines, training.manager as manager:
        for step in manager.steps(TURNS):
            training.train()
            if step == 4:
                manager.save(step)
                break
    assert training.manager.all_steps == [4]
    assert not any("in the middle" in line for line in lines)


@pytest.mark.parametrize("method", ["save", "maybe_save"])
def test_a_save_by_hand_under_an_earlier_step_is_an_error(trainings, run, method):
    training = Training(trainings, run)

    def train():
        with training.manager as manager:
            for step in manager.steps(TURNS):
                training.train()
                getattr(manager, method)(step - 1)

    with pytest.raises(ckptkit.ConfigError, match=r"Expected step 1.*Received: step 0"):
        train()
    assert training.manager.all_steps == []


def test_an_evaluation_after_the_last_step_by_hand_changes_nothing(trainings, run):
    training = Training(trainings, run)
    with trainings.logged() as lines, training.manager as manager:
        for step in range(1, 6):
            training.train()
            manager.maybe_save(step)
        training.model(trainings.rows()[0])
    assert training.manager.all_steps == [5]
    assert not any("in the middle" in line for line in lines)
