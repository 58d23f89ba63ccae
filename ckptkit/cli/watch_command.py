"""`ckptkit watch RUN`: the report of a run in the browser, up to date while it is training."""

from __future__ import annotations

import sys
import webbrowser
from contextlib import suppress

import click

from ckptkit.cli.checkpoint_choice import run_argument
from ckptkit.cli.checkpoint_lookup import open_named_run
from ckptkit.cli.console import examples, json_option, print_json, print_line
from ckptkit.cli.report_command import document_of
from ckptkit.report.live_server import LOOPBACK, LiveReport


@click.command(
    "watch",
    epilog=examples(
        "ckptkit watch runs/digits",
        "ckptkit watch runs/digits --open --every 2",
    ),
)
@run_argument
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    metavar="PORT",
    help="The port on this machine; 0 (the default) takes a free one.",
)
@click.option(
    "--every",
    "every_secs",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    metavar="SECS",
    help="How often the page looks for changes.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@json_option
def command(run: str, port: int, every_secs: int, opens: bool, as_json: bool) -> None:
    """Show the report of RUN in the browser, and keep it up to date.

    The page is served to this machine only, until Ctrl-C. On another machine, forward the port:
    ssh -L PORT:localhost:PORT HOST. No lock is taken, and nothing is written into the run.
    """
    open_named_run(run)
    try:
        server = LiveReport(port, lambda: document_of(run), every_secs)
    except OSError as error:
        raise click.ClickException(
            f"Port {port} cannot be used: {error.strerror}. Leave --port out for a free one."
        ) from error
    address = f"http://{LOOPBACK}:{server.server_port}/"
    if as_json:
        print_json({"run": run, "url": address})
    else:
        print_line(f"{address}  (Ctrl-C ends)")
    sys.stdout.flush()  # a program that reads the address from a pipe waits for it
    if opens:
        webbrowser.open(address)
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()
