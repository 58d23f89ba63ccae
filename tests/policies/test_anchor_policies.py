"""When the position in data is saved as a state, as an anchor, or as a count."""

from __future__ import annotations

import random

import pytest

import ckptkit
from ckptkit.policies.anchor_policies import (
    SMALL_BYTES,
    SMALL_ROWS,
    SMALL_SECS,
    PositionCosts,
)


def costs(**given):
    return PositionCosts(
        **{
            "buffered_bytes": 200_000_000,
            "serialize_secs": 7.0,
            "batches": 1000,
            "secs": 1000.0,
            "draw_secs": 0.01,
            **given,
        }
    )


@pytest.mark.parametrize("buffered", [None, 0, SMALL_BYTES])
@pytest.mark.parametrize("secs", [None, 0.0, SMALL_SECS])
def test_a_small_state_is_in_every_checkpoint(buffered, secs):
    found = costs(buffered_bytes=buffered, serialize_secs=secs)
    assert ckptkit.AdaptiveAnchors().form(found) == "state"


def test_a_state_of_unknown_size_is_read_once():
    unknown = costs(buffered_bytes=None, serialize_secs=None)
    assert ckptkit.AdaptiveAnchors().form(unknown) == "state"
    assert ckptkit.AdaptiveAnchors().form(costs(buffered_bytes=None)) == "count"


def test_many_small_rows_are_no_small_state():
    """To read a row takes as long as to read its bytes or longer, and their size may be unknown."""
    policy = ckptkit.AdaptiveAnchors()
    for size in (None, 0):
        few = costs(buffered_rows=SMALL_ROWS, buffered_bytes=size, serialize_secs=None)
        many = costs(buffered_rows=SMALL_ROWS + 1, buffered_bytes=size, serialize_secs=None)
        assert (policy.form(few), policy.form(many)) == ("state", "count")


def test_one_slow_moment_of_the_machine_does_not_make_a_state_large():
    policy = ckptkit.AdaptiveAnchors()
    small = {"buffered_bytes": 100, "buffered_rows": 10, "serialize_secs": 0.02}
    assert [policy.form(costs(**small, readings=readings)) for readings in (1, 2, 3)] == [
        "state",
        "state",
        "count",
    ]


def test_the_first_anchor_of_few_large_rows_does_not_wait_as_for_many_small_ones():
    few = costs(buffered_rows=4000, serialize_secs=None)
    many = costs(buffered_rows=200_000, serialize_secs=None)
    assert few.expected_secs < 1 < 5 < many.expected_secs


def test_the_first_large_state_is_not_read_to_learn_its_size():
    assert ckptkit.AdaptiveAnchors().form(costs(serialize_secs=None)) == "count"


def test_an_anchor_is_due_if_drawing_takes_longer_than_allowed():
    policy = ckptkit.AdaptiveAnchors(redraw_secs=60)
    assert policy.form(costs(serialize_secs=4.0, draw_secs=0.0599)) == "count"
    assert policy.form(costs(serialize_secs=4.0, draw_secs=0.0601)) == "anchor"
    # 1 % of the time since the anchor, if that is longer.
    long = {"secs": 10_000.0, "batches": 1000}
    assert policy.form(costs(draw_secs=0.099, **long)) == "count"
    assert policy.form(costs(draw_secs=0.101, **long)) == "anchor"


def test_an_anchor_waits_until_training_has_earned_it():
    policy = ckptkit.AdaptiveAnchors(redraw_secs=1, share=0.01)
    # Twice its share, because a busy machine may take longer the next time.
    assert policy.form(costs(secs=1399.0, draw_secs=1.0)) == "count"
    assert policy.form(costs(secs=1401.0, draw_secs=1.0)) == "anchor"


def test_one_anchor_keeps_the_bound_though_buffers_are_full_and_empty_in_turn():
    """At the end of an epoch a buffer is nearly empty, and reading it says little of a full one."""
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    policy = ckptkit.AdaptiveAnchors(redraw_secs=0, share=0.01)
    full, secs, read = rng.uniform(0.5, 3), 0.0, []
    anchors = 0
    for _ in range(20_000):
        secs += rng.uniform(0.5, 1.5)
        found = costs(
            buffered_rows=int(full * 10_000),
            buffered_bytes=10**6,
            serialize_secs=min(read[-3:], default=None),
            longest_secs=max(read[-10:], default=None),
            readings=min(len(read), 3),
            batches=int(secs) + 1,
            secs=secs,
            draw_secs=1.0,
        )
        if policy.form(found) == "anchor":
            read.append(full * (rng.choice([0.05, 0.9, 1.0]) if anchors % 5 else 1.0))
            assert read[-1] <= policy.share * secs
            secs, anchors = 0.0, anchors + 1
    assert anchors > 10


def test_reading_anchors_never_takes_more_than_its_share():
    """Whatever a run measures: a simulated run with random costs."""
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(50):
        policy = ckptkit.AdaptiveAnchors(redraw_secs=rng.uniform(0, 100), share=rng.uniform(0, 0.1))
        serialize, draw, step = rng.uniform(0.01, 9), rng.uniform(0.001, 0.1), rng.uniform(0.1, 2)
        total = spent = 0.0
        since = 0
        for _ in range(3000):
            total, since = total + step, since + 1
            found = costs(
                serialize_secs=serialize, batches=since, secs=since * step, draw_secs=draw
            )
            if policy.form(found) == "anchor":
                spent, since = spent + serialize, 0
        assert spent <= policy.share * total + 1e-9


@pytest.mark.parametrize("n", [1, 3, 7])
def test_every_n_batches(n):
    policy = ckptkit.AnchorEveryNBatches(n)
    assert [policy.form(costs(batches=each)) for each in (0, n - 1, n, n + 1)] == [
        "count",
        "anchor" if n == 0 else "count",
        "anchor",
        "anchor",
    ]


def test_no_anchors():
    assert ckptkit.NoAnchors().form(costs(batches=10**9, secs=1e9)) == "count"


@pytest.mark.parametrize(
    "make",
    [
        lambda: ckptkit.AdaptiveAnchors(redraw_secs=-1),
        lambda: ckptkit.AdaptiveAnchors(redraw_secs=float("nan")),
        lambda: ckptkit.AdaptiveAnchors(share=2),
        lambda: ckptkit.AnchorEveryNBatches(0),
        lambda: ckptkit.AnchorEveryNBatches(1.5),
    ],
)
def test_invalid_arguments(make):
    with pytest.raises(ckptkit.ConfigError, match="Received"):
        make()
