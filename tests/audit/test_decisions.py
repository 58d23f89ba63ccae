"""What an audit decides: when it interrupts, what is the same, where it first differs, and what is
to blame. No process, no disk.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptkit.audit.audit_verdict import differs_before_an_interruption, verdict
from ckptkit.audit.bit_comparison import (
    BitComparison,
    BitDifference,
    different_arrays,
    different_python,
)
from ckptkit.audit.first_difference import own_places, result_of
from ckptkit.audit.interruptions import InterruptionMoment, Length, chosen, random_moments
from ckptkit.errors import ConfigError
from ckptkit.layout import CheckpointName
from ckptkit.policies import Candidate, EveryNSteps, KeepLatest
from ckptkit.policies import Moment as SaveMoment
from ckptkit.policies.even_spread import MOST, SpreadKeeps, SpreadSaves, distance
from ckptkit.position import RunPosition
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.events import Restored
from ckptkit.tracking.python_state import encode

# -- when


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=4), st.integers(1, 20), st.integers(0, 2**31)
)
def test_random_moments_are_places_of_the_trainings_in_their_order(steps, kills, seed):
    lengths = [Length(f"run-{number}", count) for number, count in enumerate(steps)]
    found = random_moments(lengths, kills, seed)
    assert found == random_moments(lengths, kills, seed)
    assert len(set(found)) == len(found) == min(kills, sum(steps))
    places = [(int(moment.run.removeprefix("run-")), moment.step) for moment in found]
    assert places == sorted(places)
    assert all(1 <= step <= steps[run] for run, step in places)
    assert [moment.signal for moment in found] == [
        ("SIGTERM", "SIGKILL")[number % 2] for number in range(len(found))
    ]


def test_every_step_can_be_drawn():
    assert {
        moment.step for seed in range(300) for moment in random_moments([Length("run", 5)], 1, seed)
    } == {1, 2, 3, 4, 5}


def test_chosen_moments():
    assert chosen([Length("a", 10), Length("b", 5)], [10, 3, 3], ["SIGKILL"]) == [
        InterruptionMoment("a", 3, "SIGKILL"),
        InterruptionMoment("a", 10, "SIGKILL"),
    ]
    for wrong in (0, 11):
        with pytest.raises(
            ConfigError, match=rf"Received: {wrong}\. Expected steps from 1 to 10\."
        ):
            chosen([Length("a", 10)], [3, wrong])


# -- what is the same


def floats(*bits: int) -> np.ndarray:
    return np.frombuffer(b"".join(struct.pack("<I", each) for each in bits), dtype="float32")


def test_values_are_compared_by_their_bits():
    quiet, other = 0x7FC00000, 0x7FC00001
    assert different_arrays("k", "p", "variable", floats(quiet, 0), floats(quiet, 0)) is None
    for one, two in ((floats(quiet, 0), floats(other, 0)), (floats(0x80000000, 0), floats(0, 0))):
        found = different_arrays("k", "p", "variable", one, two)
        assert found is not None
        assert (found.differing, found.values) == (1, 2)


@given(
    st.integers(0, 2**32),
    st.sampled_from(["float32", "float64", "int8", "int64", "bool", "complex64"]),
)
def test_each_changed_value_is_counted(seed, dtype):
    drawn_numbers = np.random.default_rng(seed)
    one = drawn_numbers.integers(0, 2, (3, 5)).astype(dtype)
    other = one.copy()
    places = drawn_numbers.choice(15, size=drawn_numbers.integers(0, 16), replace=False)
    other.reshape(-1)[places] = one.reshape(-1)[places] == 0
    found = different_arrays("k", "p", "variable", one, other)
    assert (0 if found is None else found.differing) == len(places)


def test_other_forms_and_strings():
    assert (
        "float32[2] and float64[2]"
        in different_arrays("k", "", "variable", np.zeros(2, "float32"), np.zeros(2)).words
    )
    assert (
        "float64[2] and float64[1, 2]"
        in different_arrays("k", "", "variable", np.zeros(2), np.zeros((1, 2))).words
    )
    one, other = np.array([b"a", b"b"], dtype=object), np.array([b"a", b"c"], dtype=object)
    assert different_arrays("k", "", "trackable", one, one.copy()) is None
    assert different_arrays("k", "", "trackable", one, other).differing == 1
    assert different_arrays("k", "", "variable", np.zeros((0, 3)), np.zeros((0, 3))) is None
    assert (
        "the value is 1.0 and 2.0"
        in different_arrays("k", "", "variable", np.array(1.0), np.array(2.0)).words
    )


def test_python_state_is_compared_place_by_place():
    one, other = (
        {"history": {"loss": [1.0, 0.5, last]}, "wait": wait, "flag": flag, "best": float("nan")}
        for last, wait, flag in ((0.25, 3, True), (0.125, 3, 1))
    )
    found = different_python(
        "fit/state/0", "fit", encode(one, "it")[0].encode(), encode(other, "it")[0].encode()
    )
    assert [(each.name, each.words) for each in found] == [
        ("fit/state/0.history.loss[2]", "0.25 and 0.125"),
        ("fit/state/0.flag", "True and 1"),
    ]
    assert different_python("k", "", b'{"a": 1}', b'{"a": 1}') == []
    assert [
        each.words
        for each in different_python("k", "", b'{"a": 1, "b": [1]}', b'{"a": 1, "b": []}')
    ] == ["1 and nothing"]
    assert [
        each.words for each in different_python("k", "", b'{"a": 1, "b": 2}', b'{"b": 2, "a": 1}')
    ] == ["in another order"]
    assert [each.words for each in different_python("k", "", b"\xff", b"{}")] == ["other bytes"]


def test_a_random_state_is_one_place():
    one, other = (
        encode({"random": random.Random(seed).getstate(), "passes": [seed]}, "it")[0].encode()
        for seed in (1, 2)
    )
    found = different_python("loop/state/0", "loop", one, other)
    assert [each.name for each in found] == [
        "loop/state/0.random.__tuple__[1].__tuple__",
        "loop/state/0.passes[0]",
    ]
    assert found[0].differing > 500
    assert found[0].values == 625
    assert [each.place for each in found] == [
        "loop/state/0.random.__tuple__[].__tuple__",
        "loop/state/0.passes[]",
    ]


# -- where it first differs, and what is to blame


def checkpoint(step: int, attempt: int) -> Checkpoint:
    return Checkpoint(CheckpointName(step, attempt), Path(f"ckpt-{step}-{attempt}"))


def comparing(off: set[tuple[int, int]]):
    def compare(one: Checkpoint, other: Checkpoint) -> BitComparison:
        assert one.step == other.step or other.step == 40
        bad = (other.step, other.attempt) in off
        return BitComparison(
            differences=[BitDifference(name="w", path="w", kind="variable", words="")]
            if bad
            else []
        )

    return compare


ONE = [checkpoint(step, 1) for step in (10, 20, 30, 40)]
OTHER = [
    checkpoint(10, 1),
    checkpoint(17, 1),
    checkpoint(20, 2),
    checkpoint(30, 2),
    checkpoint(30, 3),
    checkpoint(40, 3),
]
BEGAN = [
    Restored(checkpoint="", step=step, epoch=0, batch=0, secs=0.0, attempt=attempt)
    for step, attempt in ((17, 2), (20, 3))
]


@pytest.mark.parametrize(
    ("off", "expected"),
    [
        ({(30, 2), (30, 3), (40, 3)}, (30, 20, 2, 17)),
        ({(30, 3), (40, 3)}, (30, 30, 3, 20)),  # the attempt before had it right
        ({(40, 3)}, (40, 30, 3, 20)),
        ({(10, 1), (20, 2), (30, 2), (30, 3), (40, 3)}, (10, 0, 1, 0)),
    ],
)
def test_the_first_checkpoint_that_is_off(off, expected):
    result = result_of("run", ONE, OTHER, BEGAN, comparing(off))
    assert result.names == {"w"}
    first = result.first
    assert (first.step, first.equal_step, first.attempt, first.began_at) == expected


def test_an_attempt_that_went_back_may_be_the_first_that_is_off():
    other = [*OTHER[:5], checkpoint(20, 4), checkpoint(40, 4)]
    result = result_of("run", ONE, other, BEGAN, comparing({(30, 3), (20, 4), (40, 4)}))
    assert (result.first.step, result.first.equal_step, result.first.attempt) == (20, 20, 4)


def test_nothing_more_is_read_where_the_ends_are_the_same():
    result = result_of("run", ONE, OTHER, BEGAN, comparing({(20, 2)}))
    assert (result.first, result.steps, result.step) == (None, (), 40)


def test_trainings_of_two_lengths():
    result = result_of("run", ONE[:3], OTHER, BEGAN, comparing({(40, 3)}))
    assert (result.first.step, result.first.equal_step, result.first.attempt) == (40, 30, 3)


def state(*names: str, kind: str = "python") -> list[BitDifference]:
    return [BitDifference(name=name, path="", kind=kind, words="") for name in names]


def test_python_state_that_is_other_from_the_beginning_does_not_count():
    """Only what differs in a checkpoint that no interruption came before; and a variable counts
    always.
    """
    found = {
        (10, 1): [*state("p/state/0.x[3]"), *state("w", kind="variable")],
        (20, 2): state("p/state/0.x[0]", "p/state/0.y"),
        (40, 3): state("p/state/0.x[0]", "p/state/0.y"),
    }

    def compare(one: Checkpoint, other: Checkpoint) -> BitComparison:
        return BitComparison(differences=list(found.get((other.step, other.attempt), [])))

    own = own_places(ONE, OTHER, 1, compare)
    assert own == {"p/state/0.x[]"}
    assert own_places(ONE, OTHER, None, compare) == own_places(ONE, OTHER, 3, compare) == set()
    result = result_of("run", ONE, OTHER, BEGAN, compare, own)
    assert result.names == {"p/state/0.y"}
    assert (result.first.step, {each.name for each in result.first.differences}) == (10, {"w"})
    assert result_of("run", ONE, OTHER, BEGAN, compare, own | {"p/state/0.y"}).first is None


def outcome(*names: str, attempt: int = 2):
    result = result_of(
        "run",
        [checkpoint(5, 1)],
        [checkpoint(5, attempt)],
        [],
        lambda one, other: BitComparison(
            differences=[
                BitDifference(name=name, path="", kind="variable", words="") for name in names
            ]
        ),
    )
    return [result]


def test_what_is_to_blame():
    assert verdict(outcome(), None) == "exact"
    assert verdict(outcome("w"), outcome()) == "inexact"
    assert verdict(outcome("w", "clock"), outcome("clock")) == "inexact"
    assert verdict(outcome("clock"), outcome("clock")) == "not_reproducible"
    assert verdict(outcome("w"), outcome("w", "v")) == "not_reproducible"
    assert verdict(outcome("w"), None, early=True) == "not_reproducible"
    assert verdict(outcome(), None, restored=False) == "untested"
    assert verdict(outcome("w"), outcome(), restored=False) == "inexact"


def test_what_differs_before_an_interruption():
    assert differs_before_an_interruption(outcome("w", attempt=1), {"run": 1})
    assert not differs_before_an_interruption(outcome("w", attempt=2), {"run": 1})
    assert not differs_before_an_interruption(
        outcome("w", attempt=1), {}
    )  # its program was interrupted in another run before
    assert not differs_before_an_interruption(outcome(), {"run": 1})


# -- the checkpoints that are compared


def kept(positions: list[int], every: int, interrupted: dict[int, int]) -> set[int]:
    """The steps of the checkpoints that are there at the end of a training that comes to these
    positions.

    Args:
        positions: steps at which it may save.
        every: of the policies.
        interrupted: from the position at which it is killed to the one at which it goes on.
    """
    saves, keeps = EveryNSteps(7) | SpreadSaves(every), KeepLatest(1) | SpreadKeeps(every)
    there: list[Candidate] = []
    last, attempt = 0, 1
    kills = dict(interrupted)
    at = 0
    while at < len(positions):
        step = positions[at]
        now, before = (
            SaveMoment(position=RunPosition(each), time_secs=0.0) for each in (step, last)
        )
        assert saves.insists(now, before) == (
            SpreadSaves(every).due(now, before) is not None
        )  # nothing newer takes its place
        if saves.due(now, before) or step == positions[-1]:
            there.append(Candidate(name=f"{step}-{attempt}", step=step))
            reasons = keeps.keep(there)
            there = [each for each in there if each.name in reasons]
            last = step
        at += 1
        if step in kills:
            del kills[step]
            known = max((each.step for each in there), default=0)
            at, last, attempt = sum(position <= known for position in positions), known, attempt + 1
    return {each.step for each in there}


@given(st.integers(1, 5), st.integers(1, 400), st.integers(0, 2**31))
def test_two_trainings_keep_checkpoints_of_the_same_steps(per_call, calls, seed):
    """However many steps a call makes, and however often the second one is killed."""
    positions = [per_call * (number + 1) for number in range(calls)]
    one = kept(positions, 0, {})
    assert len(one) <= MOST + 2
    apart = distance(positions[-1])
    assert len(one) >= min(len(positions), positions[-1] // apart)
    killed = random.Random(seed).sample(positions, min(len(positions), 3))
    other = kept(positions, apart, dict.fromkeys(killed, 0))
    spread = {
        min(step for step in positions if step >= multiple)
        for multiple in range(apart, positions[-1] + 1, apart)
    }
    assert spread <= one & other


@given(st.integers(1, 10**9))
def test_the_distance_is_a_power_of_two_that_leaves_some(step):
    apart = distance(step)
    assert apart & (apart - 1) == 0
    assert step // apart <= MOST
    assert apart == 1 or step // apart >= MOST // 2
