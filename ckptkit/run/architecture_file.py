"""Reads and writes the architecture of a model, `architecture/<digest>.json` in a run.

The file contains data and no code. Checkpoints name it in their manifest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import xxhash

from ckptkit.errors import CorruptCheckpointError
from ckptkit.layout import RunLayout, is_architecture
from ckptkit.storage.files import FileSystem, read_bounded
from ckptkit.storage.proof_of_damage import judging

FORMAT_VERSION = 1

MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class LayerSettings:
    """The settings of one layer in the code.

    Args:
        path: the names of its parent layers and its own name, separated by `/`; automatic names
            are numbered as in a new process. Empty for the model itself.
        class_name: its class.
        settings: its arguments by name, if they can be written as JSON.
    """

    path: str
    class_name: str
    settings: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The architecture of a model: its class and its configuration.

    Args:
        class_name: its class.
        config: the result of `keras.saving.serialize_keras_object`, with the arguments of
            `compile`; None if the model cannot be serialized.
        reason: why it cannot be serialized; empty if it can.
        versions: the versions of Keras and other libraries that wrote it.
        layers: the settings of its layers, the model itself first; empty in files that an earlier
            version wrote.
        format_version: the version of its format.
    """

    class_name: str
    config: Mapping[str, Any] | None
    reason: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    layers: tuple[LayerSettings, ...] = ()
    format_version: int = FORMAT_VERSION


def encode(architecture: Architecture) -> bytes:
    """Return the content of an architecture's file.

    Raises:
        ValueError, TypeError: If the configuration cannot be written as JSON.
    """
    return json.dumps(asdict(architecture), indent=1, allow_nan=False).encode()


def file_name(content: bytes) -> str:
    """Return the file name for a content; equal architectures share one file."""
    return f"{xxhash.xxh3_128(content).hexdigest()}.json"


def store(files: FileSystem, layout: RunLayout, content: bytes) -> str:
    """Store an architecture durably, unless it is stored already.

    Returns:
        The name of its file.

    Raises:
        StorageError: If the disk refuses.
    """
    name = file_name(content)
    path = layout.architecture / name
    try:
        is_there = read_bounded(path, MOST_BYTES) == content
    except OSError:
        is_there = False
    if not is_there:
        files.make_dir(layout.architecture)
        files.replace_content(path, content)
        # Durable before the commit of a checkpoint that names it, because the checkpoint needs this
        # file.
        files.sync_dir(layout.architecture)
    return name


def load(layout: RunLayout, name: str) -> Architecture:
    """Read an architecture.

    Args:
        layout: the run.
        name: the name of its file, as a manifest gives it.

    Raises:
        CorruptCheckpointError: If it is missing or damaged, or a later version wrote it.
        StorageError: If the system refuses to read it.
    """
    path = layout.architecture / name
    if not is_architecture(name):
        raise CorruptCheckpointError(
            f"A manifest names {name!r} as its architecture file. Expected <digest>.json.",
            "manifest",
            name,
        )
    with judging(path, name):
        content = read_bounded(path, MOST_BYTES)
    if file_name(content) != name:
        raise CorruptCheckpointError(
            f"{path} has changed since it was written (digest differs).", "digest", name
        )
    try:
        found = json.loads(content)
        version = found["format_version"]
        if version > FORMAT_VERSION:
            raise CorruptCheckpointError(
                f"{path} has format version {version}; this ckptkit reads up to {FORMAT_VERSION}. "
                "Install a newer one.",
                "unreadable",
                name,
            )
        return Architecture(
            class_name=str(found["class_name"]),
            config=found["config"],
            reason=str(found["reason"]),
            versions=dict(found["versions"]),
            layers=tuple(
                LayerSettings(
                    path=str(layer["path"]),
                    class_name=str(layer["class_name"]),
                    settings=dict(layer["settings"]),
                )
                for layer in found.get("layers", ())
            ),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptCheckpointError(
            f"{path} is not a valid architecture file: {error}.", "unreadable", name
        ) from error
