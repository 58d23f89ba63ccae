"""Recognises the formats of models and weights by content, not by name. No TensorFlow."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ckptkit.errors import CheckpointNotFoundError, ConfigError, CorruptCheckpointError
from ckptkit.exports.version_directories import versions_in
from ckptkit.layout import MANIFEST, STATE_FILE, CheckpointName, RunLayout, expanded
from ckptkit.run.stored_run import is_run
from ckptkit.storage.files import storage_errors

SAVED_MODEL = "saved_model.pb"

_ZIP, _EMPTY_ZIP, _HDF5 = b"PK\x03\x04", b"PK\x05\x06", b"\x89HDF\r\n\x1a\n"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_STEP = re.compile(r"-(\d{1,18})$", re.ASCII)
_STATE_LINE = re.compile(r'model_checkpoint_path: "((?:[^"\\]|\\.)*)"')


class Format(StrEnum):
    """A format of models or weights on disk."""

    RUN = "run"
    CHECKPOINT = "TensorFlow checkpoint"
    KERAS = "Keras model (.keras)"
    HDF5 = "HDF5 file"
    SAVED_MODEL = "SavedModel"
    VERSIONS = "versions of a SavedModel"


@dataclass(frozen=True)
class FoundFormat:
    """The format found at a path.

    Args:
        format: the recognised format.
        path: the run, file or directory; for a TensorFlow checkpoint the prefix that TensorFlow's
            functions take.
        step: the checkpoint's step, if the path names one checkpoint of a run; else None.
        attempt: the attempt that wrote that checkpoint; else None.
    """

    format: Format
    path: Path
    step: int | None = None
    attempt: int | None = None


def recognise(source: object) -> FoundFormat:
    """Recognise the format of the file or directory at a path.

    Args:
        source: a path.

    Raises:
        ConfigError: If the argument is not a path, or is the URL of an object store.
        CheckpointNotFoundError: If nothing exists there, or the directory has no known format.
        CorruptCheckpointError: If the first bytes of the file match no known format.
        StorageError: If the system refuses to read.
    """
    path = path_of(source)
    with storage_errors("look at", path):
        if path.is_dir():
            return _directory(path)
        if path.is_file():
            return _file(path)
        if os.path.lexists(path) and not path.is_symlink():
            raise CorruptCheckpointError(
                f"{path} is neither a regular file nor a directory. Expected a model or weights."
            )
        if _index(path).is_file():
            return FoundFormat(Format.CHECKPOINT, path)
    raise CheckpointNotFoundError(
        f"{path} does not exist. Expected a run directory, the prefix or directory of a "
        "TensorFlow checkpoint, a .keras, .weights.h5 or .h5 file, or a SavedModel."
    )


def path_of(source: object) -> Path:
    """Return an argument of the user as a path, after checking that it is one.

    Raises:
        ConfigError: If it is not a path, or is the URL of an object store.
    """
    text = os.fspath(source) if isinstance(source, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigError(f"Models and weights are loaded from a path. Received: {source!r}.")
    if _URL.match(text):
        raise ConfigError(
            "Models and weights are loaded from a mounted file system. Received the URL "
            f"{text!r}: copy it here first."
        )
    return expanded(text)


def newest_version(found: FoundFormat) -> Path:
    """Return the directory of a SavedModel: the path itself, or its newest version."""
    return (
        list(versions_in(found.path).values())[-1]
        if found.format is Format.VERSIONS
        else found.path
    )


def in_a_run(directory: Path) -> FoundFormat | None:
    """Return the checkpoint of a run that a directory is, or None."""
    real = directory.resolve()
    name = CheckpointName.parse(real.name)
    # A checkpoint in quarantine/ or aside/ is no longer part of the run, so compare whole paths.
    if (
        name is not None
        and (directory / MANIFEST).exists()
        and real == RunLayout(real.parents[1]).checkpoint(name)
    ):
        return FoundFormat(Format.RUN, real.parents[1], name.step, name.attempt)
    return None


def _directory(path: Path) -> FoundFormat:
    if (checkpoint := in_a_run(path)) is not None:
        return checkpoint
    if is_run(path):
        return FoundFormat(Format.RUN, path)
    if (path / SAVED_MODEL).exists():
        return FoundFormat(Format.SAVED_MODEL, path)
    newest = _newest_prefix(path)
    if newest is not None:
        return FoundFormat(Format.CHECKPOINT, newest)
    if any((version / SAVED_MODEL).exists() for version in versions_in(path).values()):
        return FoundFormat(Format.VERSIONS, path)
    raise CheckpointNotFoundError(
        f"{path} is a directory, but neither a run nor a TensorFlow checkpoint nor a SavedModel. "
        f"Expected checkpoints/ or journal/ of a run, *.index, {SAVED_MODEL}, or numbered "
        "versions of a SavedModel."
    )


def step_of(prefix: str) -> int | None:
    """Return the number at the end of a TensorFlow checkpoint's name, or None."""
    match = _STEP.search(prefix)
    return int(match[1]) if match else None


_ANCHOR = re.compile(r"data-\d+-\d+-\d+")


def _newest_prefix(path: Path) -> Path | None:
    """Return the checkpoint that TensorFlow's state file names, or else the only one."""
    state_file = path / STATE_FILE
    if state_file.is_file() and (
        match := _STATE_LINE.search(state_file.read_text(errors="replace")[:1_000_000])
    ):
        named = path / match[1]
        if _index(named).is_file():
            return named
        raise CheckpointNotFoundError(
            f"{state_file} names {named} as the newest checkpoint, but that checkpoint is missing. "
            "Name the prefix of another one (its path without '.index')."
        )
    prefixes = sorted(each.with_suffix("") for each in path.glob("?*.index"))
    # An anchor lies beside a checkpoint of a run, and has no weights.
    prefixes = [each for each in prefixes if not _ANCHOR.fullmatch(each.name)] or prefixes
    if len(prefixes) > 1:
        raise ConfigError(
            f"{path} has several checkpoints and no state file that names the newest. Name one: "
            + ", ".join(str(prefix) for prefix in prefixes[:5])
            + (", ..." if len(prefixes) > 5 else ".")
        )
    return prefixes[0] if prefixes else None


def _index(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def _file(path: Path) -> FoundFormat:
    if path.name.endswith(".index") and path.name != ".index":
        return FoundFormat(Format.CHECKPOINT, path.with_name(path.name.removesuffix(".index")))
    if path.name == SAVED_MODEL:
        return FoundFormat(Format.SAVED_MODEL, path.parent)
    with path.open("rb") as file:
        start = file.read(8)
    if (format := starts_as(start)) is not None:
        return FoundFormat(format, path)
    if _index(path).is_file():  # an unrelated file may have the same name as a prefix
        return FoundFormat(Format.CHECKPOINT, path)
    raise CorruptCheckpointError(
        f"{path} is neither a .keras file (a zip archive) nor an HDF5 file. Expected it to begin "
        f"with {_ZIP!r} or {_HDF5!r}. Received: {start!r}.",
        "unreadable",
        path.name,
    )


def starts_as(start: bytes) -> Format | None:
    """Return the format of a file that begins with these eight bytes, or None if unknown."""
    if start.startswith((_ZIP, _EMPTY_ZIP)):
        return Format.KERAS
    return Format.HDF5 if start == _HDF5 else None
