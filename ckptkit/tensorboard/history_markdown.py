"""Formats the history of a run as Markdown, for TensorBoard's text dashboard. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from ckptkit.log import size
from ckptkit.report.attempt_ledger import Attempt, Ledger
from ckptkit.report.goodput import KINDS, Goodput
from ckptkit.report.unsaved_steps import at_least

_MOST_ATTEMPTS = 200
"""The number of attempts to show; older ones are left out."""

_MARKUP = re.compile(r"[\\`*_{}\[\]<>()#+!|~&]")


def history_markdown(ledger: Ledger, goodput: Goodput | None) -> str:
    """Return a table of the attempts, and a table of how the time was spent.

    Args:
        ledger: the ledger of the run.
        goodput: the goodput since the last fresh start, or None if unknown.
    """
    attempts = ledger.this_life[-_MOST_ATTEMPTS:]
    parts = [
        _table(
            (
                "attempt",
                "host",
                "started (UTC)",
                "time",
                "end",
                "steps",
                "lost",
                "saves",
                "saved",
                "stood still",
            ),
            map(_row, attempts),
        )
    ]
    if len(attempts) < len(ledger.this_life):
        parts.append(f"The newest {len(attempts)} of {len(ledger.this_life)} attempts.")
    if goodput is not None and goodput.ratio is not None:
        spent = [
            ("steps that count", goodput.productive_secs),
            *((KINDS[kind], secs) for kind, secs in goodput.badput_secs.items() if secs),
        ]
        parts.append(f"**Goodput {goodput.ratio:.1%}** of {_span(goodput.wall_secs)}")
        parts.append(
            _table(
                ("time went into", "time", "part"),
                ((words, _span(secs), f"{secs / goodput.wall_secs:.1%}") for words, secs in spent),
            )
        )
    return "\n\n".join(parts)


def _row(attempt: Attempt) -> Sequence[str]:
    """Return an attempt as the cells of a row."""
    resumed = "" if attempt.resumed_from is None else f", from step {attempt.resumed_from.step}"
    return (
        f"{attempt.number}{resumed}",
        attempt.host,
        f"{datetime.fromtimestamp(attempt.start, UTC):%Y-%m-%d %H:%M:%S}",
        _span(attempt.last_moment - attempt.start),
        attempt.cause or attempt.outcome,
        at_least(attempt.steps_done, left_no_word=attempt.left_no_word),
        at_least(attempt.steps_lost, left_no_word=attempt.left_no_word),
        str(attempt.saves),
        size(attempt.saved_bytes),
        f"{attempt.stall_secs:.3f} s",
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(map(_plain, row)) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _plain(text: str) -> str:
    """Escape Markdown's markup and line breaks, because the journal contains text of the user."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", " ".join(text.split()))


def _span(secs: float) -> str:
    """Return a duration as h:mm:ss."""
    return str(timedelta(seconds=round(max(secs, 0.0))))
