"""Puts a Slurm job back into its queue.

Slurm requeues a job by itself if a node fails, or if a preempted job does not end within its grace
time. At a time limit, or if a preempted job ends in time, it has to be asked. A job that is being
ended is COMPLETING. Its reason is TimeLimit at a time limit; a cancelled job has no reason (both
seen with Slurm 22.05).

Sources: https://slurm.schedmd.com/scontrol.html (`requeue`, `show job`),
https://slurm.schedmd.com/sbatch.html (`--requeue`, `--signal`, `SLURM_RESTART_COUNT`).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ckptkit.log import logger

_FIELD = re.compile(r"(?:^|\s)(\w+)=(\S*)")
_TIMEOUT_SECS = 30.0


@dataclass(frozen=True)
class Requeued:
    """A job that is back in its queue.

    Args:
        job: its number.
        restarts: how often it was requeued before, from `SLURM_RESTART_COUNT`.
    """

    job: str
    restarts: int


def why_not(shown: str) -> str | None:
    """Return why a job must not be requeued, or None if it may be.

    Args:
        shown: output of `scontrol show job`: `NAME=VALUE`, separated by spaces.
    """
    # Text of the user, such as a job's name, may look like a field. Slurm's own fields come first.
    fields: dict[str, str] = {}
    for name, value in _FIELD.findall(shown):
        fields.setdefault(name, value)
    if "JobState" not in fields or "Requeue" not in fields:
        return "scontrol does not show both Requeue and JobState for it"
    if fields["JobState"] == "PENDING":
        return "Slurm has already requeued it"
    if fields["JobState"] == "CANCELLED" or (
        fields["JobState"] == "COMPLETING" and fields.get("Reason") != "TimeLimit"
    ):
        return "a user has cancelled it"
    if fields["Requeue"] != "1":
        return "it was submitted without --requeue"
    if fields.get("BatchFlag") == "0":
        return "it is not a batch job: submit it with sbatch"
    return None


def requeue(
    environ: Mapping[str, str],
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run,
) -> Requeued | str:
    """Put this process's job back into the queue; call this last, because Slurm then ends the job.

    Args:
        environ: the environment of this process.
        run: starts `scontrol`.

    Returns:
        The job, or a sentence that says why it was not requeued.
    """
    job = environ.get("SLURM_JOB_ID", "")
    if not job.isdecimal():
        return "this is not a Slurm job"

    def scontrol(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(
            ["scontrol", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECS,
            check=False,
        )

    try:
        shown = scontrol("--oneliner", "show", "job", job)
        if shown.returncode != 0:
            return f"Slurm does not show job {job}: {_words(shown)}"
        if (reason := why_not(shown.stdout)) is not None:
            return f"job {job}: {reason}"
        done = scontrol("requeue", job)
    except FileNotFoundError:
        return f"job {job}: scontrol was not found"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"job {job}: scontrol gave no answer: {error}"
    if done.returncode != 0:
        return f"job {job} was not requeued: {_words(done)}"
    restarts = environ.get("SLURM_RESTART_COUNT", "0")
    return Requeued(job, int(restarts) if restarts.isdecimal() else 0)


def put_back(environ: Mapping[str, str]) -> None:
    """Put this process's job back into the queue, if it is a Slurm job, and log the result."""
    if not environ.get("SLURM_JOB_ID"):
        return
    match requeue(environ):
        case Requeued(job, restarts):
            logger.info(
                "Slurm has put job %s back into its queue (restarted %d times before)",
                job,
                restarts,
            )
        case str(reason):
            logger.warning("the job was not put back into Slurm's queue: %s", reason)


def _words(done: subprocess.CompletedProcess[str]) -> str:
    return (
        " ".join((done.stderr or done.stdout).split()) or f"scontrol ended with {done.returncode}"
    )
