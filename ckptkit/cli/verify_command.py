"""`ckptkit verify PATH [WHICH]`: compare the files of checkpoints with what was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ckptkit.cli.checkpoint_choice import path_argument, which_argument
from ckptkit.cli.checkpoint_lookup import find_checkpoint, open_named_run
from ckptkit.cli.console import examples, json_option, print_json
from ckptkit.cli.plain_text import count
from ckptkit.cli.progress_line import ProgressLine, progress
from ckptkit.cli.verify_result import VerifyResult, show_results
from ckptkit.errors import CheckpointNotFoundError, ConfigError, CorruptCheckpointError
from ckptkit.exit_codes import ExitCode
from ckptkit.log import size
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.stored_run import is_run
from ckptkit.run.verify import bytes_to_read, verify
from ckptkit.storage.files import storage_errors


@click.command(
    "verify",
    epilog=examples(
        "ckptkit verify runs/digits",
        "ckptkit verify runs/digits --all --quick",
    ),
)
@path_argument
@which_argument(required=False)
@click.option(
    "--all", "every", is_flag=True, help="Verify every checkpoint of the run or directory."
)
@click.option("--quick", is_flag=True, help="Compare sizes, and read only small files.")
@json_option
def command(path: str, which: int | str | None, every: bool, quick: bool, as_json: bool) -> None:
    """Verify one checkpoint of the run PATH (latest by default) against its manifest.

    Sizes and digests of its files are compared. Every byte is read; with --quick only small files.
    Needs no TensorFlow and no lock, and changes nothing. Exit code 3 if something is damaged.

    PATH may also be a TensorFlow checkpoint, a directory of them, or a SavedModel. TensorFlow reads
    those and compares them with the checksums that it stored. It may also be a .keras file.
    """
    if every and which is not None:
        raise click.UsageError(
            f"Expected either --all or one checkpoint. Received both --all and {which!r}."
        )
    run, what, results = _verified(path, which, every=every, quick=quick)
    bad = sum(result.error is not None for result in results)
    if as_json:
        print_json(
            {
                "run": run,
                "path": path,
                "quick": quick,
                "bad": bad,
                "checkpoints": [result.as_json() for result in results],
            }
        )
    else:
        show_results(results, what)
    if bad:
        raise click.exceptions.Exit(ExitCode.CORRUPT)


def _verified(
    path: str, which: int | str | None, *, every: bool, quick: bool
) -> tuple[str | None, str, list[VerifyResult]]:
    """Verify what the path names.

    Returns:
        The run or None, the noun for what was verified, and the result of each.
    """
    with storage_errors("read", Path(path)):
        is_one = is_run(path)
    if is_one:
        return path, "checkpoint", _of_run(path, which, every=every, quick=quick)
    from ckptkit.cli.verify_files import locate, verify_model_files
    from ckptkit.load.formats import Format

    found = locate(path, which, every=every)
    if found.format is not Format.RUN:
        return (
            None,
            "SavedModel" if found.format is Format.VERSIONS else "checkpoint",
            verify_model_files(path, found, which, every=every, quick=quick),
        )
    run = str(found.path)
    if found.step is None:
        return run, "checkpoint", _of_run(run, which, every=every, quick=quick)
    if every or which not in (None, "latest"):
        raise ConfigError(
            f"{path} already names one checkpoint of a run. Received: "
            f"{'--all' if every else which} as well. Leave it out."
        )
    return (
        run,
        "checkpoint",
        _of_run(run, found.step, every=False, quick=quick, attempt=found.attempt),
    )


def _of_run(
    run: str, which: int | str | None, *, every: bool, quick: bool, attempt: int | None = None
) -> list[VerifyResult]:
    found = open_named_run(run)
    if attempt is not None:
        checkpoints = [
            each for each in found.checkpoints if (each.step, each.attempt) == (which, attempt)
        ]
    else:
        checkpoints = (
            found.checkpoints
            if every
            else [find_checkpoint(found, "latest" if which is None else which)]
        )
    results = _results(checkpoints, quick=quick)
    if not results and not every:
        raise CheckpointNotFoundError(
            f"The checkpoint {which or 'latest'} was deleted while it was read. Verify another "
            "one, or pin it first with ckptkit pin."
        )
    return results


def _results(checkpoints: Sequence[Checkpoint], *, quick: bool) -> list[VerifyResult]:
    """Verify checkpoints and leave out those that training deletes meanwhile."""
    total = sum(bytes_to_read(c.head.files, quick=quick) for c in checkpoints if c.problem is None)
    with progress("verifying", total) as advance:
        results = [(checkpoint, _result(checkpoint, quick, advance)) for checkpoint in checkpoints]
    return [
        result for checkpoint, result in results if result.error is None or checkpoint.path.exists()
    ]


def _result(checkpoint: Checkpoint, quick: bool, advance: ProgressLine) -> VerifyResult:
    name, path = str(checkpoint.name), str(checkpoint.path)
    try:
        read = verify(checkpoint, quick=quick, progress=advance)
    except CorruptCheckpointError as error:
        return VerifyResult(
            name=name, path=path, step=checkpoint.step, attempt=checkpoint.attempt, error=error
        )
    how = (
        "every byte agrees"
        if read.in_full
        else f"sizes agree, and the {size(read.read_bytes)} that were read"
    )
    return VerifyResult(
        name=name,
        path=path,
        step=checkpoint.step,
        attempt=checkpoint.attempt,
        parts=count(len(checkpoint.head.files), "file"),
        how=how,
        size_bytes=read.size_bytes,
        read_bytes=read.read_bytes,
    )
