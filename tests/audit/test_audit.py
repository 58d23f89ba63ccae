"""`ckptkit audit` over real trainings: what is exact, what an interruption changes, and what
changes by itself.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from ckptkit.audit.interruptions import Length, random_moments
from tests.audit.conftest import bytes_of
from tests.audit.programs import CLIENT_FIT, LOOP, MIRRORED_FIT, NOISY_FIT
from tests.cli.conftest import DummyRun

STEPS = 36
APART = 4
"""Between the checkpoints that are compared in a run of so many steps."""


def test_an_exact_training_and_the_users_own_files(audit, tmp_path, seed):
    """There is a run of that name already, and everything that is there stays as it is, byte for
    byte.
    """
    steps = sorted(random.Random(seed).sample(range(APART + 1, STEPS + 1), 2))
    work = tmp_path / "work"
    DummyRun(work / "runs" / "demo").attempt().save(7)
    (work / "written.txt").write_text("by the user\n")
    (work / "train.py").write_text(LOOP)
    before = bytes_of(tmp_path)
    done = audit(
        "--at",
        ",".join(map(str, steps)),
        "--json",
        program=LOOP,
        args=["runs/demo", str(STEPS), "exact"],
    )
    assert done.code == 0, done.stderr
    said = done.said
    assert (said["verdict"], said["kept"], said["seed"]) == ("exact", None, None)
    (shown,) = said["runs"]
    assert (shown["run"], shown["step"], shown["equal"], shown["first"]) == (
        "runs/demo",
        STEPS,
        True,
        None,
    )
    assert shown["compared"]["variables"] == 3
    assert shown["compared"]["values"] == 12 + 1 + 3
    assert any(
        "process" in each for each in shown["compared"]["not_compared"]
    )  # nobody has seeded Python's random numbers, or used them
    plain, interrupted = said["trainings"]
    assert plain["interruptions"] == []
    happened = [
        (each["interrupted_at"], each["signal"], each["exit_code"])
        for each in interrupted["interruptions"]
    ]
    assert happened == [(steps[0], "SIGTERM", 75), (steps[1], "SIGKILL", -9)]
    began = shown["began_at"]
    assert began[:2] == [0, steps[0]]
    assert steps[0] <= began[2] < steps[1]  # from a checkpoint before it
    after = bytes_of(tmp_path)
    assert after == {**before, "work/train.py": after["work/train.py"], "tmp": after["tmp"]}


def test_two_runs_in_place(audit, tmp_path, seed):
    """Killed before the first checkpoint of one, and in the middle of the other; of both there are
    runs of the user's, at absolute paths.
    """
    run = tmp_path / "runs" / "mine"
    lengths = [Length(str(run), STEPS), Length(f"{run}-second", STEPS // 2)]
    drawn_by = next(
        each
        for each in itertools.count(seed)
        if [
            (moment.run, moment.step < bound)
            for moment, bound in zip(random_moments(lengths, 2, each), (APART, STEPS), strict=True)
        ]
        == [(str(run), True), (f"{run}-second", True)]
    )
    for length in lengths:
        DummyRun(Path(length.run)).attempt().save(7)
    before = bytes_of(tmp_path / "runs")
    done = audit(
        "--kills",
        "2",
        "--seed",
        str(drawn_by),
        "--signal",
        "SIGKILL",
        "--in-place",
        "--json",
        program=LOOP,
        args=[str(run), str(STEPS), "two"],
    )
    assert done.code == 0, done.stderr
    said = done.said
    assert (said["verdict"], said["seed"]) == ("exact", drawn_by)
    assert [(each["run"], each["step"]) for each in said["runs"]] == [
        (length.run, length.steps) for length in lengths
    ]
    happened = [
        (each["run"], each["interrupted_at"], each["signal"])
        for each in said["trainings"][1]["interruptions"]
    ]
    assert happened == [
        (moment.run, moment.step, "SIGKILL") for moment in random_moments(lengths, 2, drawn_by)
    ]
    assert said["runs"][0]["began_at"][:2] == [0, 0]
    assert bytes_of(tmp_path / "runs") == before
    assert (tmp_path / "work" / "written.txt").read_text().count(
        "\n"
    ) == 4  # files of the script's own are not kept apart then


def test_what_an_interruption_changes_is_found_with_its_step(audit, seed):
    """One value of a variable holds something that is not in the state: the step at which the
    process began.
    """
    step = random.Random(seed).randrange(2, STEPS - APART)
    done = audit(
        "--at",
        str(step),
        "--signal",
        "SIGTERM",
        "--every",
        "1",
        "--json",
        program=LOOP,
        args=["run", str(STEPS), "forgetful"],
    )
    assert done.code == 1, done.stderr
    said = done.said
    assert said["verdict"] == "inexact"
    assert [each["name"] for each in said["trainings"]] == [
        "uninterrupted",
        "interrupted",
        "uninterrupted-again",
    ]
    (shown,) = said["runs"]
    assert shown["uninterrupted_again"] == {"equal": True, "first_step": None, "differences": []}
    assert [(each["kind"], each["path"]) for each in shown["differences"]] == [
        ("variable", "weight")
    ]
    found = shown["first"]
    assert (found["step"], found["equal_step"], found["attempt"], found["began_at"]) == (
        step + 1,
        step,
        2,
        step,
    )
    (difference,) = found["differences"]
    assert (difference["differing"], difference["values"]) == (1, 12)
    assert "[1, 2] is 1.0 and" in difference["words"]
    assert (
        Path(said["kept"], "interrupted", "output.log").read_text().count("ckptkit: new run in")
        == 1
    )


def test_a_training_that_gives_other_values_each_time(audit):
    """It differs before anything has interrupted it, so that a third training would say nothing
    new.
    """
    done = audit("--kills", "1", "--seed", "3", program=LOOP, args=["run", "30", "shaky"])
    assert done.code == 1
    assert (
        "first at step 2 (no earlier checkpoint is equal), in the attempt that began at step 0:\n "
        "   weight: 12 of 12 values differ" in done.stdout
    )
    assert done.stdout.splitlines()[-1].startswith(
        "not reproducible: two trainings differ without any interruption"
    )
    assert "uninterrupted-again" not in done.stderr
    assert "(--seed 3)" in done.stderr


def test_a_seeded_draw_of_tensorflow_in_a_model(audit):
    """`tf.random.normal` with a global seed: the same in each training from its beginning, and not
    after an interruption.
    """
    done = audit("--at", "9", program=NOISY_FIT, args=["run", "18", "seeded"])
    assert done.code == 1
    assert (
        "  first at step 10 (the checkpoint of step 8 is equal), in the attempt that began at "
        "step 9:\n" in done.stdout
    )
    assert "    model / sequential/first/kernel: 12 of 12 values differ; [0, 0] is " in done.stdout
    assert "  it was started again at step 9\n" in done.stdout
    assert "two uninterrupted trainings: equal bit for bit" in done.stdout
    assert "ckptkit noticed: " in done.stdout
    assert "draws from RandomStandardNormal" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("not exact: ")


def test_a_draw_of_tensorflow_that_is_replaced(audit, seed):
    step = random.Random(seed).randrange(7, 18)
    args = ["run", "18", "seeded", "replace"]
    done = audit("--at", str(step), "--json", program=NOISY_FIT, args=args)
    assert done.code == 0, done.stdout + done.stderr
    assert (done.said["verdict"], done.said["reasons"]) == ("exact", [])


def test_what_cannot_be_saved_is_named(audit, seed):
    """What an open socket holds decides a weight, and is in no checkpoint."""
    # A checkpoint is due after step 2. The training is faster than its first write, and so the
    # audit must wait for it.
    step = random.Random(seed).randrange(3, 17)
    options = ("--at", str(step), "--signal", "SIGKILL")
    done = audit(*options, "--json", program=CLIENT_FIT, args=["run", "18"])
    assert done.code == 1, done.stdout + done.stderr
    assert done.said["verdict"] == "inexact"
    assert {each["name"] for each in done.said["runs"][0]["differences"]} >= {"model/weights/1"}
    for name in ("client", "server"):
        said = f'not saved: callback Client: attribute "{name}" (an open socket)'
        assert said in done.said["reasons"]


def test_an_interruption_before_the_first_checkpoint_tests_nothing(audit):
    done = audit(
        "--at", "1", "--signal", "SIGKILL", "--json", program=CLIENT_FIT, args=["run", "18"]
    )
    assert done.code == 1, done.stdout + done.stderr
    assert done.said["verdict"] == "untested"
    assert done.said["runs"][0]["began_at"] == [0, 0]


@pytest.mark.long
def test_every_replica_of_a_strategy_is_compared(audit, seed):
    step = random.Random(seed).randrange(2, 17)
    done = audit("--at", str(step), "--json", program=MIRRORED_FIT, args=["run", "18"])
    assert done.code == 0, done.output
    said = done.said
    assert said["verdict"] == "exact"
    # The statistics and the loss of the second replica count too.
    assert said["runs"][0]["compared"]["variables"] >= 20
