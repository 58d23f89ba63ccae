"""Decides whether to restart a training after its end. Pure.

An ordered stop costs nothing. All other ends count against two budgets. Both are reset when the
newest committed step advances, so a training that crashes sometimes but makes progress is restarted
each time.

- Crashes within a window, with or without progress: a driver, a network or a disk that fails for a
  while.
- Starts that could have saved but committed no newer checkpoint: they trained, hung, or stopped
without an order. A crash before the first step counts for the first budget while it is in the
window. After that it counts here, so that a training that crashes slowly is not restarted for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ckptkit.exit_codes import PERMANENT_CODES, PERMANENT_ERRORS, ExitCode
from ckptkit.launcher.exit_cause import CRASHES, Cause, ExitCause
from ckptkit.launcher.launcher_settings import Settings

_HARMLESS = frozenset({"SIGCONT"})
"""Signals that are not a request to end."""


@dataclass(frozen=True)
class EarlierEnd:
    """An earlier end of a training of the same run.

    Args:
        time: when it ended, in seconds since the epoch.
        cause: why it ended.
        advanced: whether the newest committed step had advanced.
        trained: whether it had finished a step.
        stop_ordered: whether the end was ordered by a notice, a forwarded signal, or `ckptkit
            stop`.
    """

    time: float
    cause: Cause
    advanced: bool
    trained: bool = True
    stop_ordered: bool = False


@dataclass(frozen=True)
class StopContext:
    """Signals and notices that the launcher received while the training ran.

    Args:
        notice: the notice that the machine will go away, in words; empty if there is none.
        warned: whether SIGUSR1 came; it counts as a batch system's warning if the training stopped
            for it.
        interrupted: whether Ctrl-C was pressed.
        signals: names of the signals that were passed on.
    """

    notice: str = ""
    warned: bool = False
    interrupted: bool = False
    signals: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RestartDecision:
    """What the launcher does after a training has ended, and why.

    Args:
        restart: whether to start the training again.
        reason: the reason in words.
        exit_code: the launcher's exit code if it does not restart.
        most_wait_secs: the longest random wait before the next start.
        elsewhere: whether the machine goes away, so that the training has to continue later or on
            another one.
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
    """Decide whether to restart a training that has just ended.

    Args:
        ending: how it ended.
        past: the earlier ends of this run, oldest first, including those under other launchers.
        stops: the signals and notices that the launcher received while it ran.
        settings: the budgets.
        now: seconds since the epoch.
    """
    if ending.cause == "finished":
        return _stop(0, "it has finished")
    if stops.interrupted or ending.signal == "SIGINT":
        return _stop(ExitCode.INTERRUPTED, "it was interrupted (SIGINT)")
    # With exit code 0 if the training reported another end, for example in a pipeline.
    if ending.code and ending.code in PERMANENT_CODES:
        return _stop(ending.code, f"exit code {ending.code} means that a restart cannot help")
    failure = ending.failure
    if failure is not None and (not failure.restart or failure.error in PERMANENT_ERRORS):
        return _stop(
            PERMANENT_ERRORS.get(failure.error, ExitCode.CONFIG),
            f"{failure.error} would be raised again at the next start",
        )
    if ending.asked:
        # The order counts, whatever end followed: the training must not be restarted anywhere.
        return _stop(ExitCode.PREEMPTED, "it was asked to stop")
    if stops.notice or (
        stops.warned and (ending.cause == "preempted" or ending.signal == "SIGUSR1")
    ):
        # Always 75, whatever the training's own end was. The service that starts it on the next
        # machine knows only this code, and the training may have failed after its save or while
        # importing.
        reason = (
            f"the machine goes away ({stops.notice or 'SIGUSR1'}); the next start continues from "
            f"step {ending.step}"
        )
        return RestartDecision(False, reason, exit_code=ExitCode.PREEMPTED, elsewhere=True)
    if ending.cause == "preempted":
        if ending.reason in stops.signals or (not ending.reason and stops.signals - _HARMLESS):
            return _stop(
                ExitCode.PREEMPTED,
                "it was told to stop "
                f"({ending.reason or ', '.join(sorted(stops.signals - _HARMLESS))}), which was "
                "passed on to it",
            )
        again = RestartDecision(
            True,
            "it was told to stop, and the launcher has received no notice that the machine "
            "goes away",
        )
        return _unless_stuck(ending, past, settings, now, again)
    if ending.signal in stops.signals:
        return _stop(ending.shell_code, f"{ending.signal} was passed on to it")
    # A worker that has lost another one says nothing of its own program.
    if (
        ending.code != ExitCode.WORKER_LOST
        and not ending.trained
        and (
            ending.cause in ("exception", "exit")
            or (ending.cause == "memory" and not ending.signal)
        )
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
    """Compare the ends since the newest committed step last advanced with the budgets.

    Args:
        otherwise: the decision if no budget is spent; None for a crash, after which the training is
            restarted.
    """
    since: list[EarlierEnd] = []
    for each in [*past, EarlierEnd(now, ending.cause, ending.advanced, ending.trained)]:
        if each.cause == "finished" or each.advanced:
            since = []
        if not each.advanced and not each.stop_ordered:
            since.append(each)
    oldest = now - settings.window_secs
    crashes = max(sum(each.cause in CRASHES and each.time > oldest for each in since), 1)
    idle = sum(_made_nothing(each, oldest) for each in since)
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
    progress = (
        f"it had advanced to step {ending.step}"
        if ending.advanced
        else f"{_times(crashes)} since the run last advanced, of {settings.crashes}"
    )
    return RestartDecision(True, f"it {ending.words}; {progress}", most_wait_secs=wait)


def _made_nothing(past: EarlierEnd, oldest: float) -> bool:
    """Return whether a start could have committed a checkpoint but did not."""
    return past.cause == "preempted" or (
        past.cause in CRASHES and (past.trained or past.cause == "hang" or past.time <= oldest)
    )


def _times(crashes: int) -> str:
    return f"{crashes} crash{'es' if crashes != 1 else ''}"


def _stop(code: int, reason: str) -> RestartDecision:
    return RestartDecision(False, reason, exit_code=code)
