"""`ckptkit rollback RUN STEP`: let the next start resume from an older checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ckptkit.cli.checkpoint_choice import run_argument, which_argument
from ckptkit.cli.checkpoint_lookup import find_good_checkpoint, open_named_run
from ckptkit.cli.confirm import confirm, dry_run_option, yes_option
from ckptkit.cli.console import examples, json_option, print_json, print_line
from ckptkit.cli.owned_run import check_not_owned, own_run
from ckptkit.cli.plain_text import count, plain
from ckptkit.cli.progress_line import progress
from ckptkit.errors import CheckpointError
from ckptkit.layout import RunLayout
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.rollback import newer_than, roll_back
from ckptkit.run.verify import verify


@click.command(
    "rollback",
    epilog=examples(
        "ckptkit rollback runs/digits 400 --dry-run",
        "ckptkit rollback runs/digits 400 --yes",
    ),
)
@run_argument
@which_argument()
@dry_run_option
@yes_option
@json_option
def command(run: str, which: int | str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Set aside the checkpoints of RUN that are newer than STEP.

    The next start then resumes from STEP. The newer checkpoints are moved to aside/ in the run
    directory, not deleted. STEP is read in full first (exit code 3 if it is damaged). A run that is
    training is locked (exit code 11).
    """
    found = open_named_run(run)
    target = find_good_checkpoint(found, which)
    if not dry_run:
        # Checked before the question, because the command would fail after the answer.
        check_not_owned(found.layout)
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
            f"{target.name} already is the newest checkpoint: the next start resumes from it"
        )
    elif dry_run:
        print_line(
            f"would set aside {_names(newer)}, so that the next start resumes from {target.name}; "
            "nothing was changed"
        )
    else:
        print_line(
            f"set aside {_names(newer)} in {plain(moved_to)}: the next start resumes from "
            f"{target.name}"
        )


def _roll_back(layout: RunLayout, target: Checkpoint, shown: Sequence[Checkpoint]) -> str:
    with own_run(layout) as mine:
        mine.recover()
        # Decided again under the lock: only what the user has confirmed may be moved.
        newer = newer_than(layout, target)
        if [each.name for each in newer] != [
            each.name for each in shown
        ] or not target.path.is_dir():
            raise CheckpointError(
                f"{layout.root} changed while the question was open. Nothing was set aside. Call "
                "ckptkit rollback again."
            )
        moved_to = roll_back(mine.files, layout, mine.journal, target, newer)
        mine.update_state_file()
        return moved_to


def _names(checkpoints: Sequence[Checkpoint]) -> str:
    return ", ".join(str(each.name) for each in checkpoints)
