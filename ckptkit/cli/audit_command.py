"""`ckptkit audit -- CMD...`: whether an interrupted training ends with the bits of one that nobody
interrupted.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from ckptkit.cli.console import json_option, print_json
from ckptkit.cli.plain_text import plain
from ckptkit.errors import CheckpointError, ConfigError
from ckptkit.exit_codes import ExitCode

_COPY_BYTES = 1_000_000_000


def _steps(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...]:
    parts = [] if text is None else [part.strip() for part in text.split(",")]
    if not all(
        part.isascii() and part.isdecimal() and len(part) <= 18 and int(part) for part in parts
    ):
        raise click.BadParameter(
            "Steps are whole numbers from 1, with commas between them, as in --at 120,340. "
            f"Received: {plain(text)!r}."
        )
    return tuple(map(int, parts))


@click.command(
    "audit",
    short_help="Prove that an interrupted training ends with the same bits.",
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.option(
    "--kills",
    type=click.IntRange(min=1),
    default=None,
    help="How many interruptions, at random steps.  [3]",
)
@click.option(
    "--at",
    metavar="STEP[,STEP...]",
    default=None,
    callback=_steps,
    help="Interruptions at these steps instead.",
)
@click.option(
    "--signal",
    "by",
    type=click.Choice(["SIGTERM", "SIGKILL"]),
    default=None,
    help="By what; both in turn, where it is not given.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=None,
    help="Draws the same random steps as an earlier audit, which has printed it.",
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=None,
    metavar="STEPS",
    help="Compare checkpoints so many steps apart, to say more precisely from which step on; by "
    "default 9 to 16 in all.",
)
@click.option(
    "--baseline",
    is_flag=True,
    help="Run the uninterrupted training twice in any case, and not only where something differs.",
)
@click.option(
    "--link",
    "links",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Link this file or directory of the working directory, and do not copy it; may be "
    "repeated.",
)
@click.option(
    "--copy-bytes",
    type=click.IntRange(min=0),
    default=_COPY_BYTES,
    help=f"The largest working directory that is copied.  [{_COPY_BYTES}]",
)
@click.option(
    "--in-place",
    is_flag=True,
    help="Copy nothing: only runs and exports of ckptkit are written elsewhere.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Work in this new directory, and leave it.",
)
@click.option(
    "--hang-secs",
    type=click.FloatRange(min=0),
    default=600.0,
    help="Without progress for so long, give up; 0 for never.  [600]",
)
@click.option(
    "--first-step-secs",
    type=click.FloatRange(min=0),
    default=1800.0,
    help="Before the first step is done, no earlier than this.  [1800]",
)
@click.option(
    "--limit-secs",
    type=click.FloatRange(min=0),
    default=0.0,
    help="How long each start may take in all; 0 for any time.  [0]",
)
@json_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- CMD...")
@click.pass_context
def command(
    context: click.Context,
    /,
    kills: int | None,
    at: tuple[int, ...],
    by: str | None,
    seed: int | None,
    every: int | None,
    baseline: bool,
    links: tuple[Path, ...],
    copy_bytes: int,
    in_place: bool,
    keep: Path | None,
    hang_secs: float,
    first_step_secs: float,
    limit_secs: float,
    as_json: bool,
    command: tuple[str, ...],
) -> None:
    """Run the training CMD to its end, and once more with interruptions, and compare the final
    checkpoints bit by bit.

    Each of the two has runs, exports and a copy of the working directory of its own: nothing that
    lies in the user's is changed. Where they differ, it says which variable does first, and from
    which step on; and by a second uninterrupted training, whether the script gives other values
    each time by itself. Exit code 1 where they differ.
    """
    if not command:
        raise click.UsageError(
            "Name the training after --, as in: ckptkit audit -- python train.py", context
        )
    if at and (kills is not None or seed is not None):
        raise click.UsageError(
            "--at chooses the steps; --kills and --seed draw them. Received both. Expected one of "
            "them.",
            context,
        )
    if in_place and links:
        raise click.UsageError(
            "--in-place copies nothing, so that there is nothing to link. Received both "
            "--in-place and --link.",
            context,
        )
    from ckptkit.audit import auditing, interruptions, sandbox
    from ckptkit.audit.audited_training import Limits, Trainer
    from ckptkit.cli.audit_output import AuditOutput, form, show
    from ckptkit.clock import SystemClock
    from ckptkit.launcher.inbox import Inbox
    from ckptkit.launcher.process_tree import ProcessTree, adopt_orphans

    user = Path.cwd()
    seed = random.SystemRandom().randrange(2**31) if seed is None else seed
    limits = Limits(hang_secs=hang_secs, first_step_secs=first_step_secs, limit_secs=limit_secs)
    with _working_in(keep) as work:
        plan = auditing.AuditPlan(
            home=work.home,
            user=user,
            source=None if in_place else sandbox.look(user, links, copy_bytes, without=work.home),
            seed=seed,
            kills=3 if kills is None else kills,
            at=at,
            signals=interruptions.SIGNALS if by is None else (by,),
            every=every or 0,
            baseline=baseline,
        )
        adopt_orphans()
        with AuditOutput(plan, command) as teller, Inbox() as inbox:
            found = auditing.audit(
                plan,
                Trainer(
                    command, os.environ, inbox, ProcessTree(), limits, SystemClock(), teller.tells
                ),
                teller,
            )
        work.needed = found.verdict != "exact"
        kept = work.home if work.is_left else None
        if as_json:
            print_json(form(found, plan, command, kept))
        else:
            show(found, plan, kept)
    if found.verdict != "exact":
        raise click.exceptions.Exit(ExitCode.ERROR)


@dataclass
class _Work:
    """The audit's own directory.

    Args:
        home: where it is.
        asked: whether the user has named it.
        needed: whether somebody may want to look at it.
    """

    home: Path
    asked: bool
    needed: bool = True

    @property
    def is_left(self) -> bool:
        return self.asked or self.needed


@contextmanager
def _working_in(keep: Path | None) -> Iterator[_Work]:
    """The block works in a directory of its own, which is left where that was asked for, or where
    it tells what went wrong.
    """
    if keep is not None:
        home = Path(os.path.realpath(keep))
        try:
            home.mkdir(parents=True)
        except FileExistsError as error:
            raise ConfigError(
                f"{plain(keep)} is there already. --keep names a new directory."
            ) from error
    else:
        home = Path(os.path.realpath(tempfile.mkdtemp(prefix="ckptkit-audit-")))
    work = _Work(home, keep is not None)
    try:
        yield work
    except BaseException as error:
        # An error of a training or a checkpoint says where it is; nobody wants to look at one of
        # usage, or at what was interrupted.
        work.needed = isinstance(error, CheckpointError) and not isinstance(error, ConfigError)
        raise
    finally:
        if not work.is_left:
            shutil.rmtree(home, ignore_errors=True)
