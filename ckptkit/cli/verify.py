"""`ckptkit verify RUN [WHICH]`: whether checkpoints are what was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

from ckptkit.cli.exits import ExitCode
from ckptkit.cli.output import json_option, print_json, print_line
from ckptkit.cli.progress import Progress, progress
from ckptkit.cli.runs import named, opened, run_argument, which_checkpoint
from ckptkit.cli.text import count, plain
from ckptkit.errors import CheckpointNotFoundError, CorruptCheckpointError
from ckptkit.log import size
from ckptkit.store.catalog import Checkpoint
from ckptkit.store.verify import Read, verify


@click.command("verify", short_help="Compare the files of checkpoints with what was written.")
@run_argument
@click.argument("which", metavar="[STEP|latest|best]", default=None, required=False,
                callback=lambda context, parameter, text: None if text is None else which_checkpoint(context, parameter, text))
@click.option("--all", "every", is_flag=True, help="Verify every checkpoint of the run.")
@click.option("--quick", is_flag=True, help="Compare sizes, and read small files only (the index).")
@json_option
def command(run: str, which: int | str | None, every: bool, quick: bool, as_json: bool) -> None:
    """Compare the files of one checkpoint of RUN (latest by default) with its manifest: sizes and digests.

    Every byte is read, with --quick only small files. Needs no TensorFlow and no lock, and changes nothing. Exit code 3 where something
    is damaged.
    """
    if every and which is not None:
        raise click.UsageError(f"--all verifies every checkpoint. Received both --all and {which!r}. Expected one of them.")
    found = opened(run)
    checkpoints = found.checkpoints if every else [named(found, "latest" if which is None else which)]
    results = _results(checkpoints, quick=quick)
    if not results and not every:
        raise CheckpointNotFoundError(f"{checkpoints[0].name} was taken away while it was read. Verify another one, or pin it first.")
    bad = sum(result.error is not None for result in results)
    if as_json:
        print_json({"run": run, "quick": quick, "bad": bad, "checkpoints": [result.as_json() for result in results]})
    else:
        _show(results, bad)
    if bad:
        raise click.exceptions.Exit(ExitCode.CORRUPT)


@dataclass(frozen=True)
class Result:
    """What came of one checkpoint.

    Args:
        checkpoint: which.
        read: how much was read, or None where it is damaged.
        error: what is wrong with it, or None.
    """

    checkpoint: Checkpoint
    read: Read | None
    error: CorruptCheckpointError | None

    def as_json(self) -> dict[str, object]:
        """The form of one checkpoint in `ckptkit verify --json`; see docs/cli.md."""
        checkpoint, read, error = self.checkpoint, self.read, self.error
        return {"name": str(checkpoint.name), "path": str(checkpoint.path), "step": checkpoint.step, "attempt": checkpoint.attempt,
                "problem": None if error is None else str(error), "damage": None if error is None else error.damage,
                "file": error.file or None if error is not None else None,
                "size_bytes": None if read is None else read.size_bytes, "read_bytes": None if read is None else read.read_bytes}


def _results(checkpoints: Sequence[Checkpoint], *, quick: bool) -> list[Result]:
    """What came of each; one that training has taken away meanwhile is gone, and not damaged."""
    total = 0 if quick else sum(c.manifest.size_bytes for c in checkpoints if c.problem is None)
    with progress("verifying", total) as advance:
        results = [_result(checkpoint, quick, advance) for checkpoint in checkpoints]
    return [result for result in results if result.error is None or result.checkpoint.path.exists()]


def _result(checkpoint: Checkpoint, quick: bool, advance: Progress) -> Result:
    try:
        return Result(checkpoint, verify(checkpoint, quick=quick, progress=advance), None)
    except CorruptCheckpointError as error:
        return Result(checkpoint, None, error)


def _show(results: Sequence[Result], bad: int) -> None:
    for result in results:
        if result.read is None:
            print_line(f"{result.checkpoint.name}: DAMAGED: {plain(result.error)}", style="red")
        else:
            files = count(len(result.checkpoint.manifest.files), "file")
            how = "every byte agrees" if result.read.in_full else f"sizes agree, and the {size(result.read.read_bytes)} that were read"
            print_line(f"{result.checkpoint.name}: good ({files}, {size(result.read.size_bytes)}: {how})")
    if not results:
        print_line("no checkpoints")
    elif len(results) > 1:
        print_line(f"{count(len(results), 'checkpoint')}, {bad or 'none'} damaged")
