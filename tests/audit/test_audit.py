"""`ckptkit audit` over real trainings: what is exact, what an interruption changes, and what changes by itself."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.audit.conftest import bytes_of
from tests.audit.programs import LOOP, NOISY_FIT
from tests.cli.conftest import DummyRun

STEPS = 60
APART = 4
"""Between the checkpoints that are compared in a run of 60 steps."""


@pytest.mark.parametrize("in_place", [False, True], ids=["copied", "in_place"])
def test_an_exact_training_and_the_users_own_files(audit, tmp_path, seed, in_place):
    """There is a run of that name already, and everything that is there stays as it is, byte for byte."""
    steps = sorted(random.Random(seed).sample(range(APART + 1, STEPS + 1), 2))
    work = tmp_path / "work"
    run = tmp_path / "runs" / "mine" if in_place else Path("runs/demo")
    DummyRun(work / run).attempt().save(7)
    (work / "written.txt").write_text("by the user\n")
    (work / "train.py").write_text(LOOP)
    before = bytes_of(tmp_path)
    options = ["--at", ",".join(map(str, steps)), *(["--in-place"] if in_place else []), "--json"]
    done = audit(*options, program=LOOP, args=[str(run), str(STEPS), "exact"])
    assert done.code == 0, done.stderr
    said = done.said
    assert (said["verdict"], said["kept"], said["seed"]) == ("exact", None, None)
    (shown,) = said["runs"]
    assert (shown["run"], shown["step"], shown["equal"], shown["first"]) == (str(run), STEPS, True, None)
    assert shown["compared"]["variables"] == 3
    assert shown["compared"]["values"] == 12 + 1 + 3
    plain, interrupted = said["trainings"]
    assert plain["interruptions"] == []
    happened = [(each["interrupted_at"], each["signal"], each["exit_code"]) for each in interrupted["interruptions"]]
    assert happened == [(steps[0], "SIGTERM", 75), (steps[1], "SIGKILL", -9)]
    began = shown["began_at"]
    assert began[:2] == [0, steps[0]]
    assert steps[0] <= began[2] < steps[1]  # from a checkpoint before it
    after = bytes_of(tmp_path)
    if in_place:  # what the script writes itself is not kept apart then
        assert after.pop("work/written.txt") != before.pop("work/written.txt")
    assert after == {**before, "work/train.py": after["work/train.py"], "tmp": after["tmp"]}


def test_what_an_interruption_changes_is_found_with_its_step(audit, seed):
    """One value of a variable holds something that is not in the state: the step at which the process began."""
    step = random.Random(seed).randrange(2, STEPS - APART)
    done = audit("--at", str(step), "--signal", "SIGTERM", "--every", "1", "--json", program=LOOP, args=["run", str(STEPS), "forgetful"])
    assert done.code == 1, done.stderr
    said = done.said
    assert said["verdict"] == "inexact"
    assert [each["name"] for each in said["trainings"]] == ["uninterrupted", "interrupted", "uninterrupted-again"]
    (shown,) = said["runs"]
    assert shown["uninterrupted_again"] == {"equal": True, "first_step": None, "differences": []}
    assert [(each["kind"], each["path"]) for each in shown["differences"]] == [("variable", "weight")]
    found = shown["first"]
    assert (found["step"], found["equal_step"], found["attempt"], found["began_at"]) == (step + 1, step, 2, step)
    (difference,) = found["differences"]
    assert (difference["differing"], difference["values"]) == (1, 12)
    assert "[1, 2] is 1.0 and" in difference["words"]
    assert Path(said["kept"], "interrupted", "output.log").read_text().count("ckptkit: new run in") == 1


def test_a_training_that_gives_other_values_each_time(audit):
    """It differs before anything has interrupted it, so that a third training would say nothing new."""
    done = audit("--kills", "1", "--seed", "3", program=LOOP, args=["run", "30", "shaky"])
    assert done.code == 1
    assert "weight" in done.stdout
    assert "first at step 2 (no earlier checkpoint is equal)" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("not reproducible: two trainings differ without any interruption")
    assert "uninterrupted-again" not in done.stderr
    assert "(--seed 3)" in done.stderr


def test_a_seeded_draw_of_tensorflow_in_a_model(audit):
    """`tf.random.normal` with a global seed: the same in each training from its beginning, and not after an interruption."""
    done = audit("--at", "9", program=NOISY_FIT, args=["run", "18", "seeded"])
    assert done.code == 1
    assert "the attempt that began at step 9 is the first that is off" in done.stdout
    assert "first at step 10 (checkpoint of step 8 is equal)" in done.stdout
    assert "two uninterrupted trainings: equal bit for bit" in done.stdout
    assert "ckptkit has noticed: " in done.stdout
    assert "draws from RandomStandardNormal" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("not exact: ")
