"""The manifest of a checkpoint, `manifest.json`: its files, its position, its tensors."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
import xxhash

from ckptkit.errors import CorruptCheckpointError
from ckptkit.layout import MANIFEST, CheckpointName
from ckptkit.position import RunPosition
from ckptkit.run.data_anchor_entry import AnchorEntry
from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.storage.files import DISK, FileSystem
from ckptkit.storage.json_bytes import json_bytes
from ckptkit.storage.proof_of_damage import judging

FORMAT_VERSION = 4
"""The newest format version.

1 had no digest of the manifest itself, 2 no anchors, and 3 no variables with several replicas.
"""


def format_version(anchors: tuple[AnchorEntry, ...], tensors: tuple[TensorEntry, ...]) -> int:
    """Return the format version to write: one that refuses readers that would misread the rest.

    It would overlook that batches are counted, or take one replica's part of a sum for all of it.
    """
    if any(isinstance(entry.replicas, int) and entry.replicas > 1 for entry in tensors):
        return FORMAT_VERSION
    return 3 if anchors else 2


_MOST_REPLICAS = 100_000

MAX_MANIFEST_BYTES = 256 * 1024 * 1024

_SEAL = re.compile(rb'\{\n "digest": "(xxh3_128:[0-9a-f]{32})",')

WEIGHTS = "weights"
OPTIMIZER = "optimizer"
RESULT = "result"
"""The role of final weights, if they differ from the weights from which training continues."""

EVALUATED = "evaluated"
"""The role of the weights that an epoch's metrics were measured with, if others are continued from.

An evaluation may use averages that a callback puts into the model for it.
"""

DATA = "data"
"""The role of an iterator's state, which exists only if TensorFlow can save it."""

ADAPTED = "adapted"
"""The role of the learned state of preprocessing layers; missing in older checkpoints."""

ATTRIBUTES = "attributes"
"""The role of attributes of Python objects that training changes. Older checkpoints have none."""

CAPTURED = "captured"
"""The role of variables that the train step and the loss use, and that belong to no model."""

WORKER = "worker"
"""The role of what belongs to one worker of a job; the number of the worker follows in the key."""

Number = float | str
"""A number in JSON; values that JSON cannot hold are `"nan"`, `"inf"` and `"-inf"`."""


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of a checkpoint.

    Args:
        name: its name inside the checkpoint's directory.
        size_bytes: its size.
        digest: `xxh3_128:` and the hexadecimal digest.
    """

    name: str
    size_bytes: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class StateEntry:
    """The description of one entry of `state={...}`.

    Args:
        name: the name that the user gave it.
        class_name: its Python class.
        classes: the class of each optimizer in it, by its place. With another class, the same
            values would have a different meaning.
        architecture: the name of the file in `architecture/` with the model's architecture; left
            out if the entry is not a model, or its architecture is not stored.
    """

    name: str
    class_name: str
    classes: dict[str, str] = field(default_factory=dict)
    architecture: str | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, kw_only=True)
class ManifestHead:
    """The manifest without the description of the state.

    It is enough to list a checkpoint, and ten times faster to read.

    Args:
        step, epoch, batch: the position (see `RunPosition`).
        attempt: the number of the attempt that wrote it, from 1.
        saved_at: when its snapshot was taken, in seconds since the epoch.
        trigger: why it was saved.
        files: every file except the manifest.
        metrics: the metrics at this position.
        running_averages: whether the metrics are averages over an unfinished epoch. Manifests of
            earlier versions lack this field and count as whole epochs.
        not_finite: the paths of the first variables with NaN or infinity, without those of metrics.
            Manifests of earlier versions lack this field and count as finite.
        final: whether this is the state at the end of training.
        early_stop: who has ended training before its last epoch, if that is its end: `callback`,
            `epochs`, and where they are known `monitor` and `patience`. Manifests of earlier
            versions do not say.
        total: the planned number of steps or epochs of the whole run; None if unknown.
        fresh_labels: the labels of all fresh starts of the run so far; None if they are not known
            for certain, as in manifests of earlier versions.
        format_version: the version of its format.
    """

    step: int
    epoch: int
    batch: int
    attempt: int
    saved_at: float
    trigger: str
    files: tuple[FileEntry, ...] = ()
    metrics: dict[str, Number] = field(default_factory=dict)
    running_averages: bool = False
    not_finite: tuple[str, ...] = ()
    final: bool = False
    early_stop: dict[str, str | int] = field(default_factory=dict)
    total: int | None = None
    fresh_labels: tuple[str, ...] | None = None
    format_version: int = 2

    @property
    def position(self) -> RunPosition:
        return RunPosition(self.step, self.epoch, self.batch)

    @property
    def name(self) -> CheckpointName:
        return CheckpointName(self.step, self.attempt)

    @property
    def size_bytes(self) -> int:
        """The size of all files except the manifest, in bytes."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Manifest(ManifestHead):
    """The complete manifest of a checkpoint.

    Args:
        states: the entries of `state={...}`, in order.
        tensors: every tensor in the files.
        anchors: the anchors from which its positions in data are counted; none in older ones.
        extremes: the smallest and the largest finite value of each metric so far.
        hyperparameters: the configured hyperparameters of the run.
        versions: the versions of Python, TensorFlow, Keras, NumPy and ckptkit.
    """

    states: tuple[StateEntry, ...]
    tensors: tuple[TensorEntry, ...]
    anchors: tuple[AnchorEntry, ...] = ()
    extremes: dict[str, tuple[Number, Number]] = field(default_factory=dict)
    hyperparameters: dict[str, object] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def to_numbers(values: Mapping[str, float]) -> dict[str, Number]:
    """Return floats in the form that JSON can hold, with words for NaN and infinity."""
    return {name: to_number(value) for name, value in values.items()}


def to_number(value: float) -> Number:
    """See `to_numbers`."""
    return value if math.isfinite(value) else str(value)


def from_numbers(values: Mapping[str, Number]) -> dict[str, float]:
    """Return the floats that `to_numbers` wrote."""
    return {name: float(value) for name, value in values.items()}


class LaterFormatError(CorruptCheckpointError):
    """An intact manifest has a newer format than this version reads; it is not quarantined."""


def encode(manifest: Manifest) -> bytes:
    """Return the bytes of `manifest.json`."""
    return seal(msgspec.json.format(json_bytes(manifest), indent=1))


def seal(data: bytes) -> bytes:
    """Add a digest of a JSON object as its first field; a changed digit is still valid JSON."""
    body = data[1:]
    return b'{\n "digest": "' + _digest(body) + b'",' + body


def unseal(data: bytes) -> bool:
    """Return whether the first field of a JSON object is the right digest of the rest."""
    found = _SEAL.match(data)
    return found is not None and _digest(data[found.end() :]) == found[1]


def _digest(body: bytes) -> bytes:
    return b"xxh3_128:" + xxhash.xxh3_128_hexdigest(body).encode()


def decode(data: bytes, where: Path) -> Manifest:
    """Decode a manifest.

    Raises:
        CorruptCheckpointError: If it is not a manifest, or has a newer format (`LaterFormatError`).
    """
    manifest = _decode(data, where, Manifest)
    try:
        for low_high in manifest.extremes.values():
            from_numbers(dict(zip("lh", low_high, strict=True)))
    except (ValueError, OverflowError) as error:
        raise _no_manifest(where, error) from error
    for tensor in manifest.tensors:
        if tensor.key.count("/") < 2:
            raise _no_manifest(where, f"{tensor.key!r} is not the key of a tensor")
        if isinstance(tensor.replicas, int) and not 0 < tensor.replicas <= _MOST_REPLICAS:
            raise _no_manifest(where, f"{tensor.replicas} is not a number of replicas")
    return manifest


def decode_head(data: bytes, where: Path) -> ManifestHead:
    """Decode a manifest, as `decode`, without the description of the state."""
    return _decode(data, where, ManifestHead)


H = TypeVar("H", bound=ManifestHead)


def _decode(data: bytes, where: Path, kind: type[H]) -> H:
    """Decode a manifest, or its head.

    Raises:
        CorruptCheckpointError: If it is not a manifest, or has a newer format (`LaterFormatError`).
    """
    found = _SEAL.match(data)
    if found and _digest(data[found.end() :]) != found[1]:
        raise CorruptCheckpointError(f"{where} has changed since it was written (digest differs).")
    try:
        manifest = msgspec.json.decode(data, type=kind)
        _check_version(manifest.format_version, where, is_sealed=found is not None)
        _check(manifest)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        # Another version may have a different format, which is not damage.
        with suppress(msgspec.DecodeError, RecursionError, ValueError):
            _check_version(
                msgspec.json.decode(data, type=_VersionedManifest).format_version,
                where,
                is_sealed=found is not None,
            )
        raise _no_manifest(where, error) from error
    return manifest


def _check_version(version: int, where: Path, *, is_sealed: bool) -> None:
    if is_sealed and version > FORMAT_VERSION:
        raise LaterFormatError(
            f"{where} has format version {version}; this ckptkit reads up to {FORMAT_VERSION}. "
            "Install a newer one.",
            "manifest",
            MANIFEST,
        )
    if not is_sealed and version != 1:
        raise ValueError("its digest is missing")


def _no_manifest(where: Path, reason: object) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"{where} is not a manifest of a checkpoint: {reason}.", "manifest", MANIFEST
    )


def _check(manifest: ManifestHead) -> None:
    """Check conditions of a manifest that its types do not express.

    Raises:
        ValueError: If a value is invalid.
    """
    from_numbers(manifest.metrics)
    _ = manifest.position
    if len({file.name for file in manifest.files}) != len(manifest.files):
        raise ValueError("the same file is named twice")
    for file in manifest.files:
        if "/" in file.name or file.name in ("", ".", "..", MANIFEST) or "\0" in file.name:
            raise ValueError(f"{file.name!r} is not the name of a file in the manifest's directory")


@dataclass(frozen=True)
class _VersionedManifest:
    format_version: int


def read_manifest(directory: Path, files: FileSystem = DISK) -> Manifest:
    """Read the manifest in a checkpoint's directory.

    Raises:
        CorruptCheckpointError: If it is missing, unreadable, too large, or does not belong to
            this directory.
        StorageError: If the system refuses to read it.
    """
    return _read(directory, decode, files)


def read_head(directory: Path, files: FileSystem = DISK) -> ManifestHead:
    """Read the manifest as `read_manifest`, without the description of the state."""
    return _read(directory, decode_head, files)


def _read(directory: Path, decoded: Callable[[bytes, Path], H], files: FileSystem) -> H:
    path = directory / MANIFEST
    if os.path.islink(directory):
        raise CorruptCheckpointError(
            f"{directory} is a symbolic link, which ckptkit does not follow out of a run."
        )
    with judging(path, MANIFEST, files):
        data = files.read_bounded(path, MAX_MANIFEST_BYTES)
        manifest = decoded(data, path)
    if str(manifest.name) != directory.name:
        raise CorruptCheckpointError(
            f"{path} is the manifest of {manifest.name}: files of two checkpoints were mixed.",
            "manifest",
            MANIFEST,
        )
    return manifest
