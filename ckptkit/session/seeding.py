"""`seeded`: one seed for all attempts of a run."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable

import keras
import xxhash

from ckptkit.errors import ConfigError
from ckptkit.layout import TRIAL, RunLayout, journal_attempt
from ckptkit.log import logger
from ckptkit.mirror.mirror_settings import (
    Mirror,
    cache_directory,
    check_mirror,
    mirror_in_place,
)
from ckptkit.mirror.obstore_client import ObstoreObjects
from ckptkit.mirror.small_files import stored_seed
from ckptkit.run.audit_settings import instructions_of
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.seed_file import LARGEST_SEED, keep_seed, read_seed
from ckptkit.session.directory_check import check_directory
from ckptkit.session.options import layout_of
from ckptkit.session.process_registry import is_open
from ckptkit.storage.files import DISK, FileSystem, names_in
from ckptkit.storage.symlinks import refuse_links


def seeded(directory: str | os.PathLike[str], mirror: str | Mirror | None = None) -> int:
    """Set the seed of a run, so that all its attempts draw the same random numbers.

    Call it in the first line of a script. The first attempt draws a seed and keeps it in the run
    directory. Each later attempt reads it. So a script without a seed of its own splits and
    shuffles its data in the same way whenever it is started again, and another run gets another
    seed. It sets what `keras.utils.set_random_seed` sets: the seeds of Python's `random`, of NumPy,
    Keras and TensorFlow.

    A generator of its own draws its seed from the operating system. Pass the returned seed to it:
    `numpy.random.default_rng(seed)`.

    Args:
        directory: the run directory, as `CheckpointCallback` or `CheckpointManager` gets it. It is
            created if it is missing. Or the URL of an object store in its place.
        mirror: the mirror of the run, as `CheckpointCallback` gets it. A directory without a seed
            gets the one that the run on the object store has.

    Returns:
        The seed, a whole number from 1 to 2**31 - 1.

    Raises:
        ConfigError: If the directory is not a path, is a file, belongs to another program, or has
            the placeholder `{trial}`.
        CorruptCheckpointError: If the file with the seed is damaged, or a newer ckptkit wrote it.
        StorageError: If a new seed cannot be written, or the seed cannot be read. Also if the
            object store does not answer.

    Example:
        >>> import ckptkit, random
        >>> seed = ckptkit.seeded("runs/new")
        >>> first = random.random()
        >>> ckptkit.seeded("runs/new") == seed  # as the next attempt does
        True
        >>> random.random() == first
        True
    """
    mirror = check_mirror(mirror)
    if (in_place := mirror_in_place(directory)) is not None:
        if mirror is not None:
            raise ConfigError(
                f"Received the URL {in_place.url} in the place of the directory, and also mirror: "
                "name a directory, or leave mirror out."
            )
        mirror = in_place
        directory = cache_directory(in_place.place, os.environ)
    layout = layout_of(directory)
    if TRIAL in str(layout.root):
        raise ConfigError(
            f"Expected the directory of one run. Received: {os.fspath(directory)!r}, whose {TRIAL} "
            "CheckpointCallback replaces for each training. Name one directory for the seed of all "
            "trainings, such as 'runs/seed'."
        )
    seed = seed_of_run(layout, kept_elsewhere=lambda: _seed_on_store(mirror))
    if is_open(layout):
        logger.warning(
            "ckptkit.seeded has set the seed of %s while this process has the run open. If its "
            "training continues, its random numbers begin anew. Call ckptkit.seeded in the first "
            "line of the script",
            layout.root,
        )
    keras.utils.set_random_seed(seed)
    return seed


def _seed_on_store(mirror: Mirror | None) -> int | None:
    if mirror is None or instructions_of(os.environ) is not None:
        return None
    return stored_seed(ObstoreObjects(mirror.place, mirror.options))


def seed_of_run(
    layout: RunLayout,
    files: FileSystem = DISK,
    kept_elsewhere: Callable[[], int | None] = lambda: None,
) -> int:
    """Return the seed that a run keeps; draw and keep one if it has none, and log which.

    Args:
        layout: the run.
        files: how to change the disk; tests pass their own.
        kept_elsewhere: returns the seed that another machine has drawn for the run, or None.

    Raises:
        ConfigError: If the directory is a file, or belongs to another program.
        CorruptCheckpointError: If the file with the seed is damaged, or a newer ckptkit wrote it.
        StorageError: If a new seed cannot be written, or the seed cannot be read.
    """
    check_directory(layout)
    refuse_links(layout)
    kept = read_seed(layout, files)
    fetched = kept_elsewhere() if kept is None else None
    if kept is None and fetched is None and _has_attempts(layout, files):
        logger.warning(
            "%s has no seed yet: its earlier attempts were not seeded by ckptkit.seeded. A seed is "
            "kept from now on. What the script draws before training, such as a validation split, "
            "differs from the earlier attempts",
            layout.root,
        )
    seed = keep_seed(files, layout, lambda: fetched or _draw(layout))
    origin = "kept in" if kept else "fetched for" if fetched else "drawn for"
    logger.info("seed %d, %s %s", seed, origin, layout.root)
    return seed


def _has_attempts(layout: RunLayout, files: FileSystem) -> bool:
    journals = names_in(files, layout.journal)
    return any(map(journal_attempt, journals)) or bool(list_checkpoints(layout, files))


def _draw(layout: RunLayout) -> int:
    """Draw a seed; in an audit, the same one for each of its trainings of this run."""
    instructions = instructions_of(os.environ)
    if instructions is None:
        return secrets.randbelow(LARGEST_SEED) + 1
    # The trainings are compared, so they must not differ in their seeds. Each has a directory of
    # its own, and the same path below it.
    place = os.path.relpath(os.path.realpath(layout.root), os.path.realpath(instructions.home))
    return xxhash.xxh3_64_intdigest(os.fsencode(place)) % LARGEST_SEED + 1
