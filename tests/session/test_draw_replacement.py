"""`exact="replace"`: draws in traced functions go on as if nothing had happened."""

from __future__ import annotations

import random
import signal

import pytest

PROGRAMS = "tests.session.draw_programs"


def after_two_kills(tf_call, tmp_path, program, seed, *more):
    """Return what a program ends with after two kills, and what without."""
    whole = tf_call(f"{PROGRAMS}:{program}", str(tmp_path / "whole"), seed, 0, *more).check()
    deaths = random.Random(seed).sample(range(3, 6), 2)
    print(f"killed after {deaths}")
    for dies in deaths:
        process = tf_call(f"{PROGRAMS}:{program}", str(tmp_path / "killed"), seed, dies, *more)
        assert process.wait() == -signal.SIGKILL, process.output()
    killed = tf_call(f"{PROGRAMS}:{program}", str(tmp_path / "killed"), seed, 0, *more).check()
    assert "not exact" not in whole.output() + killed.output()
    return killed.result, whole.result


@pytest.mark.parametrize(
    ("options", "earlier"),
    [({}, True), ({"steps_per_execution": 2}, False), ({"jit_compile": True}, False)],
)
def test_a_variational_autoencoder(tf_call, tmp_path, seed, options, earlier):
    killed, whole = after_two_kills(tf_call, tmp_path, "vae", seed, options, earlier)
    assert killed == whole


@pytest.mark.parametrize("jit", [False, True])
def test_a_loop_of_two_networks(tf_call, tmp_path, seed, jit):
    killed, whole = after_two_kills(tf_call, tmp_path, "gan", seed, jit)
    assert killed == whole


def test_branches_loops_inner_functions_and_all_operations(tf_call, tmp_path, seed):
    killed, whole = after_two_kills(tf_call, tmp_path, "places", seed)
    assert killed == whole
    assert len({tuple(each) for each in whole}) == 14
    other = tf_call(f"{PROGRAMS}:places", str(tmp_path / "other"), seed + 1, 0).check().result
    assert other != whole, "the seed of the program has no effect"


def test_a_seed_begins_anew_in_a_function_that_an_earlier_run_traced(tf_call, tmp_path, seed):
    """As in a cross-validation, which sets the seed of each fold, and skips finished ones."""
    seeds = [seed, seed + 1]
    both = tf_call(f"{PROGRAMS}:two_runs", str(tmp_path / "both"), seeds, False).check().result
    second = tf_call(f"{PROGRAMS}:two_runs", str(tmp_path / "one"), seeds, True).check().result
    assert both == second


@pytest.mark.parametrize(
    ("exact", "operation", "cure"),
    [
        ("replace", "RandomStandardNormal", "Trace this function there"),
        (
            "replace",
            "LogUniformCandidateSampler",
            "exact='replace' cannot replace LogUniformCandidateSampler: use ",
        ),
        ("require", "RandomStandardNormal", "Pass exact='replace'"),
        ("warn", "RandomStandardNormal", "Pass exact='replace'"),
    ],
)
def test_what_is_not_replaced_is_named_with_a_cure(tf_call, tmp_path, exact, operation, cure):
    candidates = "Candidate" in operation
    process = tf_call(f"{PROGRAMS}:not_replaced", str(tmp_path / "run"), exact, candidates)
    said = process.check().result
    (words,) = [said] if isinstance(said, str) else said
    assert isinstance(said, str) == (exact == "require")
    assert f"the loop draws from {operation}, whose" in words
    assert cure in words


def test_all_else_stays_as_it_is(tf_call, tmp_path):
    found = tf_call(f"{PROGRAMS}:untouched", str(tmp_path / "run")).check().result
    assert found == dict.fromkeys(found, True)


def test_the_distributions_are_right(tf_call, tmp_path, seed):
    """Each bound is at least five standard errors wide."""
    found = tf_call(f"{PROGRAMS}:moments", str(tmp_path / "run"), seed).check().result
    expected = {
        "normal": (2, 9, 0.05, 0.21),
        "uniform": (1, 4 / 3, 0.02, 0.02),
        "truncated": (0, 0.7737, 0.015, 0.02),
        "integers": (6.5, 8.25, 0.05, 0.12),
        "gamma": (0.25, 0.125, 0.006, 0.008),
        "poisson": (4, 4, 0.04, 0.1),
        "categories": (0.8, 0.16, 0.007, 0.005),
        "shuffled": (0.5, 1 / 12, 0.015, 0.005),
        "vectorized": (0, 1, 0.05, 0.08),
    }
    assert found.keys() == expected.keys()
    for name, (mean, variance, mean_bound, variance_bound) in expected.items():
        assert abs(found[name][0] - mean) < mean_bound, (name, found[name])
        assert abs(found[name][1] - variance) < variance_bound, (name, found[name])
