"""What an argument names that may be more than a run: a checkpoint of a run, a model, weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ckptkit.cli.error_codes import NoSuchRunError
from ckptkit.cli.run_arguments import chosen, opened, parsed
from ckptkit.errors import CheckpointNotFoundError, ConfigError, CorruptCheckpointError
from ckptkit.layout import CheckpointName
from ckptkit.load.formats import Format, FoundFormat, in_a_run, recognise
from ckptkit.run.catalog import Checkpoint
from ckptkit.run.stored_run import StoredRun, is_run, open_run


@dataclass(frozen=True)
class InRun:
    """A checkpoint of a run.

    Args:
        run: which.
        which: a step, `latest`, `best`, or its name.
        shown: the run as it was typed.
    """

    run: StoredRun
    which: int | str | CheckpointName
    shown: str

    def checkpoint(self) -> Checkpoint:
        """The checkpoint as it is now.

        Raises:
            CheckpointNotFoundError: where there is none.
            CorruptCheckpointError: where it is damaged; no other one takes its place.
        """
        return chosen(self.run, self.which)

    @contextmanager
    def held(self) -> Iterator[Checkpoint]:
        """The checkpoint, which training leaves where it is while the block reads it.

        Raises:
            CheckpointNotFoundError: as `checkpoint`; also where it was taken away nevertheless,
                since nobody may know of a reader that may not write.
            CorruptCheckpointError: as `checkpoint`.
        """
        with self.run.holding(self.checkpoint) as checkpoint:
            try:
                yield checkpoint
            except CorruptCheckpointError as error:
                if checkpoint.path.is_dir():
                    raise
                raise CheckpointNotFoundError(
                    f"{checkpoint.name} was taken away while it was read. Name another one, or "
                    "pin it first."
                ) from error


@dataclass(frozen=True)
class InFiles:
    """A model or weights that are no run.

    Args:
        found: what it is.
        version: of a directory of versions: the number of one, or None for the newest.
        shown: the path as it was typed.
    """

    found: FoundFormat
    version: int | None
    shown: str


Target = InRun | InFiles


def target(path: str, which: int | str = "latest") -> Target:
    """What a path and the choice of a checkpoint name.

    Args:
        path: of a run, of one checkpoint of a run, of a model or of weights; also `RUN@STEP`, as
            `at` reads it.
        which: a step, `latest` or `best`; of a directory of versions the number of one.

    Raises:
        NoSuchRunError: where nothing of the kind is there.
        ConfigError: where `which` has no meaning there.
        CorruptCheckpointError: where it is a file that begins like none of the formats.
    """
    if which == "latest":
        path, which = at(path)
    if is_run(path):
        return InRun(opened(path), which, path)
    known = recognised(path)
    if known.format is Format.CHECKPOINT:
        known = (
            in_a_run(known.path.parent) or known
        )  # its manifest says more than TensorFlow's files
    if known.format is Format.RUN:
        if which != "latest":
            raise ConfigError(
                f"{path} names one checkpoint of a run already. Received: {which!r}; leave it out."
            )
        return InRun(
            opened(str(known.path)),
            CheckpointName(known.step or 0, known.attempt or 0),
            str(known.path),
        )
    if which == "best":
        raise ConfigError(f"'best' is a checkpoint of a run, and {path} is a {known.format}.")
    return InFiles(known, which if isinstance(which, int) else None, path)


def at(text: str, of: str = "") -> tuple[str, int | str]:
    """A path and the choice of a checkpoint, in one argument: `RUN@STEP`, `RUN@latest`, `RUN@best`,
    or a path alone.

    What is there under the whole name is that, so a file whose name has an `@` in it can be named.

    Args:
        text: the argument.
        of: the path that `@STEP` alone is of.

    Returns:
        The path, and a step, `latest` or `best`; `latest` where none is named.

    Raises:
        ConfigError: where `@STEP` has no path to be of.

    Example:
        >>> from ckptkit.cli.path_arguments import at
        >>> at("runs/digits@600"), at("@best", of="runs/digits"), at("user@host/run")
        (('runs/digits', 600), ('runs/digits', 'best'), ('user@host/run', 'latest'))
    """
    path, sign, which = text.rpartition("@")
    if not sign or os.path.lexists(text) or os.path.lexists(f"{text}.index"):
        return text, "latest"
    step = parsed(which)
    if step is None:
        return text, "latest"
    if not path and not of:
        raise ConfigError(
            f"{text!r} names a checkpoint of what was named before it, and nothing was. Expected "
            f"RUN{text}."
        )
    return path or of, step


def recognised(path: str) -> FoundFormat:
    """What lies at a path that is no run.

    Raises:
        NoSuchRunError: where that is nothing, or begins like none of the formats.
        CheckpointError: as `recognise`; also where a file begins like none of them whose name says
            that it is one.
    """
    try:
        return recognise(path)
    except (CheckpointNotFoundError, CorruptCheckpointError) as error:
        if path.endswith((".keras", ".h5", ".hdf5")) and isinstance(error, CorruptCheckpointError):
            raise
        try:
            open_run(path)
        except CheckpointNotFoundError as no_run:
            raise NoSuchRunError(f"{no_run} Nor is it anything else: {error}") from error
        raise
