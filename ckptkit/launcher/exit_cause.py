"""Determines why a training ended, from its exit code, its output and its reports. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ckptkit.exit_codes import SIGNAL_BASE, ExitCode
from ckptkit.run.launcher_channel import ChannelState, Failure

Cause = Literal[
    "finished",
    "preempted",
    "exception",
    "exit",
    "signal",
    "memory",
    "hang",
    "killed",
    "machine",
    "launcher",
]
"""Why a training ended, in one word.

`exit` is an exit code without an exception. `killed` means killed together with its launcher, as in
a container, or below a program that hides the signal, such as a shell's pipe. `machine`: it was
lost with its machine. `launcher`: only its launcher was killed.
"""

CRASHES: frozenset[Cause] = frozenset({"exception", "exit", "signal", "memory", "hang", "killed"})

OUT_OF_MEMORY = frozenset({"MemoryError", "_ArrayMemoryError", "ResourceExhaustedError"})
"""The exceptions of Python, NumPy and TensorFlow that mean "out of memory"."""

MOST_LINES = 20
_LAST_LINE = re.compile(r"(?:\w+\.)*(\w+)(?:: (.*))?")


@dataclass(frozen=True, kw_only=True)
class ExitCause:
    """What is known about the end of a training.

    Args:
        cause: the cause in one word.
        words: the cause as a phrase for people.
        code: its exit code; None if a signal ended it, or if unknown.
        signal: the name of the signal that ended it, or empty.
        failure: the exception that the training reported or printed, or None.
        heard: whether a training has reported anything on the channel.
        trained: whether it had finished a step.
        asked: whether it stopped because of `ckptkit stop`.
        reason: the request for which it stopped, as it reported: a signal's name, or words; else
            empty.
        advanced: whether the newest committed step of a run is later than at the start.
        step: the newest committed step.
        last_lines: the end of the traceback.
        attempt: the attempt number that it reported, or 0.
        reached: the last finished step that it reported, or None.
    """

    cause: Cause
    words: str
    code: int | None = None
    signal: str = ""
    failure: Failure | None = None
    heard: bool = False
    trained: bool = False
    asked: bool = False
    reason: str = ""
    advanced: bool = False
    step: int = 0
    last_lines: tuple[str, ...] = ()
    attempt: int = 0
    reached: int | None = None

    @property
    def shell_code(self) -> int:
        """The exit code as in a shell: above 128 for a signal, 0 only if training finished."""
        if self.code is not None:
            return self.code or (0 if self.cause == "finished" else 1)
        return SIGNAL_BASE + signal.Signals[self.signal] if self.signal else 1


def exit_cause_of(
    *,
    pid: int,
    code: int | None,
    signal_number: int | None,
    state: ChannelState | None,
    hung_secs: float | None,
    oom_kills: int,
    printed: Sequence[str],
    advanced: bool,
    step: int,
) -> ExitCause:
    """Return why a training ended, and what is known about its end.

    Args:
        pid: the process that was started.
        code: its exit code, or None.
        signal_number: the signal that ended it, or None.
        state: the training's last report on the channel.
        hung_secs: the seconds without progress after which the launcher ended it; None if it did
            not.
        oom_kills: how many processes of its control group the kernel has killed since its start,
            because memory ran out.
        printed: the last lines of its standard error.
        advanced: whether a run that it trained has a newer committed step than at the start.
        step: the newest committed step of the run that it reported last.
    """
    if code is not None and code > SIGNAL_BASE and code - SIGNAL_BASE in signal.valid_signals():
        # A shell that started the training reports a signal in this way.
        dead_by: int | None = code - SIGNAL_BASE
    else:
        dead_by = signal_number
    name = _signal_name(dead_by) if dead_by is not None else ""
    failure, lines = state.failure if state is not None else None, _traceback(printed)
    if (
        failure is None
        and lines
        and code not in (0, None)
        and (match := _LAST_LINE.fullmatch(lines[-1]))
    ):
        failure = Failure(error=match[1], message=match[2] or "")
    outcome = state.outcome if state is not None else ""
    vanished = code == 0 and _has_vanished(state, pid)
    # A pipeline ends with the exit code of its last program, so 0 proves nothing if the training
    # reported another end. But if the started process is the training itself, it may have caught
    # its exception and ended normally.
    contradicted = state is not None and (
        outcome == "preempted" or (outcome == "failed" and state.pid != pid)
    )
    cause: Cause
    if code == 0 and not contradicted and not vanished:
        cause, words = "finished", "ended with exit code 0"
    elif hung_secs is not None:
        cause, words = "hang", f"made no progress for {hung_secs:.0f} s and was ended"
    elif (outcome == "preempted" and dead_by != signal.SIGKILL) or code == ExitCode.PREEMPTED:
        cause, words = (
            "preempted",
            "saved its state and "
            f"stopped{f' ({state.reason})' if state is not None and state.reason else ''}",
        )
    elif oom_kills and (dead_by == signal.SIGKILL or vanished):
        cause, words = "memory", "was killed by the kernel, because it ran out of memory"
    elif failure is not None and failure.error in OUT_OF_MEMORY:
        cause, words = "memory", f"ran out of memory: {_shown(failure)}"
    elif dead_by == signal.SIGABRT and any("std::bad_alloc" in line for line in printed):
        cause, words = "memory", "ran out of memory: std::bad_alloc"
    elif dead_by is not None:
        cause, words = "signal", f"was ended by {name}"
    elif failure is not None:
        cause, words = "exception", f"ended with an exception: {_shown(failure)}"
    elif vanished and state is not None:
        cause, words = (
            "killed",
            f"disappeared at step {state.step} and reported no end (process {state.pid}); the "
            f"program that started it ended with exit code 0",
        )
    else:
        cause, words = (
            "exit",
            f"ended with exit code {code}{', and has said that it failed' if code == 0 else ''}",
        )
    return ExitCause(
        cause=cause,
        words=words,
        code=code,
        signal=name,
        failure=failure,
        heard=state is not None,
        trained=state is not None and state.trained,
        asked=state is not None and state.asked,
        reason=state.reason if state is not None and outcome == "preempted" else "",
        # A worker without the run directory says itself what the first one has saved.
        advanced=advanced or (state is not None and state.saved > 0),
        step=max(step, state.saved) if state is not None else step,
        last_lines=tuple(lines) if cause in ("exception", "memory") else (),
        attempt=state.attempt if state is not None else 0,
        reached=state.step if state is not None and state.trained else None,
    )


def _has_vanished(state: ChannelState | None, pid: int) -> bool:
    """Return whether a descendant of the started process had a run open and reported no end.

    The exit code is that of the started process, such as a shell. If the started process trains
    itself, its exit code counts, because a program may end without closing its run.
    """
    return (
        state is not None
        and bool(state.run or state.attempt)
        and not state.outcome
        and state.pid != pid
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _shown(failure: Failure) -> str:
    message = failure.message.strip().partition("\n")[0]
    return f"{failure.error}: {message}" if message else failure.error


def _traceback(printed: Sequence[str]) -> list[str]:
    """Return the end of the last traceback, without lines that were printed after it."""
    starts = [
        number
        for number, line in enumerate(printed)
        if line.startswith("Traceback (most recent call last)")
    ]
    if not starts:
        return []
    lines = list(printed[starts[-1] :])
    ends = [
        number
        for number, line in enumerate(lines)
        if number and line and not line[0].isspace() and _LAST_LINE.fullmatch(line)
    ]
    return lines[: ends[0] + 1][-MOST_LINES:] if ends else lines[-MOST_LINES:]
