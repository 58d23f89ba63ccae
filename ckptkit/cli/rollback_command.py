"""`ckptkit rollback RUN STEP`: the next start goes on from an older checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ckptkit.cli.confirm import confirm, dry_run_option, yes_option
from ckptkit.cli.console import json_option, print_json, print_line
from ckptkit.cli.held_run import owned
from ckptkit.cli.plain_text import count, plain
from ckptkit.cli.progress_line import progress
from ckptkit.cli.run_arguments import chosen, opened, run_argument, which_checkpoint
from ckptkit.errors import CheckpointError
from ckptkit.layout import RunLayout
from ckptkit.ownership.claims import check_not_held
from ckptkit.run.catalog import Checkpoint
from ckptkit.run.roll_back import newer_than, roll_back
from ckptkit.run.verify import verify


@click.command("rollback", short_help="Let the next start go on from an older checkpoint.")
@run_argument
@click.argument("which", metavar="STEP|latest|best", callback=which_checkpoint)
@dry_run_option
@yes_option
@json_option
def command(run: str, which: int | str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Set the checkpoints of RUN that are newer than STEP aside, so that the next start goes on
    from STEP.

    They are moved to aside/ in the run directory, not deleted. STEP is read in full first (exit
    code 3 where it is damaged). A run that is training is locked (exit code 11).
    """
    found = opened(run)
    target = chosen(found, which)
    if not dry_run:
        check_not_held(found.layout)  # a run that is training is told of before anybody is asked
    with progress("verifying", target.head.size_bytes) as advance:
        verify(target, progress=advance)
    newer = newer_than(found.layout, target)
    moved_to = ""
    if newer and not dry_run:
        confirm(
            f"Set aside {count(len(newer), 'checkpoint')} of {plain(run)} that "
            f"{'is' if len(newer) == 1 else 'are'} newer than {target.name} "
            f"({_names(newer)})?",
            yes=yes,
        )
        moved_to = _roll_back(found.layout, target, newer)
    if as_json:
        print_json(
            {
                "run": run,
                "dry_run": dry_run,
                "checkpoint": str(target.name),
                "step": target.step,
                "set_aside": [str(each.name) for each in newer],
                "moved_to": moved_to or None,
            }
        )
        return
    if not newer:
        print_line(
            f"{target.name} is the newest checkpoint already: the next start goes on from it"
        )
    elif dry_run:
        print_line(
            f"would set aside {_names(newer)}, so that the next start goes on from {target.name}; "
            "nothing was changed"
        )
    else:
        print_line(
            f"set aside {_names(newer)} in {plain(moved_to)}: the next start goes on from "
            f"{target.name}"
        )


def _roll_back(layout: RunLayout, target: Checkpoint, shown: Sequence[Checkpoint]) -> str:
    with owned(layout) as mine:
        mine.tidy_up()
        newer = newer_than(layout, target)
        if [each.name for each in newer] != [
            each.name for each in shown
        ] or not target.path.is_dir():
            raise CheckpointError(
                f"{layout.root} has changed while it was looked at; nothing was set aside. Call "
                "ckptkit rollback again."
            )
        moved_to = roll_back(mine.files, layout, mine.journal, target, newer)
        mine.tell_tensorflow()
        return moved_to


def _names(checkpoints: Sequence[Checkpoint]) -> str:
    return ", ".join(str(each.name) for each in checkpoints)
