"""Runs drawn at random, killed at random: each ends with the bits of the same run without
interruptions.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.campaigns.exact.compare import Comparison
from tests.campaigns.exact.test_fit import DATA, MODELS

EPOCHS, BATCHES = 3, 9
"""Every kind of data has at least so many batches in an epoch."""

MOMENTS = st.one_of(
    st.builds(
        lambda epoch, batch: {"batch": [epoch, batch]},
        st.integers(0, EPOCHS - 1),
        st.integers(0, BATCHES - 1),
    ),
    st.builds(lambda epoch: {"last": epoch}, st.integers(0, EPOCHS - 1)),
    st.builds(
        lambda epoch, batch: {"evaluation": [epoch, batch]},
        st.integers(0, EPOCHS - 1),
        st.integers(0, 3),
    ),
    st.builds(lambda batches: {"after": batches}, st.integers(1, EPOCHS * BATCHES)),
    st.builds(lambda secs: {"secs": secs}, st.floats(0.0, 4.0).map(lambda secs: round(secs, 2))),
)
"""Where an attempt dies: at a place, after some batches of its own, or at any time whatever it is
doing.
"""

DEATHS = st.lists(
    st.builds(
        lambda moment, signal: {**moment, "signal": signal},
        MOMENTS,
        st.sampled_from(["SIGKILL", "SIGTERM"]),
    ),
    min_size=1,
    max_size=3,
)

RUNS = (
    st.fixed_dictionaries(
        {
            "data": st.sampled_from(DATA),
            "model": st.sampled_from(["dense", *MODELS]),
            "callbacks": st.sampled_from(
                ["none", "stopping", "scheduler", "swap_ema", "best_weights", "own"]
            ),
            "save": st.sampled_from(["1", "2", "5", "epoch", "0.05s"]),
            "validation": st.booleans(),
        }
    )
    .map(lambda run: {**run, "callbacks": "none"} if not _fits(run) else run)
    .filter(lambda run: (run["model"], run["data"]) != ("gan", "validation_split"))
)  # it cannot be evaluated


def _fits(run: dict[str, Any]) -> bool:
    """Whether the callbacks have the metrics, the averages or the learning rate that they need."""
    if run["callbacks"] == "swap_ema":
        return run["model"] == "ema"
    if run["callbacks"] == "best_weights":
        return run["validation"] and run["model"] not in ("gan", "global_seed", "rnn", "embedding")
    return run["model"] != "gan" and (run["callbacks"] == "own" or run["model"] != "cosine")


def check(start: Any, draws: int) -> None:
    @hypothesis.settings(
        max_examples=draws,
        phases=[hypothesis.Phase.generate],
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(run=RUNS, deaths=DEATHS)
    def ends_alike(run: dict[str, Any], deaths: list[dict[str, Any]]) -> None:
        hypothesis.note(f"{run}, deaths: {deaths}")
        with tempfile.TemporaryDirectory() as directory:
            comparison = Comparison(start, Path(directory), **run, epochs=EPOCHS)
            plain = comparison.plain()
            comparison.compare(plain, comparison.interrupted(deaths, may_end=True))

    ends_alike()


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in range(1, 20))]
)
def test_draws(part: int, tf_process: Any) -> None:
    check(tf_process, 10 if part else 2)
