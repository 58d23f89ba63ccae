"""Whether a training is started again: a pure decision.

Being told to go away costs nothing. What else ends a training is counted by two budgets, and both
begin anew only where the newest committed step has advanced: a training that crashes now and then
but gets on is started again for as long as that lasts.

- Crashes within a window, whatever came of the start: a driver, a network or a disk that is ill for
  a while.
- Starts that had their chance and came to nothing: they trained, or hung, or stopped unasked, and
  no newer checkpoint is there. What dies before its first step has had none while it is young, so
  that its budget is the first one; once it is older than the window it counts here, so that what
  dies slowly does not go on for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ckptkit.exit_codes import PERMANENT_CODES, PERMANENT_ERRORS, ExitCode
from ckptkit.launcher.exit_cause import CRASHES, Cause, ExitCause
from ckptkit.launcher.launcher_settings import Settings

_NO_WISH = frozenset({"SIGCONT"})
"""Signals that nobody means an end by."""


@dataclass(frozen=True)
class EarlierEnd:
    """An earlier end of the same run.

    Args:
        time: when, in seconds since the epoch.
        cause: why.
        advanced: whether the newest committed step had advanced.
        trained: whether it had made a step.
        told: whether it was told to go: by a notice, a signal that was passed on, or somebody's
            wish.
    """

    time: float
    cause: Cause
    advanced: bool
    trained: bool = True
    told: bool = False


@dataclass(frozen=True)
class StopContext:
    """What the launcher was stops.

    Args:
        notice: that the machine goes away, in words; empty where nobody said so.
        warned: by SIGUSR1, which is a batch system's word where the training takes it for one, and
            something else where it goes on.
        interrupted: whether somebody pressed Ctrl-C.
        signals: names of the signals that were passed on.
    """

    notice: str = ""
    warned: bool = False
    interrupted: bool = False
    signals: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RestartDecision:
    """What the launcher does.

    Args:
        restart: whether it starts the training again.
        reason: in words.
        exit_code: with which it ends, where it does not.
        most_wait_secs: it waits for a random time up to this before it starts again.
        elsewhere: the machine goes away, and the training is to go on at another place or time.
    """

    restart: bool
    reason: str
    exit_code: int = 0
    most_wait_secs: float = 0.0
    elsewhere: bool = False


def decide(
    ending: ExitCause,
    past: Sequence[EarlierEnd],
    stops: StopContext,
    settings: Settings,
    now: float,
) -> RestartDecision:
    """Decides. A training that was told to go and has not finished ends with 75, whatever it ended
    with itself: whoever starts it on the next machine knows the launcher's codes only, and it may
    have been importing still, or have failed after its save.

    Args:
        ending: how the training has ended just now.
        past: earlier ends of this run, oldest first, those that other launchers have told of among
            them.
        told: what the launcher was told while it ran.
        settings: the budgets.
        now: seconds since the epoch.
    """
    if ending.cause == "finished":
        return _stop(0, "it has finished")
    if stops.interrupted or ending.signal == "SIGINT":
        return _stop(ExitCode.INTERRUPTED, "it was interrupted (SIGINT)")
    # Code 0 gets here if the training reported another end, as below a pipeline.
    if ending.code and ending.code in PERMANENT_CODES:
        return _stop(ending.code, f"exit code {ending.code} says that starting again cannot help")
    failure = ending.failure
    if failure is not None and (not failure.restart or failure.error in PERMANENT_ERRORS):
        return _stop(
            PERMANENT_ERRORS.get(failure.error, ExitCode.CONFIG),
            f"{failure.error} would come again at the next start",
        )
    if (
        ending.asked
    ):  # whatever it ended with after that: nobody waits for it to come back, here or elsewhere
        return _stop(ExitCode.PREEMPTED, "somebody asked it to stop")
    if stops.notice or (
        stops.warned and (ending.cause == "preempted" or ending.signal == "SIGUSR1")
    ):
        reason = f"the machine goes away ({stops.notice or 'SIGUSR1'}); the next start goes on from step {ending.step}"
        return RestartDecision(False, reason, exit_code=ExitCode.PREEMPTED, elsewhere=True)
    if ending.cause == "preempted":
        if ending.reason in stops.signals or (not ending.reason and stops.signals - _NO_WISH):
            return _stop(
                ExitCode.PREEMPTED,
                "it was told to stop "
                f"({ending.reason or ', '.join(sorted(stops.signals - _NO_WISH))}), which was "
                "passed on to it",
            )
        again = RestartDecision(
            True, "it was told to stop, and nobody has told the launcher that the machine goes away"
        )
        return _unless_stuck(ending, past, settings, now, again)
    if ending.signal in stops.signals:
        return _stop(ending.shell_code, f"{ending.signal} was passed on to it")
    if not ending.trained and (
        ending.cause in ("exception", "exit") or (ending.cause == "memory" and not ending.signal)
    ):
        heard = (
            "before its first step" if ending.heard else "and no training run was heard of before"
        )
        return _stop(ending.shell_code, f"it {ending.words}, {heard}: a bug, not a machine")
    return _unless_stuck(ending, past, settings, now, None)


def _unless_stuck(
    ending: ExitCause,
    past: Sequence[EarlierEnd],
    settings: Settings,
    now: float,
    otherwise: RestartDecision | None,
) -> RestartDecision:
    """Counts what has come since the newest committed step last advanced."""
    since: list[EarlierEnd] = []
    for each in [*past, EarlierEnd(now, ending.cause, ending.advanced, ending.trained)]:
        if each.cause == "finished" or each.advanced:
            since = []
        if not each.advanced and not each.told:
            since.append(each)
    oldest = now - settings.window_secs
    crashes = max(sum(each.cause in CRASHES and each.time > oldest for each in since), 1)
    idle = sum(_came_to_nothing(each, oldest) for each in since)
    if otherwise is None and crashes > settings.crashes:
        return _stop(
            ExitCode.ERROR,
            f"{_times(crashes)} in {settings.window_secs:g} s, and {settings.crashes} may be",
        )
    if idle >= settings.no_progress:
        return _stop(
            ExitCode.NO_PROGRESS,
            f"the newest checkpoint, of step {ending.step}, has not advanced in {idle} starts",
        )
    if otherwise is not None:
        return otherwise
    wait = min(settings.backoff_max_secs, settings.backoff_secs * 2.0 ** min(crashes - 1, 30))
    gets_on = (
        f"it had advanced to step {ending.step}"
        if ending.advanced
        else f"{_times(crashes)} since the run last advanced, of {settings.crashes}"
    )
    return RestartDecision(True, f"it {ending.words}; {gets_on}", most_wait_secs=wait)


def _came_to_nothing(past: EarlierEnd, oldest: float) -> bool:
    """Whether a start without a newer checkpoint counts as one that had its chance."""
    return past.cause == "preempted" or (
        past.cause in CRASHES and (past.trained or past.cause == "hang" or past.time <= oldest)
    )


def _times(crashes: int) -> str:
    return f"{crashes} crash{'es' if crashes != 1 else ''}"


def _stop(code: int, reason: str) -> RestartDecision:
    return RestartDecision(False, reason, exit_code=code)
