"""Publishing a SavedModel: written beside, then one rename to a number."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import keras

from ckptkit import _private
from ckptkit.errors import ConfigError, ExportError
from ckptkit.store.files import FileSystem

_under_way: set[Path] = set()
_WRITING = re.compile(r"\.writing-\d+-(\d{1,9})")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def export_saved_model(model: Any, directory: str | os.PathLike[str], *, sample: Any = None, version: int | None = None,
                       files: FileSystem | None = None) -> Path:
    """Exports a Keras model for serving as `<directory>/<version>/`.

    Args:
        model: a Keras model.
        directory: the base directory, as TensorFlow Serving expects it: one numbered directory for each version.
        sample: a batch of inputs, to build a model that is not built.
        version: its number; by default the time in seconds since the epoch. Always larger than those that are there.
        files: how the disk is changed; for tests.

    Returns:
        The published directory.

    Raises:
        ExportError: where the model cannot be exported; no version is left behind.
        ConfigError: where an argument cannot be right.
        StorageError: where the disk refuses.

    Example:
        >>> import ckptkit, keras, pathlib
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> ckptkit.export_saved_model(model, pathlib.Path(new_directory) / "export", version=7).name
        '7'
    """
    if not isinstance(model, keras.Model):
        raise ConfigError(f"export_saved_model takes a Keras model. Received: {type(model).__name__}.")
    base = check_base(directory)
    disk = files or FileSystem()
    number = _next_version(base, version)
    if sample is not None:
        model(sample)
    if not model.built:
        raise ExportError(f"The model {model.name!r} has no variables yet, because the shape of its inputs is not known. Call it once on a "
                          f"batch, or pass sample=batch.")
    writing, target = base / f".writing-{number}-{os.getpid()}", base / str(number)
    disk.make_dir(base)
    _clean_up(disk, base)
    _under_way.add(writing.resolve())
    try:
        _write(model, writing)
        for path in sorted(writing.rglob("*")):
            (disk.sync_dir if path.is_dir() else disk.sync_file)(path)
        disk.sync_dir(writing)
        disk.rename(writing, target)  # PUBLISHED: a server sees a whole version or none
        disk.sync_dir(base)
    except Exception as error:
        disk.remove_tree(writing)
        raise ExportError(f"The model {model.name!r} could not be exported to {target}: {error}") from error
    finally:
        _under_way.discard(writing.resolve())
    return target


def _clean_up(disk: FileSystem, base: Path) -> None:
    """Removes what processes have left that died while they exported, one that had our number before us among them."""
    for path in base.iterdir():
        match = _WRITING.fullmatch(path.name)
        pid = int(match[1]) if match else 0
        if match and path.resolve() not in _under_way and (pid == os.getpid() or not _is_alive(pid)):
            disk.remove_tree(path)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True


def check_base(directory: object) -> Path:
    """Checks that versions can be published in a directory.

    Raises:
        ConfigError: where it is no path, an object store's URL, or a file.
    """
    text = os.fspath(directory) if isinstance(directory, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigError(f"A model is published in a directory, which is a path. Received: {directory!r}.")
    if _URL.match(text):
        raise ConfigError(f"A model is published in a directory on a mounted file system. Received the URL {text!r}. Name a directory, and copy "
                          f"the version to the object store from there.")
    base = Path(text).expanduser()
    if base.is_file():
        raise ConfigError(f"{base} is a file; a directory is needed to publish a model in. Move the file away, or name another directory.")
    return base


def _write(model: Any, directory: Path) -> None:
    """Writes what `model.export` writes, but for inference: that one leaves `training` open, and augmentation layers take open for true."""
    signature = _private.input_signature(model)

    def serve(*inputs: Any) -> Any:
        return model(*inputs, training=False)

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", serve, signature)
    archive.write_out(str(directory), verbose=False)


def _next_version(base: Path, version: int | None) -> int:
    newest = max((int(path.name) for path in base.iterdir() if path.name.isdecimal()), default=0) if base.is_dir() else 0
    if version is None:
        return max(int(time.time()), newest + 1)
    if not isinstance(version, int) or version <= newest:
        raise ConfigError(f"version is a whole number, larger than the newest in {base} ({newest}), because servers take the largest. "
                          f"Received: version={version!r}.")
    return version
