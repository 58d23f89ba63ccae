"""`ckptkit report RUN -o run.html`: a run as one file to look at and to send."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ckptkit.cli.console import json_option, print_json, print_line
from ckptkit.cli.plain_text import plain
from ckptkit.cli.progress_line import progress
from ckptkit.cli.run_arguments import opened, run_argument
from ckptkit.cli.run_state import run_state
from ckptkit.log import size
from ckptkit.report.document import Document, values_of
from ckptkit.report.goodput import goodput_of
from ckptkit.report.html_page import page
from ckptkit.report.ledger_builder import ledger_of
from ckptkit.report.report_builder import gather
from ckptkit.report.report_file import check_target, write_target
from ckptkit.run.verify import bytes_to_read


@click.command(
    "report",
    short_help="Make one file that shows a run: its attempts, checkpoints, and where the time "
    "went.",
)
@run_argument
@click.option(
    "-o", "--output", metavar="FILE", help="Where the HTML file goes; `-` is standard output."
)
@click.option(
    "--verify",
    "full",
    is_flag=True,
    help="Read every byte of every checkpoint; otherwise sizes and small files.",
)
@json_option
def command(run: str, output: str | None, full: bool, as_json: bool) -> None:
    """Make one HTML file that shows RUN: where its time went, its attempts on a time axis, and its
    checkpoints.

    The file holds all that it shows and loads nothing. An earlier report is replaced, any other
    file is not. May be made while the run is training: no lock is taken, and nothing is written
    into the run.
    """
    if (output is None) != as_json:
        raise click.UsageError(
            "A report goes into a file (-o run.html), or is printed as JSON (--json). Expected "
            "one of both."
        )
    path = None if output in (None, "-") else Path(str(output))
    if path is not None:
        check_target(path)  # before the work
    document = document_of(run, full=full)
    if output is None:
        print_json(values_of(document))
    elif path is None:
        click.echo(page(document), nl=False)
    else:
        data = page(document)
        write_target(path, data)
        print_line(f"wrote {plain(path)} ({size(len(data))}): {plain(document.run.words)}")


def document_of(run: str, *, full: bool = False) -> Document:
    """The document of the run that was named, as it is now."""
    found = opened(run)
    view, now = found.journal_view, time.time()
    ledger = ledger_of(view.events, now)
    state = run_state(view.events, now)
    total = sum(
        bytes_to_read(each.head.files, quick=not full)
        for each in found.checkpoints
        if each.problem is None
    )
    with progress("verifying", total) as advance:
        return gather(
            found,
            run,
            view,
            ledger,
            goodput_of(ledger),
            state=state.name,
            words=state.words,
            full=full,
            progress=advance,
        )
