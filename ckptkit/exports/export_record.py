"""The record of an exported version, `EXPORT.json`: its source, its signatures, its files."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import msgspec

from ckptkit.errors import ExportError
from ckptkit.run.manifest import FileEntry, Number, seal, unseal
from ckptkit.storage.proof_of_damage import not_read, proven_damage
from ckptkit.storage.safe_read import read_bounded

EXPORT_RECORD = "EXPORT.json"

FORMAT_VERSION = 1

MAX_RECORD_BYTES = 64 * 1024 * 1024


class TensorForm(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output of a signature.

    Args:
        name: its name in the signature.
        dtype: TensorFlow's name of the type.
        shape: sizes, null for one that is not fixed; null if even their number is not fixed.
        argument: its place in the arguments or results of the endpoint of the same name, as in
            `inputs['a'][0]`; for messages.
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
        largest_difference: between the values that were compared, of all outputs; 0 for equal bits.
        rtol: the relative tolerance.
        atol: the absolute one, in units of the largest finite value of an output.
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
        proof: how it was proven.
        graph: a digest of what it computes, names left out; empty in exports of earlier versions.
    """

    inputs: tuple[TensorForm, ...]
    outputs: tuple[TensorForm, ...]
    proof: Proof
    graph: str = ""


class ExportSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where the model came from.

    Args:
        step: the step of the run that it was trained in; null if it did not come from a run.
        checkpoint: the checkpoint whose values it has; empty if it did not come from one.
        weights: `final`, `best` or `step`; empty if it did not come from a run.
    """

    step: int | None = None
    checkpoint: str = ""
    weights: str = ""


class ExportRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that is recorded of an exported version.

    Args:
        exported_at: seconds since the epoch.
        model: class and name of what was exported.
        source: where it came from.
        signatures: by name.
        default: the signature that `serving_default` is another name of.
        sample: the origin of the inputs that it was checked with: `given`, `data` or `specs`.
        variables: a digest over the values of all variables in it.
        check_secs: what the check took.
        checked_on: the device of the process that checked.
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
    return seal(msgspec.json.format(msgspec.json.encode(record), indent=1))


def decode_export(data: bytes, where: Path) -> ExportRecord:
    """Decode a record.

    Raises:
        ExportError: If it is not a record, was changed, or has a later format.
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
            raise ValueError("its digest is missing, or is another one")
        record = msgspec.json.decode(data, type=ExportRecord)
        for file in record.files:
            if not is_inside(file.name):
                raise ValueError(f"{file.name!r} is not the path of a file beside it")
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise ExportError(f"{where} is not the record of an export: {error}.") from error
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
        FileNotFoundError: If there is none, because another program made this version.
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
