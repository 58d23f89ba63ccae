"""When to save and what to keep: pure functions, so drawn cases say more than chosen ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ckptkit
from ckptkit.policies import (
    Candidate,
    KeepPolicy,
    Moment,
    SavePolicy,
    decide,
    rank,
)
from ckptkit.policies.metric_order import updated_extremes

counts = st.integers(1, 50)
walks = st.lists(st.integers(0, 120), min_size=1, max_size=60).map(
    lambda strides: list(accumulate(strides))
)
"""Steps at which a loop reports, over no, one or many steps at a time."""
values = st.one_of(st.floats(-10, 10), st.sampled_from([math.nan, math.inf, -math.inf]))


def at(
    step: int = 0, epoch: int = 0, batch: int = 0, time_secs: float = 0.0, **measured: float
) -> Moment:
    return Moment(
        position=ckptkit.RunPosition(step, epoch, batch), time_secs=time_secs, metrics=measured
    )


def saves(
    policy: SavePolicy, moments: Sequence[Moment], start: Moment | None = None
) -> list[Moment]:
    """The moments at which a run saves under a policy."""
    last, saved = start or at(), []
    for moment in moments:
        if policy.due(moment, last):
            saved.append(moment)
            last = moment
    return saved


# -- when


@given(n=counts, walk=walks)
def test_no_stride_jumps_over_a_save(n, walk):
    saved = {
        moment.position.step
        for moment in saves(ckptkit.EveryNSteps(n), [at(step) for step in walk])
    }
    for before, after in pairwise([0, *walk]):
        crossed = any(multiple % n == 0 for multiple in range(before + 1, after + 1))
        assert (after in saved) if crossed else (after == before or after not in saved)


def test_every_n_steps_gives_its_reason():
    policy = ckptkit.EveryNSteps(60)
    assert policy.due(at(59), at(0)) is None
    assert policy.due(at(60), at(0)) == "every 60 steps"
    assert policy.due(at(119), at(60)) is None
    assert policy.due(at(500), at(60)) == "every 60 steps"


@given(n=counts, batches=st.integers(1, 5), epochs=st.integers(1, 60))
def test_every_n_epochs_saves_at_boundaries_alone(n, batches, epochs):
    moments = [
        at(epoch * batches + batch, epoch, batch)
        for epoch in range(epochs)
        for batch in range(batches)
    ]
    saved = saves(ckptkit.EveryNEpochs(n), moments)
    assert [moment.position.epoch for moment in saved] == list(range(n, epochs, n))
    assert all(moment.position.batch == 0 for moment in saved)


@given(min_secs=st.floats(0, 100), lengths=st.lists(st.floats(0, 50), max_size=60))
def test_short_epochs_wait_for_min_secs(min_secs, lengths):
    times = list(accumulate(lengths))
    moments = [at(epoch=epoch, time_secs=time) for epoch, time in enumerate(times, start=1)]
    saved = [
        moment.time_secs for moment in saves(ckptkit.EveryNEpochs(1, min_secs=min_secs), moments)
    ]
    assert all(after - before >= min_secs for before, after in pairwise([0.0, *saved]))
    last = 0.0
    for time in times:  # and none is put off for longer than that
        assert time in saved or time - last < min_secs
        last = time if time in saved else last


def test_an_epoch_that_min_secs_held_back_is_saved_at_the_next_boundary_only():
    policy = ckptkit.EveryNEpochs(2, min_secs=60)
    assert policy.due(at(epoch=2, time_secs=59), at()) is None
    assert policy.due(at(epoch=2, batch=1, time_secs=61), at()) is None
    assert policy.due(at(epoch=3, time_secs=90), at()) == "every 2 epochs"


@given(
    secs=st.floats(0.1, 100),
    times=st.lists(st.floats(0, 50), max_size=60).map(lambda lengths: list(accumulate(lengths))),
)
def test_every_n_seconds(secs, times):
    saved = [
        moment.time_secs
        for moment in saves(ckptkit.EveryNSeconds(secs), [at(time_secs=time) for time in times])
    ]
    assert all(after - before >= secs for before, after in pairwise([0.0, *saved]))
    assert bool(saved) == any(time >= secs for time in times)


@given(mode=st.sampled_from(["min", "max"]), measured=st.lists(values, max_size=40))
def test_on_best_saves_at_each_new_record(mode, measured):
    policy = ckptkit.OnBest("loss", mode=mode)
    extremes, saved, records, best = {}, [], [], None
    for step, value in enumerate(measured):
        moment = Moment(
            position=ckptkit.RunPosition(step),
            time_secs=0.0,
            metrics={"loss": value},
            extremes=extremes,
        )
        if policy.due(moment, at()):
            saved.append(step)
        if math.isfinite(value) and (
            best is None or (value < best if mode == "min" else value > best)
        ):
            best = value
            records.append(step)
        extremes = updated_extremes(extremes, moment.metrics)
    assert saved == records


def test_on_best_without_its_metric_waits():
    assert ckptkit.OnBest("val_loss").due(at(5, loss=0.1), at()) is None
    assert ckptkit.OnBest("val_loss").due(at(5, val_loss=0.1), at()) == "best val_loss (0.1)"


def test_either_of_two_is_enough_and_both_reasons_are_given():
    policy = ckptkit.EveryNSteps(10) | ckptkit.EveryNSeconds(60)
    assert policy.due(at(9, time_secs=59), at()) is None
    assert policy.due(at(10, time_secs=59), at()) == "every 10 steps"
    assert policy.due(at(9, time_secs=60), at()) == "every 60 seconds"
    assert policy.due(at(10, time_secs=60), at()) == "every 10 steps; every 60 seconds"


def test_combining_is_flat_and_compares_by_value():
    a, b, c = ckptkit.EveryNSteps(1), ckptkit.EveryNSeconds(2), ckptkit.OnBest("loss")
    assert (a | b) | c == a | (b | c)
    assert repr(a | b) == "EveryNSteps(n=1) | EveryNSeconds(secs=2)"
    x, y, z = ckptkit.KeepLatest(1), ckptkit.KeepBest("loss"), ckptkit.KeepEveryNSteps(3)
    assert (x | y) | z == x | (y | z)
    assert (x | y).most() == 2
    assert (x | z).most() is None


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (ckptkit.EveryNSteps(1), 5),
        (ckptkit.EveryNSteps(1), ckptkit.KeepLatest(1)),
        (ckptkit.KeepLatest(1), ckptkit.EveryNSteps(1)),
    ],
    ids=str,
)
def test_only_policies_of_one_kind_combine(left, right):
    with pytest.raises(TypeError):
        left | right


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (lambda: ckptkit.EveryNSteps(0), "n=0"),
        (lambda: ckptkit.EveryNSteps(True), "n=True"),
        (lambda: ckptkit.EveryNSteps(2.0), "n=2.0"),
        (lambda: ckptkit.EveryNEpochs(-1), "n=-1"),
        (lambda: ckptkit.EveryNEpochs(1, min_secs=-1), "-1"),
        (lambda: ckptkit.EveryNEpochs(1, min_secs=math.nan), "nan"),
        (lambda: ckptkit.EveryNSeconds(0), "secs=0"),
        (lambda: ckptkit.EveryNSeconds(math.inf), "secs=inf"),
        (lambda: ckptkit.EveryNSeconds("600"), "secs='600'"),
        (lambda: ckptkit.OnBest("loss", mode="low"), "mode='low'"),
        (lambda: ckptkit.KeepLatest(0), "n=0"),
        (lambda: ckptkit.KeepBest("loss", mode="MIN"), "mode='MIN'"),
        (lambda: ckptkit.KeepBest("loss", n=0), "n=0"),
        (lambda: ckptkit.KeepEveryNSteps("5"), "n='5'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_argument_that_cannot_be_right_is_named(make, received):
    with pytest.raises(ckptkit.ConfigError) as caught:
        make()
    assert f"Received: {received}" in str(caught.value)
    assert isinstance(caught.value, ValueError)


# -- what


def run_of(
    metrics: Sequence[dict[str, float]], steps: Sequence[int] | None = None
) -> list[Candidate]:
    steps = steps or [10 * i for i in range(1, len(metrics) + 1)]
    return [
        Candidate(name=f"c{i}", step=step, metrics=measured)
        for i, (step, measured) in enumerate(zip(steps, metrics, strict=True))
    ]


runs = st.lists(
    st.fixed_dictionaries({}, optional={"loss": values, "accuracy": values}), max_size=12
).map(run_of)
keep_policies = st.recursive(
    st.one_of(
        counts.map(ckptkit.KeepLatest),
        counts.map(ckptkit.KeepEveryNSteps),
        st.builds(
            ckptkit.KeepBest,
            st.sampled_from(["loss", "accuracy"]),
            st.sampled_from(["min", "max"]),
            counts,
        ),
    ),
    lambda inner: st.builds(lambda a, b: a | b, inner, inner),
    max_leaves=4,
)


def kept_over_time(policy: KeepPolicy, candidates: Sequence[Candidate]) -> list[Candidate]:
    """What is left of a run that takes away what it does not keep after every save."""
    there: list[Candidate] = []
    for candidate in candidates:
        there.append(candidate)
        names = decide(policy, there)
        there = [c for c in there if c.name in names]
    return there


def newest_good(candidates: Sequence[Candidate]) -> Candidate | None:
    """The newest that reports metrics, all finite; where there is none, the newest that reports
    nothing.
    """
    finite = [
        c
        for c in candidates
        if c.metrics and all(math.isfinite(value) for value in c.metrics.values())
    ]
    return next(reversed(finite or [c for c in candidates if not c.metrics]), None)


@given(policy=keep_policies, candidates=runs)
def test_the_newest_and_the_newest_finite_are_always_kept(policy, candidates):
    kept = decide(policy, candidates)
    assert set(kept) <= {c.name for c in candidates}
    if candidates:
        assert candidates[-1].name in kept
    good = newest_good(candidates)
    assert good is None or good.name in kept
    assert all(kept.values()), "each with a reason"


@given(policy=keep_policies, candidates=runs)
def test_the_newest_finite_survives_a_run_that_has_diverged(policy, candidates):
    good = newest_good(candidates)
    assert good is None or good in kept_over_time(policy, candidates)


def test_checkpoints_without_metrics_do_not_push_out_the_last_finite_one():
    """A loss that is logged every 10 steps, a save every 5, and NaN from step 20 on."""
    candidates = run_of(
        [{} if step % 10 else {"loss": 1.0 if step < 20 else math.nan} for step in range(5, 60, 5)],
        list(range(5, 60, 5)),
    )
    assert [c.step for c in kept_over_time(ckptkit.KeepLatest(2), candidates)] == [10, 50, 55]


@given(n=counts, candidates=runs)
def test_keep_latest(n, candidates):
    assert set(ckptkit.KeepLatest(n).keep(candidates)) == {c.name for c in candidates[-n:]}


@given(n=counts, mode=st.sampled_from(["min", "max"]), candidates=runs)
def test_keep_best(n, mode, candidates):
    usable = [c for c in candidates if math.isfinite(c.metrics.get("loss", math.nan))]
    in_order = sorted(usable, key=lambda c: c.metrics["loss"], reverse=mode == "max")
    policy = ckptkit.KeepBest("loss", mode=mode, n=n)
    assert [c.metrics["loss"] for c in rank(candidates, "loss", mode)] == [
        c.metrics["loss"] for c in in_order
    ]
    assert set(policy.keep(candidates)) == {c.name for c in rank(candidates, "loss", mode)[:n]}
    left = {c.name for c in kept_over_time(policy, candidates)}
    assert set(policy.keep(candidates)) <= left, (
        "the best of the whole run, though others were taken away on the way"
    )


@given(n=counts, walk=walks)
def test_keep_every_n_steps_for_good(n, walk):
    candidates = run_of([{}] * len(walk), walk)
    kept = ckptkit.KeepEveryNSteps(n).keep(candidates)
    reached = {c.step // n for c in candidates} - {0}
    assert len(kept) == len(reached), "one for each interval that a checkpoint lies in"
    for interval in reached:
        first = next(c for c in candidates if c.step // n == interval)
        assert first.name in kept
    assert set(kept) <= {c.name for c in kept_over_time(ckptkit.KeepEveryNSteps(n), candidates)}


def test_keep_one_of_every_few_hours():
    hours = [0, 1, 2.5, 3, 4, 9, 9.5]
    candidates = [
        Candidate(name=f"c{number}", step=number, saved_at=1e9 + 3600 * hour)
        for number, hour in enumerate(hours)
    ]
    kept = ckptkit.KeepEveryNHours(2).keep(candidates)
    assert list(kept) == ["c0", "c2", "c5"]
    assert kept["c2"] == "one of every 2 hours"
    ahead = [
        Candidate(name=f"c{number}", step=number, saved_at=1e9 + 3600 * hour)
        for number, hour in enumerate((0, 900, 3, 4, 5))
    ]
    assert list(ckptkit.KeepEveryNHours(2).keep(ahead)) == ["c0", "c1", "c2", "c4"]
    for wrong in (0, -1, math.nan, "2", True):
        with pytest.raises(ckptkit.ConfigError, match="hours above 0"):
            ckptkit.KeepEveryNHours(wrong)


def test_reasons_name_their_rules():
    candidates = run_of([{"loss": 0.5}, {"loss": 0.25}, {"loss": math.nan}])
    policy = ckptkit.KeepLatest(1) | ckptkit.KeepBest("loss") | ckptkit.KeepEveryNSteps(20)
    assert decide(policy, candidates) == {
        "c1": "best 1 of 1 by loss (0.25); every 20 steps (first at or after 20)",
        "c2": "latest 1 of 1",
    }
    assert decide(ckptkit.KeepBest("accuracy"), candidates) == {
        "c2": "newest",
        "c1": "newest with finite metrics",
    }
    assert decide(ckptkit.KeepLatest(1), []) == {}


def test_a_policy_without_a_rule_says_so():
    with pytest.raises(TypeError, match="define due"):
        SavePolicy().due(at(), at())
    with pytest.raises(TypeError, match="define keep"):
        KeepPolicy().keep([])


# -- arguments and combinations


@pytest.mark.parametrize(
    "policy",
    [
        ckptkit.EveryNSteps,
        ckptkit.EveryNEpochs,
        ckptkit.KeepLatest,
        ckptkit.KeepEveryNSteps,
        lambda n: ckptkit.KeepBest("loss", n=n),
    ],
)
def test_counts_of_numpy_are_whole_numbers(policy):
    for kind in (np.int64, np.uint8, np.array):
        made = policy(kind(5))
        assert made == policy(5)
        assert type(made.n) is int
    assert ckptkit.EveryNSeconds(np.float32(5)) == ckptkit.EveryNSeconds(np.int64(5))
    for wrong in (np.float64(5), np.bool_(True), np.array([5]), True, 5.0, "5", np.int64(0)):
        with pytest.raises(ckptkit.ConfigError, match="whole number of at least 1"):
            policy(wrong)


@pytest.mark.parametrize(
    "combined",
    [
        lambda: ckptkit.EveryNSteps(5) or ckptkit.OnBest("val_loss"),
        lambda: ckptkit.EveryNSteps(5) and ckptkit.OnBest("val_loss"),
        lambda: (ckptkit.EveryNSteps(5) | ckptkit.EveryNEpochs(1)) or None,
        lambda: ckptkit.KeepLatest(2) or ckptkit.KeepBest("val_loss"),
        lambda: bool(ckptkit.KeepLatest(2) | ckptkit.KeepBest("val_loss")),
    ],
)
def test_policies_are_no_conditions(combined):
    """`or` would silently be the first of the two."""
    with pytest.raises(ckptkit.ConfigError, match=r"(Every|Keep).*Write a \| b"):
        combined()


# -- running averages of an epoch that is not over


def test_running_averages_are_no_record():
    now = replace(at(5, loss=0.1), running_averages=True)
    assert ckptkit.OnBest("loss").due(now, at()) is None
    assert not ckptkit.OnBest("loss").insists(now, at())
    assert not ckptkit.KeepBest("loss", n=2).insists(now, at())
    assert ckptkit.EveryNSteps(5).due(now, at())


def test_running_averages_are_kept_only_in_free_places():
    whole = Candidate(name="whole", step=4, metrics={"loss": 0.5})
    early, late = (
        Candidate(name=name, step=step, metrics={"loss": loss}, running_averages=True)
        for name, step, loss in (("early", 1, 0.2), ("late", 5, 0.1))
    )
    assert list(ckptkit.KeepBest("loss").keep([early, whole, late])) == ["whole"]
    assert list(ckptkit.KeepBest("loss", n=2).keep([early, whole, late])) == ["whole", "late"]
    assert list(ckptkit.KeepBest("loss").keep([early, late])) == ["late"]
