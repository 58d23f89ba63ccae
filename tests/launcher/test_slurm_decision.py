"""Whether a Slurm job is put back into its queue; a real Slurm is in `test_slurm.py`."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptkit.launcher.slurm import Requeued, requeue, why_not

SHOWN = (
    "JobId=7 JobName=digits UserId=root(0) GroupId=root(0) Priority=4294901759 Account=(null) "
    "QOS=(null) JobState=RUNNING Reason=None "
    "Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0 "
    "Command=/home/me/slurm.sbatch WorkDir=/home/me "
)


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (SHOWN, None),
        (SHOWN.replace("Requeue=1", "Requeue=0"), "--requeue"),
        (SHOWN.replace("BatchFlag=1", "BatchFlag=0"), "not a batch job"),
        (SHOWN.replace("JobState=RUNNING", "JobState=PENDING"), "already"),
        (
            SHOWN.replace("JobState=RUNNING Reason=None", "JobState=COMPLETING Reason=TimeLimit"),
            None,
        ),
        (SHOWN.replace("JobState=RUNNING", "JobState=COMPLETING"), "cancelled"),
        (SHOWN.replace("JobState=RUNNING", "JobState=CANCELLED"), "cancelled"),
        (SHOWN + "Comment=Requeue=0 JobState=PENDING", None),
        ("", "does not show both"),
        ("slurm_load_jobs error: Invalid job id specified", "does not show both"),
    ],
)
def test_by_what_slurm_shows(shown, words):
    reason = why_not(shown)
    assert reason is None if words is None else words in reason


FIELDS = st.sampled_from(["JobState", "Requeue", "Reason", "BatchFlag", "JobId", "", "="])
SHOWN_VALUES = st.sampled_from(["RUNNING", "1", "0", "", "None"]) | st.text(max_size=5)


@given(st.lists(st.tuples(FIELDS, SHOWN_VALUES)), st.sampled_from(["JobState=", "Requeue="]))
def test_a_job_of_which_too_little_is_shown_is_never_put_back(fields, missing):
    shown = " ".join(f"{name}={value}" for name, value in fields).replace(missing, "Other=")
    assert "does not show both Requeue and JobState" in str(why_not(shown))


@given(st.sampled_from(["PENDING", "CANCELLED", "COMPLETING"]), st.text("ab =1"))
def test_a_job_that_may_not_be_put_back_is_not_whatever_else_is_shown(job_state, rest):
    assert why_not(f"{SHOWN.replace('JobState=RUNNING', f'JobState={job_state}')} {rest}")


def scontrol(there: Path, show: str, requeued: str) -> dict[str, str]:
    """A program of that name which notes what it is asked."""
    program = there / "scontrol"
    program.write_text(
        f'#!/bin/sh\necho "$*" >>"{there}/asked"\ncase "$*" in *show*) {show};; *) {requeued};; '
        "esac\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"SLURM_JOB_ID": "7"}


def run_there(there: Path):
    return lambda command, **options: subprocess.run(
        command, env={"PATH": f"{there}:{os.environ['PATH']}"}, **options
    )


def asked(there: Path) -> list[str]:
    return (there / "asked").read_text().splitlines()


def test_a_job_is_put_back(tmp_path):
    environ = scontrol(tmp_path, f"echo '{SHOWN}'", "true")
    assert requeue(environ, run_there(tmp_path)) == Requeued("7", 0)
    assert requeue(environ | {"SLURM_RESTART_COUNT": "3"}, run_there(tmp_path)) == Requeued("7", 3)
    assert asked(tmp_path) == ["--oneliner show job 7", "requeue 7"] * 2


@pytest.mark.parametrize(
    ("show", "requeued", "words", "calls"),
    [
        (
            f"echo '{SHOWN}'",
            "echo 'Job is no longer pending execution' >&2; exit 1",
            "no longer pending",
            2,
        ),
        ("echo 'Invalid job id' >&2; exit 1", "true", "Invalid job id", 1),
        (f"echo '{SHOWN.replace('Requeue=1', 'Requeue=0')}'", "true", "without --requeue", 1),
        (r"printf '\377\376'", "true", "does not show both", 1),
    ],
)
def test_what_may_not_be_is_said(show, requeued, words, calls, tmp_path):
    reason = requeue(scontrol(tmp_path, show, requeued), run_there(tmp_path))
    assert words in reason
    assert len(asked(tmp_path)) == calls


def test_where_there_is_no_slurm(tmp_path):
    def run(command, **options):
        raise FileNotFoundError(command[0])

    assert requeue({}, pytest.fail) == "this is not a Slurm job"
    assert requeue({"SLURM_JOB_ID": "7; reboot"}, pytest.fail) == "this is not a Slurm job"
    assert "scontrol was not found" in requeue({"SLURM_JOB_ID": "7"}, run)


def test_a_controller_that_hangs(tmp_path):
    def run(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    assert "gave no answer" in requeue({"SLURM_JOB_ID": "7"}, run)


@pytest.mark.parametrize(
    ("words", "number", "code", "calls"),
    [
        (
            ["open", "step", "save_on:SIGTERM", "wait:never"],
            signal.SIGTERM,
            75,
            ["--oneliner show job 7", "requeue 7"],
        ),
        (
            ["wait:never"],
            signal.SIGUSR1,
            75,
            ["--oneliner show job 7", "requeue 7"],
        ),  # before the training listens: nothing is lost by it
        (["open", "step", "wait:never"], signal.SIGINT, 130, []),
    ],
)
def test_a_launcher_that_has_to_leave_puts_its_job_back(
    words, number, code, calls, launch, tmp_path
):
    environ = scontrol(
        tmp_path, f"echo '{SHOWN}'", 'kill -TERM "$PPID"'
    )  # Slurm ends the job that it has put back
    launched = launch(
        *words, environment=environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ).waits("never")
    launched.process.send_signal(number)
    assert launched.wait() == code
    assert (asked(tmp_path) if calls else (tmp_path / "asked").exists()) == (calls or False)


@pytest.mark.parametrize(("words", "code"), [(["open", "step", "exit:0"], 0), (["exit:78"], 78)])
def test_one_that_need_not_leaves_it(words, code, launch, tmp_path):
    environ = scontrol(tmp_path, f"echo '{SHOWN}'", "true")
    assert (
        launch(*words, environment=environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}).wait()
        == code
    )
    assert not (tmp_path / "asked").exists()
