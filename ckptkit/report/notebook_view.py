"""Shows a run in a notebook: its state and its checkpoints, as a small HTML table. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from ckptkit.log import size
from ckptkit.printable_text import printable
from ckptkit.report.attempt_ledger import Ledger
from ckptkit.run.checkpoint_catalog import Checkpoint

_MOST_ROWS = 20
_MOST_METRICS = 3


def run_as_html(directory: Path, ledger: Ledger, checkpoints: Sequence[Checkpoint]) -> str:
    """Return a run as HTML.

    Args:
        directory: its directory.
        ledger: its attempts.
        checkpoints: its checkpoints, oldest first; the newest ones are shown.
    """
    attempts = ledger.attempts
    state = f"{len(attempts)} attempts; the last one {attempts[-1].cause}" if attempts else "new"
    rows = "".join(_row(each) for each in reversed(checkpoints[-_MOST_ROWS:]))
    heads = "".join(f"<th>{name}</th>" for name in ("step", "epoch", "size", "metrics", "because"))
    return (
        f"<b>{_text(directory)}</b>: {_text(state)}; {len(checkpoints)} checkpoints"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(checkpoint: Checkpoint) -> str:
    if (problem := checkpoint.problem) is not None:
        return f'<tr><td>{checkpoint.step}</td><td colspan="4">{_text(problem)}</td></tr>'
    head = checkpoint.head
    metrics = list(checkpoint.metrics.items())[:_MOST_METRICS]
    cells = (
        head.step,
        head.epoch,
        size(head.size_bytes),
        ", ".join(f"{name} {value:.4g}" for name, value in metrics),
        head.trigger,
    )
    return f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}</tr>"


def _text(value: object) -> str:
    """Escape a value: names and reasons come from files, which may hold anything."""
    return html.escape(printable(str(value)))
