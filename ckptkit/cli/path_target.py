"""Finds what a path on the command line names: a checkpoint of a run, a model, or weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ckptkit.cli.checkpoint_choice import is_best, parse_choice
from ckptkit.cli.checkpoint_lookup import find_good_checkpoint, open_named_run
from ckptkit.cli.error_codes import NoSuchRunError
from ckptkit.errors import CheckpointNotFoundError, ConfigError, CorruptCheckpointError
from ckptkit.layout import CheckpointName
from ckptkit.load.formats import Format, FoundFormat, in_a_run, recognise
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.stored_run import StoredRun, is_run, open_run


@dataclass(frozen=True)
class RunTarget:
    """A checkpoint of a run.

    Args:
        run: the run.
        choice: a step, `latest`, `best`, or a checkpoint's name.
        shown: the run as it was typed.
    """

    run: StoredRun
    choice: int | str | CheckpointName
    shown: str

    def checkpoint(self) -> Checkpoint:
        """Return the chosen checkpoint as it is now.

        Raises:
            CheckpointNotFoundError: If there is no such checkpoint.
            CorruptCheckpointError: If the checkpoint is damaged.
        """
        return find_good_checkpoint(self.run, self.choice)

    @contextmanager
    def leased(self) -> Iterator[Checkpoint]:
        """Keep training from deleting the checkpoint while the block reads it.

        Raises:
            CheckpointNotFoundError: As for `checkpoint`; also if it was deleted nevertheless. That
                happens if this process may not write into the run, so that it cannot leave a lease.
            CorruptCheckpointError: As for `checkpoint`.
        """
        with self.run.holding(self.checkpoint) as checkpoint:
            try:
                yield checkpoint
            except CorruptCheckpointError as error:
                # A deleted checkpoint looks damaged, because its files are missing.
                if checkpoint.path.is_dir():
                    raise
                raise CheckpointNotFoundError(
                    f"{checkpoint.name} was deleted while it was read. Name another one, or pin "
                    "it first with ckptkit pin."
                ) from error


@dataclass(frozen=True)
class FileTarget:
    """A model or weights outside of a run.

    Args:
        found: the format and the path.
        version: the number of a version in a directory of versions; None for the newest.
        shown: the path as it was typed.
    """

    found: FoundFormat
    version: int | None
    shown: str


Target = RunTarget | FileTarget


def find_target(path: str, choice: int | str = "latest") -> Target:
    """Find out what a path and the choice of a checkpoint name.

    Args:
        path: a run, one checkpoint of a run, a model or weights; also `RUN@STEP`, as for
            `split_step`.
        choice: a step, `latest` or `best`; for a directory of versions the number of one.

    Raises:
        NoSuchRunError: If the path names nothing of the kind.
        ConfigError: If `choice` has no meaning for this path.
        CorruptCheckpointError: If the path is a file that begins like none of the formats.
    """
    if choice == "latest":
        path, choice = split_step(path)
    if is_run(path):
        return RunTarget(open_named_run(path), choice, path)
    known = recognise_path(path)
    if known.format is Format.CHECKPOINT:
        # A checkpoint of a run is a TensorFlow checkpoint too, but its manifest says more.
        known = in_a_run(known.path.parent) or known
    if known.format is Format.RUN:
        if choice != "latest":
            raise ConfigError(
                f"{path} already names one checkpoint of a run. Received: {choice!r} as well. "
                "Leave it out."
            )
        return RunTarget(
            open_named_run(str(known.path)),
            CheckpointName(known.step or 0, known.attempt or 0),
            str(known.path),
        )
    if is_best(choice):
        raise ConfigError(
            f"'best' works only for a run. {path} is not a run (found: {known.format}). Leave "
            "'best' out."
        )
    return FileTarget(known, choice if isinstance(choice, int) else None, path)


def split_step(text: str, of: str = "") -> tuple[str, int | str]:
    """Split `RUN@STEP`, `RUN@latest`, `RUN@best` or a path alone into path and choice.

    If a file or directory has the whole text as its name, it wins. So a name with an `@` can be
    given.

    Args:
        text: the argument.
        of: the path to which `@STEP` alone refers.

    Returns:
        The path, and a step, `latest` or `best`; `latest` if the text names none.

    Raises:
        ConfigError: If the text is `@STEP` alone and `of` is empty.

    Example:
        >>> from ckptkit.cli.path_target import split_step
        >>> split_step("runs/digits@600"), split_step("@best", of="runs/digits")
        (('runs/digits', 600), ('runs/digits', 'best'))
        >>> split_step("user@host/run")
        ('user@host/run', 'latest')
    """
    path, sign, choice = text.rpartition("@")
    if not sign or os.path.lexists(text) or os.path.lexists(f"{text}.index"):
        return text, "latest"
    step = parse_choice(choice)
    if step is None:
        return text, "latest"
    if not path and not of:
        raise ConfigError(f"{text!r} names a checkpoint without its run. Expected RUN{text}.")
    return path or of, step


def recognise_path(path: str) -> FoundFormat:
    """Return the format of a path that is not a run.

    Raises:
        NoSuchRunError: If the path does not exist, or begins like none of the formats.
        CheckpointError: As for `recognise`; also for a .keras or .h5 file that is no such file
            inside.
    """
    try:
        return recognise(path)
    except (CheckpointNotFoundError, CorruptCheckpointError) as error:
        if path.endswith((".keras", ".h5", ".hdf5")) and isinstance(error, CorruptCheckpointError):
            raise
        try:
            open_run(path)
        except CheckpointNotFoundError as no_run:
            raise NoSuchRunError(f"{no_run} It is no model either: {error}") from error
        raise
