"""`ckptkit history RUN`: the attempts of a run, what each lost, and where the time went."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import click

from ckptkit.cli.checkpoint_choice import run_argument
from ckptkit.cli.checkpoint_lookup import open_named_run
from ckptkit.cli.console import (
    examples,
    json_option,
    print_json,
    print_line,
    print_prose,
    print_table,
)
from ckptkit.cli.plain_text import count, date, plain, precise_duration
from ckptkit.log import size
from ckptkit.report.attempt_ledger import Attempt, Ledger
from ckptkit.report.goodput import KINDS, Goodput, goodput_of
from ckptkit.report.ledger_builder import ledger_of
from ckptkit.report.unsaved_steps import at_least
from ckptkit.run.events import Saved, SaveDropped

_LONGEST = 120
"""The longest text in a cell, in characters; `--json` has the whole text."""

_MOST_STEPS = 10
"""The number of unwritten saves whose steps are listed; older ones are left out."""

_LEAST_SECS = 0.001


@click.command(
    "history",
    epilog=examples(
        "ckptkit history runs/digits",
        "ckptkit history runs/digits --json",
    ),
)
@run_argument
@json_option
def command(run: str, as_json: bool) -> None:
    """List the attempts of RUN, and show what part of the time was training.

    There is a row for each process that trained the run. Goodput is the time of the steps that
    count, divided by the time from the first start to the last end. It is computed from the journal
    alone. Safe to call while the run is training.
    """
    view = open_named_run(run).journal_view
    ledger = ledger_of(view.events, time.time())
    history = History(
        run=run, ledger=ledger, goodput=goodput_of(ledger), damaged_lines=view.damaged
    )
    if as_json:
        print_json(history.as_json())
    else:
        history.show()


@dataclass(frozen=True)
class History:
    """What `ckptkit history` shows of a run.

    Args:
        run: the directory, as it was typed.
        ledger: its attempts.
        goodput: the goodput of its current life, or None if no process has trained it.
        damaged_lines: the lines of the journal that cannot be read.
    """

    run: str
    ledger: Ledger
    goodput: Goodput | None
    damaged_lines: Sequence[str]

    def as_json(self) -> dict[str, object]:
        """Return the form of `ckptkit history --json`; see docs/schemas/history.json."""
        return {
            "run": self.run,
            "life": self.ledger.life,
            "attempts": [_as_json(attempt) for attempt in self.ledger.attempts],
            "steps_lost": self.ledger.steps_lost,
            "goodput": None
            if self.goodput is None
            else {
                "ratio": self.goodput.ratio,
                "start": self.goodput.start,
                "end": self.goodput.end,
                "wall_secs": self.goodput.wall_secs,
                "productive_secs": self.goodput.productive_secs,
                "badput_secs": dict(self.goodput.badput_secs),
            },
            "damaged_journal_lines": list(self.damaged_lines),
            "newest_save": None
            if (newest := self._newest_save) is None
            else {"step": newest.step, "trigger": newest.trigger},
        }

    @property
    def _newest_save(self) -> Saved | None:
        """The newest save by a policy; its reason names the interval that a policy has chosen."""
        saves = [save for attempt in self.ledger.this_life for save in attempt.own.all(Saved)]
        return next((save for save in reversed(saves) if not save.final), None)

    def show(self) -> None:
        """Print the history for people."""
        attempts = self.ledger.attempts
        lives = (
            f" | {count(self.ledger.life, 'life', 'lives')}, the last one counts"
            if self.ledger.life > 1
            else ""
        )
        print_line(f"{plain(self.run)}: {count(len(attempts), 'attempt')}{lives}")
        if self.damaged_lines:
            print_line(
                f"{count(len(self.damaged_lines), 'line')} of the journal cannot be read: "
                f"{_cell(plain(self.damaged_lines[0]))}"
            )
        if self.goodput is None:
            print_line("no process has trained it")
            return
        print_line()
        print_table(
            [
                "attempt",
                "start",
                "took",
                "host",
                "steps",
                "done",
                "lost",
                "redone",
                "saves",
                "stall",
                "resumed from",
                "end",
            ],
            [self._row(attempt) for attempt in attempts],
            right=["attempt", "took", "steps", "done", "lost", "redone", "saves", "stall"],
            red=[
                number
                for number, attempt in enumerate(attempts)
                if attempt.outcome in ("failed", "dead")
            ],
        )
        print_line()
        self._show_goodput(self.goodput)

    def _row(self, attempt: Attempt) -> list[str]:
        end = self.ledger.now if attempt.goes_on else attempt.last_moment
        saves = [f"{attempt.saves:,}"]
        saves += [f"{attempt.saves_dropped:,} dropped"] if attempt.saves_dropped else []
        saves += [f"{attempt.saves_failed:,} failed"] if attempt.saves_failed else []
        return [
            f"{attempt.number}",
            date(attempt.start),
            precise_duration(max(0.0, end - attempt.start)),
            _cell(f"{attempt.host} ({attempt.pid})"),
            f"{attempt.first_step}-{attempt.last_step}"
            if attempt.steps_done
            else f"{attempt.last_step}",
            at_least(attempt.steps_done, left_no_word=attempt.left_no_word),
            at_least(attempt.steps_lost, left_no_word=True)
            if attempt.left_no_word
            else _or_blank(attempt.steps_lost),
            _or_blank(attempt.steps_redone),
            ", ".join(saves),
            precise_duration(attempt.stall_secs) if attempt.stall_secs else "",
            _cell(attempt.resumed_from.checkpoint) if attempt.resumed_from else "",
            _cell(attempt.cause),
        ]

    def _show_goodput(self, goodput: Goodput) -> None:
        share = "not known yet" if goodput.ratio is None else _percent(goodput.ratio)
        print_prose(
            f"goodput {share}: of {precise_duration(goodput.wall_secs)} from the first start to "
            "the last end, "
            f"{precise_duration(goodput.productive_secs)} went into steps that count"
        )
        wall = goodput.wall_secs
        rows = [
            [precise_duration(part), _percent(part / wall), kind.replace("_", " "), KINDS[kind]]
            for kind, part in sorted(goodput.badput_secs.items(), key=lambda item: -item[1])
            if part >= _LEAST_SECS
        ]
        if rows:
            print_table(["time", "part", "went into", ""], rows, right=["time", "part"], indent=2)
        lost, redone = (
            self.ledger.steps_lost,
            sum(attempt.steps_redone for attempt in self.ledger.this_life),
        )
        saved = sum(attempt.saved_bytes for attempt in self.ledger.this_life)
        more = any(attempt.left_no_word for attempt in self.ledger.this_life)
        print_prose(
            f"{'at least ' if more else ''}{count(lost, 'step')} lost, {redone:,} of them done "
            "again; "
            f"{count(sum(attempt.saves for attempt in self.ledger.this_life), 'save')} "
            f"({size(saved)})"
        )
        if (newest := self._newest_save) is not None:
            print_prose(f"newest save: step {newest.step:,}, {plain(newest.trigger)}")
        self._show_dropped()

    def _show_dropped(self) -> None:
        """Print which saves were not written; the journal has the reason for each."""
        dropped = [
            event.step
            for attempt in self.ledger.this_life
            for event in attempt.own.all(SaveDropped)
        ]
        if dropped:
            steps = ", ".join(f"{step:,}" for step in dropped[-_MOST_STEPS:])
            more = "..., " if len(dropped) > _MOST_STEPS else ""
            print_prose(
                f"{count(len(dropped), 'save')} not written, because a newer one replaced it or "
                f"training ended: of step {more}{steps}"
            )


def _cell(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _or_blank(number: int) -> str:
    return f"{number:,}" if number else ""


def _percent(part: float) -> str:
    return f"{100 * part:.1f} %"


def _as_json(attempt: Attempt) -> dict[str, object]:
    resumed = attempt.resumed_from
    names = (
        "number",
        "life",
        "host",
        "pid",
        "program",
        "start",
        "began",
        "end",
        "last_sign",
        "outcome",
        "cause",
        "trained_at",
        "first_step",
        "last_step",
        "steps_done",
        "steps_lost",
        "steps_redone",
        "saves",
        "saved_bytes",
        "saves_dropped",
        "saves_failed",
        "stall_secs",
        "restore_secs",
    )
    return {
        **{name: getattr(attempt, name) for name in names},
        "versions": dict(attempt.versions),
        "scheduler": dict(attempt.scheduler),
        "resumed_from": None
        if resumed is None
        else {
            "checkpoint": resumed.checkpoint,
            "step": resumed.step,
            "time": resumed.time,
            "secs": resumed.secs,
        },
        "signals": list(attempt.signals),
        "notices": list(attempt.notices),
    }
