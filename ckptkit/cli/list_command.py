"""`ckptkit list DIR`: a run and its checkpoints, or every run and model below a directory."""

from __future__ import annotations

import time

import click

from ckptkit.cli.checkpoint_lookup import open_named_run
from ckptkit.cli.completion import complete_run
from ckptkit.cli.console import examples, json_option, print_json, print_lines
from ckptkit.cli.error_codes import NoSuchRunError
from ckptkit.cli.plain_text import count, plain
from ckptkit.cli.progress_line import counting
from ckptkit.cli.run_listing import is_tree, listing_of


@click.command(
    "list",
    epilog=examples(
        "ckptkit list",
        "ckptkit list runs/digits",
        "ckptkit list runs --follow",
    ),
)
@click.argument("directory", metavar="[DIR]", default=".", shell_complete=complete_run)
@click.option("--follow", is_flag=True, help="Keep looking and show what changes, until Ctrl-C.")
@json_option
def command(directory: str, follow: bool, as_json: bool) -> None:
    """List the checkpoints of a run, or all runs and models below a directory.

    Without DIR, the current directory is listed.

    Checkpoints are listed oldest first, with the state of the run. A checkpoint is listed with its
    problem if its manifest cannot be read, or if a file is missing or has another size.

    If DIR is not a run, runs are listed with state, step, age, size, best and host, together with
    TensorFlow checkpoints, .keras and .h5 files and SavedModels. Hidden directories are left out,
    and links to directories are not followed.

    With --follow, a terminal shows the current list. Any other output gets a line for each change,
    or with --json an object per line.
    """
    if follow:
        from ckptkit.cli.list_follow import follow as follow_directory

        follow_directory(directory, as_json=as_json)
    elif is_tree(directory):
        _tree(directory, as_json=as_json)
    else:
        found = open_named_run(directory)
        now = time.time()
        listing = listing_of(found, directory, now)
        if as_json:
            print_json(listing.as_json())
        else:
            print_lines(listing.lines(now))


def _tree(directory: str, *, as_json: bool) -> None:
    from ckptkit.cli.tree_listing import list_tree
    from ckptkit.cli.tree_run import read_tree_run

    now = time.time()
    with counting("directories") as visited:
        tree = list_tree(
            directory,
            lambda path: read_tree_run(path, lambda run, shown: listing_of(run, shown, now)),
            visited,
        )
    if tree.is_empty:
        hidden = (
            f" {count(len(tree.unreadable), 'directory', 'directories')} in it could not be read."
            if tree.unreadable
            else ""
        )
        raise NoSuchRunError(
            f"{plain(directory)} is not a run directory: it has neither checkpoints/ nor journal/ "
            "of a run. It contains no run, TensorFlow checkpoint, .keras or .h5 file or "
            f"SavedModel either.{hidden} Expected a run directory or a directory that contains "
            "one of these."
        )
    if as_json:
        print_json(tree.as_json())
    else:
        print_lines(tree.lines(now))
