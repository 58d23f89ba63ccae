"""`ckptkit report RUN -o run.html`: a run as one HTML file to look at and to send."""

from __future__ import annotations

import time
import webbrowser
from pathlib import Path

import click

from ckptkit.cli.checkpoint_choice import run_argument
from ckptkit.cli.checkpoint_lookup import open_named_run
from ckptkit.cli.console import examples, json_option, print_json, print_line
from ckptkit.cli.plain_text import plain
from ckptkit.cli.progress_line import progress
from ckptkit.cli.run_state import run_state
from ckptkit.layout import expanded
from ckptkit.log import size
from ckptkit.report.document import Document, values_of
from ckptkit.report.goodput import goodput_of
from ckptkit.report.html_page import render_page
from ckptkit.report.ledger_builder import ledger_of
from ckptkit.report.report_builder import build_document
from ckptkit.report.report_file import check_report_path, write_report
from ckptkit.run.verify import bytes_to_read


@click.command(
    "report",
    epilog=examples(
        "ckptkit report runs/digits --open",
        "ckptkit report runs/digits -o digits.html --verify",
    ),
)
@run_argument
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="The HTML file to write; `-` is standard output. By default RUN's name with .html, in the "
    "current directory.",
)
@click.option(
    "--verify",
    "full",
    is_flag=True,
    help="Read every byte of every checkpoint; otherwise only sizes and small files.",
)
@click.option("--open", "opens", is_flag=True, help="Open the file in the browser.")
@json_option
def command(run: str, output: str | None, full: bool, opens: bool, as_json: bool) -> None:
    """Write one HTML file that shows RUN.

    It shows where the time went, the attempts on a time axis, and the checkpoints. The file is
    self-contained and loads nothing. An earlier report is replaced; any other file is not. Safe to
    call while the run is training: no lock is taken, and nothing is written into the run.
    """
    if output is not None and as_json:
        raise click.UsageError("Expected either -o FILE or --json. Received both.")
    if opens and (as_json or output == "-"):
        raise click.UsageError("Expected --open with a file. Received it with standard output.")
    path = None if as_json or output == "-" else Path(output or _default_name(run))
    if path is not None:
        # Checked first, because reading the checkpoints may take minutes.
        check_report_path(path)
        _check_outside(path, run)
    document = document_of(run, full=full)
    if as_json:
        print_json(values_of(document))
    elif path is None:
        click.echo(render_page(document), nl=False)
    else:
        data = render_page(document)
        write_report(path, data)
        print_line(f"wrote {plain(path)} ({size(len(data))}): {plain(document.run.words)}")
        if opens and not webbrowser.open(path.absolute().as_uri()):
            raise click.ClickException(f"No browser could be started. Open {plain(path)} yourself.")


def _default_name(run: str) -> str:
    # Resolved, because the run may be named `.` or by a link.
    return f"{expanded(run).resolve().name or 'run'}.html"


def _check_outside(path: Path, run: str) -> None:
    """Check that a report is not written into its run, which may be moved or deleted with it.

    Raises:
        UsageError: If it would be.
    """
    root = expanded(run).resolve()
    if path.resolve().is_relative_to(root):
        raise click.UsageError(
            f"Expected a file outside of the run. Received: {plain(path)}, which is in "
            f"{plain(root)}. Write it elsewhere: -o {plain(root.parent / (root.name + '.html'))}"
        )


def document_of(run: str, *, full: bool = False) -> Document:
    """Build the report's document for a run as it is now.

    Args:
        run: the run directory.
        full: whether to read every byte of every checkpoint.

    Raises:
        NoSuchRunError: If the directory is not a run.
        StorageError: If the run cannot be read.
    """
    found = open_named_run(run)
    view, now = found.journal_view, time.time()
    ledger = ledger_of(view.events, now)
    state = run_state(view.events, now)
    total = sum(
        bytes_to_read(each.head.files, quick=not full)
        for each in found.checkpoints
        if each.problem is None
    )
    with progress("verifying", total) as advance:
        return build_document(
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
