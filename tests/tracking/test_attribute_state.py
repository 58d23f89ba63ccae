"""What training changes in Python objects: restored in place, or named."""

from __future__ import annotations

import csv
import io
import random
import tempfile

import keras
import numpy as np
import pytest

from ckptkit.tracking.attribute_state import AttributeState
from tests.tracking import attribute_kinds
from tests.tracking.attribute_kinds import KINDS, Record, attribute_of

SAVED = [name for name, kind in KINDS.items() if not kind.named]


class Holder:
    """An object of the user's own."""


class Program:
    """One process of a program: what it has made, and what ckptkit knows of it."""

    def __init__(self, **objects):
        self.reasons = []
        self.state = AttributeState(self.reasons.append, tuple)
        self.objects = objects
        self.state.note({name: (name, value) for name, value in objects.items()})
        self.state.report()

    def resume(self, other):
        """Restores here what another process has saved."""
        self.state.assign(other.state.capture())


def holder(**attributes):
    made = Holder()
    vars(made).update(attributes)
    return made


def of_kind(name):
    made = Holder()
    attribute_kinds.fill(made, [name])
    return made


@pytest.mark.parametrize("name", SAVED)
def test_each_kind_is_restored_in_every_attempt(name):
    seed = random.randrange(10**6)
    print("seed", seed)
    first, second, third = (Program(a=of_kind(name)) for _ in range(3))
    made = attribute_kinds.looked_at(first.objects["a"], [name])
    attribute_kinds.train(first.objects["a"], seed, [name])
    expected = attribute_kinds.looked_at(first.objects["a"], [name])
    assert expected != made
    second.resume(first)
    assert attribute_kinds.looked_at(second.objects["a"], [name]) == expected
    third.resume(second)
    assert attribute_kinds.looked_at(third.objects["a"], [name]) == expected
    assert first.reasons == second.reasons == third.reasons == []


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.named])
def test_what_cannot_be_saved_is_named(name):
    (reason,) = Program(a=of_kind(name)).reasons
    assert reason.startswith(f'not saved: a: attribute "{attribute_of(name)}" (a')


def test_what_never_moved_is_configuration():
    first = Program(a=holder(rate=0.5, turn=0, sizes=[1, 2], seen=[]))
    first.objects["a"].turn = 3
    first.objects["a"].seen.append(1)
    second = Program(a=holder(rate=0.1, turn=0, sizes=[3], seen=[]))
    second.resume(first)
    assert vars(second.objects["a"]) == {"rate": 0.1, "turn": 3, "sizes": [3], "seen": [1]}
    third = Program(a=holder(rate=0.1, turn=7, sizes=[3], seen=[7]))
    third.resume(second)
    assert third.objects["a"].turn == 3, "an attribute that has moved once stays state"
    assert third.objects["a"].seen == [1]


def test_an_attribute_that_has_come_back_is_still_state():
    first = Program(a=holder(turn=0))
    first.objects["a"].turn = 1
    first.state.capture()
    first.objects["a"].turn = 0
    second = Program(a=holder(turn=5))
    second.resume(first)
    assert second.objects["a"].turn == 0


def test_a_step_that_is_thrown_away_leaves_nothing():
    first = Program(a=holder(turn=0, seen=[], array=np.zeros(2), rng=random.Random(1)))
    second = Program(a=holder(turn=0, seen=[], array=np.zeros(2), rng=random.Random(1)))
    thrown = second.objects["a"]
    thrown.turn, thrown.new = 1, 1
    thrown.seen.append(1)
    thrown.array += 1
    thrown.rng.random()
    second.resume(first)
    assert (thrown.turn, thrown.seen, thrown.array.tolist()) == (0, [], [0, 0])
    assert not hasattr(thrown, "new")
    assert thrown.rng.getstate() == random.Random(1).getstate()


def test_objects_stay_the_same_objects():
    def program():
        shared = [0]
        return Program(a=holder(own=shared, record=Record()), b=holder(own=shared, keep={}))

    first, second = program(), program()
    then = first.objects
    then["a"].own.append(1)
    then["a"].record.inner = then["b"].keep["record"] = Record(2.0, then["a"])
    now = second.objects
    before = now["a"].own, now["a"].record
    second.resume(first)
    assert now["a"].own is now["b"].own is before[0]
    assert before[0] == [0, 1]
    assert now["a"].record is before[1]
    assert now["b"].keep["record"] is now["a"].record.inner
    assert now["a"].record.inner.inner is now["a"], "a cycle through what the program has made"


def test_deep_structures_do_not_end_the_walk():
    def chain():
        made = record = Record()
        for _ in range(5000):
            record.inner = record = Record()
        return made, record

    (root, end), (other, last) = chain(), chain()
    first, second = Program(a=root), Program(a=other)
    end.number = 3.0
    end.inner, made = Record(), 0.0
    record = end.inner
    for made in range(5000):
        record.inner = record = Record(float(made))
    second.resume(first)
    assert last.number == 3.0
    record = last
    while record.inner is not None:
        record = record.inner
    assert record.number == made


def test_a_changed_program_is_reported_not_guessed():
    first = Program(a=holder(seen=[]))
    first.objects["a"].seen.append(1)
    second = Program(a=holder(seen={}))
    second.state.assign(first.state.capture())
    assert second.objects["a"].seen == {}
    assert [reason for reason in second.reasons if "a.seen" in reason]


@pytest.mark.parametrize(
    ("create", "words"),
    [
        (
            lambda: csv.DictWriter(io.StringIO(), ["loss"]),
            "a csv.DictWriter, which contains a _csv.writer",
        ),
        (lambda: csv.DictReader(["loss", "1"]), "a csv.DictReader, which contains"),
        (
            lambda: tempfile.NamedTemporaryFile(),  # noqa: SIM115
            "a tempfile._TemporaryFileWrapper, which contains",
        ),
    ],
)
def test_what_training_creates_is_never_restored_in_part(create, words):
    """Its methods would fail: the writer of a `DictWriter` has no form in a checkpoint."""
    first = Program(a=holder(table=None, turn=0))
    first.objects["a"].table, first.objects["a"].turn = create(), 3
    second = Program(a=holder(table=None, turn=0))
    second.resume(first)
    assert vars(second.objects["a"]) == {"table": None, "turn": 3}
    assert [reason for reason in first.reasons if words in reason] == first.reasons != []
    assert first.reasons[0].startswith('not saved: a: attribute "table" (')


def test_what_building_a_layer_makes_stays():
    """`moving_mean` is None until the layer is built, and a variable then."""
    first, second = (Program(layer=keras.layers.BatchNormalization()) for _ in range(2))
    for each in (first, second):
        each.objects["layer"].build((None, 3))
    second.resume(first)
    assert second.objects["layer"].moving_mean.shape == (3,)
