"""Reads and writes `EXPORT.json`, the record of an exported version: source, signatures, files."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import msgspec

from ckptkit.errors import ExportError
from ckptkit.run.manifest import FileEntry, Number, seal, unseal
from ckptkit.storage.files import read_bounded
from ckptkit.storage.json_bytes import json_bytes
from ckptkit.storage.proof_of_damage import not_read, proven_damage

EXPORT_RECORD = "EXPORT.json"

FORMAT_VERSION = 1

MAX_RECORD_BYTES = 64 * 1024 * 1024


class TensorForm(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output of a signature.

    Args:
        name: its name in the signature.
        dtype: TensorFlow's name of the type.
        shape: the sizes, with null for a size that is not fixed; null if even the number of
            dimensions is not fixed.
        argument: its place in the arguments or results of the endpoint, such as `inputs['a'][0]`;
            for messages.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    argument: str = ""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """How a signature was compared with the live model.

    Args:
        how: `equal_bits`; `within_tolerances`; `runs` if the live model itself gives other values
            at each call, so that only names, shapes and types were compared; or `unproven` if an
            operation in it runs on a GPU only.
        largest_difference: the largest difference between compared values of all outputs; 0 for
            equal bits.
        rtol: the relative tolerance.
        atol: the absolute tolerance, in units of the largest finite value of an output.
        note: a remark, in words.
    """

    how: str
    largest_difference: Number = 0.0
    rtol: float = 0.0
    atol: float = 0.0
    note: str = ""


class SignatureRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One signature of an exported version.

    Args:
        inputs: its inputs.
        outputs: its outputs.
        proof: how it was compared with the live model.
        graph: a digest of its computation, without names; empty in exports of earlier versions.
    """

    inputs: tuple[TensorForm, ...]
    outputs: tuple[TensorForm, ...]
    proof: Proof
    graph: str = ""


class ExportSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where the model came from.

    Args:
        step: the step of the run; null if the model does not come from a run.
        checkpoint: the checkpoint with its values; empty if there is none.
        weights: `final`, `best` or `step`; empty if the model does not come from a run.
    """

    step: int | None = None
    checkpoint: str = ""
    weights: str = ""


class ExportRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `EXPORT.json`, the record of an exported version.

    Args:
        exported_at: when it was exported, in seconds since the epoch.
        model: the class and name of the exported object.
        source: where it came from.
        signatures: the signatures by name.
        default: the signature that is also available as `serving_default`.
        sample: the origin of the inputs for the check: `given`, `data` or `specs`.
        variables: a digest of the values of all its variables.
        check_secs: the duration of the check in seconds.
        checked_on: the device of the checking process.
        files: every file except this one, by its path from the version's directory.
        versions: the versions of Python, TensorFlow, Keras, NumPy and ckptkit.
        format_version: the version of its format.
    """

    exported_at: float
    model: str
    source: ExportSource
    signatures: dict[str, SignatureRecord]
    default: str
    sample: str
    variables: str
    check_secs: float
    checked_on: str = "CPU"
    files: tuple[FileEntry, ...] = ()
    versions: dict[str, str] = {}
    format_version: int = FORMAT_VERSION


class _VersionedRecord(msgspec.Struct):
    format_version: int


def encode_export(record: ExportRecord) -> bytes:
    """Return the bytes of `EXPORT.json`."""
    return seal(msgspec.json.format(json_bytes(record), indent=1))


def decode_export(data: bytes, where: Path) -> ExportRecord:
    """Return the record in the bytes of `EXPORT.json`.

    Raises:
        ExportError: If it is not a record, was changed, or has a newer format.
    """
    try:
        sealed = unseal(data)
        version = msgspec.json.decode(data, type=_VersionedRecord).format_version
        if sealed and version > FORMAT_VERSION:
            raise ExportError(
                f"{where} has format version {version}; this ckptkit reads up to "
                f"{FORMAT_VERSION}. Install a newer one."
            )
        if not sealed:
            raise ValueError("its digest is missing or wrong")
        record = msgspec.json.decode(data, type=ExportRecord)
        for file in record.files:
            if not is_inside(file.name):
                raise ValueError(f"{file.name!r} is not the path of a file in the same directory")
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise ExportError(f"{where} is not a valid record of an export: {error}.") from error
    return record


def is_inside(name: str) -> bool:
    """Return whether a path leads from a directory to a file in it, in its normal spelling."""
    path = PurePosixPath(name)
    return (
        bool(name)
        and "\0" not in name
        and not path.is_absolute()
        and ".." not in path.parts
        and str(path) == name
    )


def read_export(directory: Path) -> ExportRecord:
    """Read the record in an exported version's directory.

    Raises:
        ExportError: If it is not a record.
        StorageError: If the system refuses to read it.
        FileNotFoundError: If it does not exist, because another program made this version.
    """
    path = directory / EXPORT_RECORD
    try:
        data = read_bounded(path, MAX_RECORD_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        if proven_damage(error, path) is None:
            raise not_read(path, error.errno, error.strerror or "") from error
        raise ExportError(f"{path} cannot be read: {error.strerror or error}.") from error
    return decode_export(data, path)
