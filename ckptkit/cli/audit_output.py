"""Prints the progress of `ckptkit audit` on standard error, and its result."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from ckptkit.audit.audited_training import Trained
from ckptkit.audit.auditing import INTERRUPTED, Audit, AuditPlan, Say
from ckptkit.audit.bit_comparison import BitComparison, BitDifference
from ckptkit.audit.first_difference import First, TrainingResult
from ckptkit.audit.interruptions import InterruptionMoment, Length
from ckptkit.cli.console import print_line
from ckptkit.cli.plain_text import count, duration, plain
from ckptkit.run.launcher_channel import ChannelState

_MOST_SHOWN = 5
_WORDS = {
    "exact": "exact: the interrupted training ended with the same bits",
    "inexact": "not exact: the interrupted training ended with other bits, while two "
    "uninterrupted ones ended with the same",
    "not_reproducible": "not reproducible: two trainings differ without any interruption, so "
    "the effect of interruptions cannot be measured",
    "untested": "not tested: no attempt of the interrupted training restored a checkpoint",
}
_CAUSES = {
    "inexact": (
        "Values that are not in the state start from the beginning after an interruption. Look "
        "for: "
        "tf.random.* without a generator (pass exact='replace'; or use tf.random.Generator or "
        "keras.random with a SeedGenerator, and put it into the state); Python objects that "
        "training changes and the state does not contain; files that the script reads back; data "
        "from generators. "
        "docs/exactness.md has the list."
    ),
    "not_reproducible": (
        "The script itself gives different values each time. Look for: random numbers without a "
        "seed (call ckptkit.seeded(run) first); operations that add in a varying "
        "order (call tf.config.experimental.enable_op_determinism()); data in a varying order "
        "(deterministic=False, the order of a directory or a set); the clock. "
        "docs/exactness.md has the list."
    ),
    "untested": (
        "Each interruption came before the first checkpoint, or after the end of training. "
        "Expected an interruption that a later attempt resumes from. Name later steps with --at, "
        "or let SIGTERM interrupt: it saves before the training ends."
    ),
}


class AuditOutput(Say):
    """The progress of an audit, printed on standard error.

    Each event is a line; a terminal shows the current step as well.

    Args:
        plan: the plan of the audit.
        command: the audited command.
    """

    def __init__(self, plan: AuditPlan, command: Sequence[str]) -> None:
        self._plan, self._command = plan, command
        self._total = 0
        self._name = ""
        self._status: Any = None

    def __enter__(self) -> AuditOutput:
        if sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True, highlight=False).status("")
            self._status.start()
        self._line(f"audit of: {shlex.join(self._command)}")
        self._line(f"working in {self._plan.home}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def begins(
        self, training: str, lengths: Sequence[Length], planned: Sequence[InterruptionMoment]
    ) -> None:
        self._name, self._total = training, sum(length.steps for length in lengths)
        moments = f", interrupted at {_moments(planned)}" if planned else ""
        # Steps from --at can be repeated without a seed.
        seed = f" (--seed {self._plan.seed})" if planned and not self._plan.at else ""
        self._line(
            f"{training}: {f'{self._total:,} steps' if self._total else 'begins'}{moments}{seed}"
        )

    def tells(
        self, start: int, said: ChannelState | None, moment: InterruptionMoment | None
    ) -> None:
        """Show a report of the training."""
        if moment is not None and said is not None:
            self._line(f"{self._name}: {moment.signal} at step {said.step:,}")
        elif self._status is not None:
            from rich.text import Text

            of = f" of {self._total:,}" if self._total else ""
            where = (
                "starting"
                if said is None or not said.run
                else f"step {said.step:,}{of} ({said.phase})"
            )
            self._status.update(Text(f"{self._name}, start {start}: {where}"))

    def ended(self, training: str, trained: Trained) -> None:
        self._line(f"{training}: ended after {duration(trained.secs)}")

    def compares(self, run: str) -> None:
        self._line(f"comparing {run}")

    def _line(self, text: str) -> None:
        if self._status is not None:
            from rich.text import Text

            self._status.console.print(Text(plain(text)), soft_wrap=True)
        else:
            click.echo(plain(text), err=True)


def _moments(planned: Sequence[InterruptionMoment]) -> str:
    several = len({moment.run for moment in planned}) > 1
    return ", ".join(
        f"{f'{moment.run} ' if several else ''}{moment.step:,} ({moment.signal})"
        for moment in planned
    )


# -- for people


def print_audit(audit: Audit, plan: AuditPlan, kept: Path | None) -> None:
    """Print the result for people.

    Args:
        audit: the result.
        plan: the plan of the audit.
        kept: the directory with both trainings if it was kept, else None.
    """
    again = {result.run: result for result in audit.again or ()}
    for result in audit.results:
        _show_run(result, again.get(result.run))
        starts = audit.began_at.get(result.run, [])
        if len(starts) > 1:
            print_line(f"  it was started again at {_steps(starts[1:])}")
        if own := audit.own.get(result.run):
            print_line(
                f"  {count(len(own), 'piece')} of Python state "
                f"{'does' if len(own) == 1 else 'do'} not count, because each training starts "
                f"with a different value, such as a random state without a seed: "
                f"{plain(', '.join(sorted(own)[:3]))}"
            )
    for each in audit.trainings[INTERRUPTED].interruptions:
        if each.start.step is None:
            print_line(
                f"  not interrupted at step {each.moment.step:,} of {plain(each.moment.run)}: the "
                "training ended before it",
                style="yellow",
            )
    for reason in audit.reasons:
        print_line(f"ckptkit noticed: {plain(reason)}")
    if audit.verdict in _CAUSES:
        print_line(_CAUSES[audit.verdict])
    if kept is not None:
        print_line(f"both trainings and their output are in {plain(kept)}")
    print_line(_WORDS[audit.verdict], style="green" if audit.verdict == "exact" else "red")


def _steps(steps: Sequence[int]) -> str:
    return f"{'step' if len(steps) == 1 else 'steps'} {', '.join(f'{step:,}' for step in steps)}"


def _show_run(result: TrainingResult, again: TrainingResult | None) -> None:
    what = _compared(result.compared)
    if result.first is None:
        print_line(f"{plain(result.run)}: {what} at step {result.step:,} are equal bit for bit")
        return
    print_line(
        f"{plain(result.run)}: of {what} at step {result.step:,}, "
        f"{_count(result.compared.differences)}",
        style="red",
    )
    _show_first(result.first)
    if again is not None:
        same = "equal bit for bit" if not again.names else _count(again.compared.differences)
        print_line(
            f"  two uninterrupted trainings: {same}"
            + (f", the first at step {again.first.step:,}" if again.first is not None else "")
        )


def _show_first(first: First) -> None:
    before = (
        f"the checkpoint of step {first.equal_step:,} is equal"
        if first.equal_step
        else "no earlier checkpoint is equal"
    )
    print_line(
        f"  first at step {first.step:,} ({before}), in the attempt that began at step "
        f"{first.began_at:,}:"
    )
    for difference in first.differences[:_MOST_SHOWN]:
        print_line(f"    {_named(difference)}: {plain(difference.words)}")
    if len(first.differences) > _MOST_SHOWN:
        print_line(
            f"    and {count(len(first.differences) - _MOST_SHOWN, 'more difference')} at this step"
        )


def _named(difference: BitDifference) -> str:
    state = difference.name.partition("/")[0]
    known = difference.path if difference.path == state else f"{state} / {difference.path}"
    return plain(known if difference.path and difference.kind == "variable" else difference.name)


def _count(differences: Sequence[BitDifference]) -> str:
    return f"{count(len(differences), 'item')} {'differs' if len(differences) == 1 else 'differ'}"


def _compared(compared: BitComparison) -> str:
    return (
        f"{count(compared.variables, 'variable')} ({count(compared.values, 'value')}) and "
        f"{count(compared.python, 'piece')} of Python state"
    )


# -- for programs


def audit_json(
    audit: Audit, plan: AuditPlan, command: Sequence[str], kept: Path | None
) -> Mapping[str, object]:
    """Return the form of `ckptkit audit --json`; its schema is docs/schemas/audit.json."""
    again = {result.run: result for result in audit.again or ()}
    return {
        "verdict": audit.verdict,
        "words": _WORDS[audit.verdict],
        "command": list(command),
        "seed": None if plan.at else plan.seed,
        "kept": None if kept is None else str(kept),
        "reasons": audit.reasons,
        "trainings": [_training(name, trained) for name, trained in audit.trainings.items()],
        "runs": [
            {
                "run": result.run,
                "step": result.step,
                "equal": result.first is None,
                "compared": {
                    "variables": result.compared.variables,
                    "values": result.compared.values,
                    "python": result.compared.python,
                    "not_compared": [
                        *result.compared.not_compared,
                        *sorted(audit.own.get(result.run, ())),
                    ],
                },
                "began_at": audit.began_at.get(result.run, []),
                "differences": [_difference(each) for each in result.compared.differences],
                "first": _first(result.first),
                "uninterrupted_again": None
                if result.run not in again
                else _again(again[result.run]),
            }
            for result in audit.results
        ],
    }


def _training(name: str, trained: Trained) -> dict[str, object]:
    return {
        "name": name,
        "secs": round(trained.secs, 3),
        "log": str(trained.place.log),
        "interruptions": [
            {
                "run": each.moment.run,
                "step": each.moment.step,
                "signal": each.moment.signal,
                "interrupted_at": each.start.step,
                "exit_code": each.start.code,
            }
            for each in trained.interruptions
        ],
    }


def _first(first: First | None) -> dict[str, object] | None:
    if first is None:
        return None
    return {
        "step": first.step,
        "equal_step": first.equal_step,
        "attempt": first.attempt,
        "began_at": first.began_at,
        "differences": [_difference(each) for each in first.differences],
    }


def _again(result: TrainingResult) -> dict[str, object]:
    return {
        "equal": not result.names,
        "first_step": None if result.first is None else result.first.step,
        "differences": [_difference(each) for each in result.compared.differences],
    }


def _difference(difference: BitDifference) -> dict[str, object]:
    return {
        "name": difference.name,
        "path": difference.path,
        "kind": difference.kind,
        "words": difference.words,
        "differing": difference.differing,
        "values": difference.values,
    }
