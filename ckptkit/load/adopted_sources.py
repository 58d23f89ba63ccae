"""Recognises by its files which system saved training state. No TensorFlow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ckptkit.errors import CheckpointNotFoundError, ConfigError, CorruptCheckpointError
from ckptkit.load.formats import Format, path_of, recognise
from ckptkit.storage.files import storage_errors

BACKUP_METADATA, BACKUP_WEIGHTS = "training_metadata.json", "latest.weights.h5"
_MODEL_FILES = (".keras", ".h5", ".hdf5")
_ORBAX = frozenset({"_CHECKPOINT_METADATA", "orbax.checkpoint", "pytree.orbax-checkpoint"})


class System(StrEnum):
    """A system that saves training state."""

    TENSORFLOW = "tf.train.Checkpoint"
    BACKUP = "keras.callbacks.BackupAndRestore"
    MODEL_CHECKPOINT = "keras.callbacks.ModelCheckpoint"
    ORBAX = "keras.callbacks.OrbaxCheckpoint"


@dataclass(frozen=True)
class AdoptedSource:
    """Training state that another system saved.

    Args:
        system: the system.
        path: the prefix, file or directory with the values.
        epoch: the number of finished epochs, if the files say it.
        batch: the batches that were done in the next epoch, if the files say it.
    """

    system: System
    path: Path
    epoch: int | None = None
    batch: int = 0


def find_source(source: object) -> AdoptedSource:
    """Recognise the training state at a path.

    Args:
        source: a directory of one of the systems, or one checkpoint or file.

    Raises:
        ConfigError: If it is a run of ckptkit, or a SavedModel, which has no training state.
        CheckpointNotFoundError: If nothing is there that one of the systems saved.
        CorruptCheckpointError: If its files contradict each other.
        StorageError: If the system refuses to read.
    """
    path = path_of(source)
    with storage_errors("look at", path):
        if path.is_dir():
            names = {each.name for each in path.iterdir()}
            if BACKUP_METADATA in names or BACKUP_WEIGHTS in names:
                return _backup(path, names)
            if (orbax := _orbax(path, names)) is not None:
                return AdoptedSource(System.ORBAX, orbax)
            files = [path / name for name in names if name.endswith(_MODEL_FILES)]
            if files:
                newest = max(files, key=lambda each: (each.stat().st_mtime_ns, each.name))
                return AdoptedSource(System.MODEL_CHECKPOINT, newest)
    found = recognise(path)
    if found.format in (Format.KERAS, Format.HDF5):
        return AdoptedSource(System.MODEL_CHECKPOINT, found.path)
    if found.format is Format.CHECKPOINT:
        return AdoptedSource(System.TENSORFLOW, found.path)
    if found.format is Format.RUN:
        raise ConfigError(
            f"{path} is a run of ckptkit. Name it as the directory to continue it, or begin "
            f"another run with its weights: init_from={str(found.path)!r}."
        )
    raise ConfigError(
        f"{path} is a SavedModel, which has no training state. Begin with its weights: "
        f"init_from={str(path)!r}."
    )


def _backup(path: Path, names: set[str]) -> AdoptedSource:
    if BACKUP_WEIGHTS not in names:
        raise CheckpointNotFoundError(f"{path} has {BACKUP_METADATA}, but no {BACKUP_WEIGHTS}.")
    epoch, batch = None, 0
    if BACKUP_METADATA in names:
        try:
            metadata = json.loads((path / BACKUP_METADATA).read_bytes())
            epoch, batch = int(metadata["epoch"]), int(metadata.get("batch", 0))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptCheckpointError(
                f"{path / BACKUP_METADATA} is no description of a backup. Pass the number of "
                f"finished epochs yourself: adopt=ckptkit.Adopt({str(path / BACKUP_WEIGHTS)!r}, "
                "epoch=...).",
                "unreadable",
                BACKUP_METADATA,
            ) from error
    return AdoptedSource(System.BACKUP, path / BACKUP_WEIGHTS, epoch, batch)


def _orbax(path: Path, names: set[str]) -> Path | None:
    """Return the newest step of Orbax in a directory, or the directory itself if it is a step."""
    if names & _ORBAX:
        return path
    steps = sorted((name for name in names if name.isdecimal()), key=int)
    for name in reversed(steps):
        step = path / name
        if step.is_dir() and _ORBAX & {each.name for each in step.iterdir()}:
            return step
    return None
