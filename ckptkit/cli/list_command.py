"""`ckptkit list DIR`: a run and its checkpoints, or everything that is in a directory and below."""

from __future__ import annotations

import time

import click

from ckptkit.cli.console import json_option, print_json, print_lines
from ckptkit.cli.error_codes import NoSuchRunError
from ckptkit.cli.plain_text import count, plain
from ckptkit.cli.progress_line import looking
from ckptkit.cli.run_arguments import opened
from ckptkit.cli.run_listing import is_tree, listing_of


@click.command(
    "list", short_help="Say what is in a directory: a run and its checkpoints, or runs and models."
)
@click.argument("directory", metavar="DIR")
@click.option("--follow", is_flag=True, help="Go on looking, and show what changes, until Ctrl-C.")
@json_option
def command(directory: str, follow: bool, as_json: bool) -> None:
    """List the checkpoints of a run, oldest first, and say what state it is in; or everything in a
    directory and below.

    A checkpoint whose manifest cannot be read, or with a file that is missing or of another size,
    is listed with what is wrong.

    Where DIR is no run, runs are listed with state, step, age, size, best and host, and so are
    TensorFlow checkpoints, .keras and .h5 files and SavedModels. Hidden directories are left out,
    and links to directories are not followed.

    With --follow, a terminal shows the list as it is now; anything else gets a line for each
    change, and with --json an object a line.
    """
    if follow:
        from ckptkit.cli.list_follow import follow as go_on

        go_on(directory, as_json=as_json)
    elif is_tree(directory):
        _tree(directory, as_json=as_json)
    else:
        found = opened(directory)
        now = time.time()
        listing = listing_of(found, directory, now)
        if as_json:
            print_json(listing.as_json())
        else:
            print_lines(listing.lines(now))


def _tree(directory: str, *, as_json: bool) -> None:
    from ckptkit.cli.tree_listing import forest_of, found_run

    now = time.time()
    with looking("directories") as looked:
        forest = forest_of(
            directory,
            lambda path: found_run(path, lambda run, shown: listing_of(run, shown, now)),
            looked,
        )
    if forest.is_empty:
        hidden = (
            f" {count(len(forest.unreadable), 'directory', 'directories')} in it could not be read."
            if forest.unreadable
            else ""
        )
        raise NoSuchRunError(
            f"{plain(directory)} is no run directory: it has neither checkpoints/ nor journal/ of "
            "one. Nor is there a run, a "
            f"TensorFlow checkpoint, a .keras or .h5 file or a SavedModel below it.{hidden}"
        )
    if as_json:
        print_json(forest.as_json())
    else:
        print_lines(forest.lines(now))
