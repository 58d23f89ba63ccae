"""`ckptkit audit -- CMD...`: prove that an interrupted training ends with the same bits."""

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

from ckptkit.cli.console import examples, json_option, print_json
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
            "Expected whole numbers from 1 with commas between them, as in --at 120,340. "
            f"Received: {plain(text)!r}."
        )
    return tuple(map(int, parts))


@click.command(
    "audit",
    epilog=examples(
        "ckptkit audit -- python train.py",
        "ckptkit audit --kills 5 --seed 7 -- python train.py",
    ),
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.option(
    "--kills",
    type=click.IntRange(min=1),
    default=None,
    help="The number of interruptions, at random steps.  [3]",
)
@click.option(
    "--at",
    metavar="STEP[,STEP...]",
    default=None,
    callback=_steps,
    help="Interrupt at these steps instead.",
)
@click.option(
    "--signal",
    "by",
    type=click.Choice(["SIGTERM", "SIGKILL"]),
    default=None,
    help="The signal that interrupts; without it, both in turn.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=None,
    help="Draw the same random steps as an earlier audit, which printed its seed.",
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=None,
    metavar="STEPS",
    help="Compare checkpoints this many steps apart; a smaller number finds the first difference "
    "more precisely. By default 9 to 16 checkpoints in all.",
)
@click.option(
    "--baseline",
    is_flag=True,
    help="Run the uninterrupted training twice in any case, not only after a difference.",
)
@click.option(
    "--link",
    "links",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Link this file or directory of the working directory instead of copying it. May be "
    "given more than once.",
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
    help="Copy nothing. Only runs and exports of ckptkit are written elsewhere.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Work in this new directory, and keep it.",
)
@click.option(
    "--hang-secs",
    type=click.FloatRange(min=0),
    default=600.0,
    help="Give up after this time without progress; 0 for never.  [600]",
)
@click.option(
    "--first-step-secs",
    type=click.FloatRange(min=0),
    default=1800.0,
    help="The same before the first step, which takes longer.  [1800]",
)
@click.option(
    "--limit-secs",
    type=click.FloatRange(min=0),
    default=0.0,
    help="The longest time for each start in all; 0 for no limit.  [0]",
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
    """Prove bit by bit that an interrupted training CMD ends like an uninterrupted one.

    The training runs to its end, and once more with interruptions. Each of the two gets runs,
    exports and a copy of the working directory of its own, so your files are not changed. If the
    results differ, the report names the first variable that differs, and the step. A second
    uninterrupted training then shows whether the script gives other values each time by itself.
    Exit code 1 if the results differ.
    """
    if not command:
        raise click.UsageError(
            "Expected the training command after --, as in: ckptkit audit -- python train.py. "
            "Received none.",
            context,
        )
    if at and (kills is not None or seed is not None):
        raise click.UsageError(
            "--at chooses the steps; --kills and --seed draw them at random. Received both. "
            "Expected one of the two.",
            context,
        )
    if in_place and links:
        raise click.UsageError(
            "Received both --in-place and --link. --in-place copies nothing, so there is nothing "
            "to link. Leave one of them out.",
            context,
        )
    from ckptkit.audit import auditing, interruptions, sandbox
    from ckptkit.audit.audited_training import Limits, Trainer
    from ckptkit.cli.audit_output import AuditOutput, audit_json, print_audit
    from ckptkit.clock import SystemClock
    from ckptkit.launcher.inbox import Inbox
    from ckptkit.launcher.process_tree import ProcessTree, adopt_orphans

    user = Path.cwd()
    seed = random.SystemRandom().randrange(2**31) if seed is None else seed
    limits = Limits(hang_secs=hang_secs, first_step_secs=first_step_secs, limit_secs=limit_secs)
    with _work_directory(keep) as work:
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
        kept = work.home if work.is_kept else None
        if as_json:
            print_json(audit_json(found, plan, command, kept))
        else:
            print_audit(found, plan, kept)
    if found.verdict != "exact":
        raise click.exceptions.Exit(ExitCode.ERROR)


@dataclass
class _WorkDirectory:
    """The directory in which an audit works.

    Args:
        home: its path.
        named: whether the user named it.
        needed: whether its content may help to find out what went wrong.
    """

    home: Path
    named: bool
    needed: bool = True

    @property
    def is_kept(self) -> bool:
        """Whether the directory stays after the audit."""
        return self.named or self.needed


@contextmanager
def _work_directory(keep: Path | None) -> Iterator[_WorkDirectory]:
    """Make a directory to work in; it is removed at the end unless it is named or needed.

    Args:
        keep: the directory that the user named, or None for a temporary one.

    Raises:
        ConfigError: If the named directory exists.
    """
    if keep is not None:
        home = Path(os.path.realpath(keep))
        try:
            home.mkdir(parents=True)
        except FileExistsError as error:
            raise ConfigError(
                f"{plain(keep)} exists. Expected the name of a new directory after --keep."
            ) from error
    else:
        home = Path(os.path.realpath(tempfile.mkdtemp(prefix="ckptkit-audit-")))
    work = _WorkDirectory(home, keep is not None)
    try:
        yield work
    except BaseException as error:
        # The message of a failed training or checkpoint names files in this directory. A usage
        # error or Ctrl-C leaves nothing worth a look.
        work.needed = isinstance(error, CheckpointError) and not isinstance(error, ConfigError)
        raise
    finally:
        if not work.is_kept:
            shutil.rmtree(home, ignore_errors=True)
