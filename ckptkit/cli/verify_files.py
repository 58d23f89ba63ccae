"""`ckptkit verify` outside of a run: TensorFlow checkpoints, SavedModels, .keras files.

Each is compared with the checksums that its own format contains.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ckptkit.cli.checkpoint_choice import is_best
from ckptkit.cli.path_target import recognise_path
from ckptkit.cli.plain_text import count
from ckptkit.cli.progress_line import progress
from ckptkit.cli.verify_result import VerifyResult, damaged_tensors_error
from ckptkit.errors import CheckpointNotFoundError, ConfigError, CorruptCheckpointError, ExportError
from ckptkit.exports.export_record import read_export
from ckptkit.exports.version_directories import versions_in
from ckptkit.layout import expanded
from ckptkit.load.cpu_only import hide_gpus
from ckptkit.load.directory_tree import prefixes_in
from ckptkit.load.formats import Format, FoundFormat, step_of
from ckptkit.load.keras_archive import check_archive
from ckptkit.run.verify import bytes_to_read, verify_files

_VARIABLES = Path("variables") / "variables"


def verify_model_files(
    path: str, found: FoundFormat, which: int | str | None, *, every: bool, quick: bool
) -> list[VerifyResult]:
    """Verify a model or checkpoints outside of a run.

    Args:
        path: the path as it was typed.
        found: its format and path.
        which: the number at the end of a checkpoint's name, or of a version; by default the newest.
        every: verify all checkpoints of the directory, or all versions.
        quick: do not read values.

    Raises:
        ConfigError: If the format has no checksums, or `which` has no meaning for it.
        CheckpointNotFoundError: If there is no such number.
        StorageError: If the system refuses to read.
    """
    if is_best(which):
        raise ConfigError(
            f"'best' works only for a run. {found.path} is not a run (found: {found.format}). "
            "Leave 'best' out."
        )
    if found.format is Format.HDF5:
        raise ConfigError(
            f"{found.path} is an HDF5 file, and Keras writes those without checksums, so nothing "
            "in it can be verified. ckptkit show reads its structure."
        )
    one = found.format in (Format.KERAS, Format.SAVED_MODEL) or not expanded(path).is_dir()
    if one and (every or which not in (None, "latest")):
        raise ConfigError(
            f"{path} already names one {found.format}. Received: {'--all' if every else which} "
            "as well. Leave it out."
        )
    if found.format is Format.KERAS:
        return [_archive(found.path)]
    if found.format is Format.SAVED_MODEL:
        return [_saved_model(found.path, quick=quick)]
    if found.format is Format.VERSIONS:
        versions = {version: number for number, version in versions_in(found.path).items()}
        return [
            _saved_model(version, quick=quick)
            for version in _chosen(found.path, versions, which, every)
        ]
    prefixes = prefixes_in(found.path.parent)
    chosen = (
        [found.path]
        if which in (None, "latest") and not every
        else _chosen(found.path.parent, prefixes, which, every)
    )
    return [_tensorflow(prefix, quick=quick) for prefix in chosen]


def locate(path: str, which: int | str | None, *, every: bool) -> FoundFormat:
    """Return the format and path of what is to be verified.

    A directory of checkpoints need not say which is the newest, if that is not asked for.

    Raises:
        CheckpointError: As for `recognise_path`.
    """
    try:
        return recognise_path(path)
    except (ConfigError, CheckpointNotFoundError):
        directory = expanded(path)
        if (
            (every or isinstance(which, int))
            and directory.is_dir()
            and (prefixes := prefixes_in(directory))
        ):
            return FoundFormat(Format.CHECKPOINT, list(prefixes)[-1])
        raise


def _chosen(
    directory: Path, numbers: Mapping[Path, int | None], which: int | str | None, every: bool
) -> list[Path]:
    if every:
        return list(numbers)
    chosen = [path for path, number in numbers.items() if which in (None, "latest", number)]
    if not chosen:
        known = ", ".join(str(each) for each in numbers.values() if each is not None) or "none"
        raise CheckpointNotFoundError(
            f"{directory} has no number {which}. Expected one of: {known}."
        )
    return chosen[-1:]


def _tensorflow(prefix: Path, *, quick: bool, name: str = "") -> VerifyResult:
    hide_gpus()
    from ckptkit.load.tf_checksums import check_sums

    name = name or prefix.name
    files = [
        path
        for path in prefix.parent.iterdir()
        if path.name.startswith(f"{prefix.name}.data-") and path.is_file()
    ]
    try:
        with progress(f"verifying {name}", sum(path.stat().st_size for path in files)) as advance:
            sums = check_sums(prefix, quick=quick, progress=advance)
    except CorruptCheckpointError as error:
        return VerifyResult(name=name, path=str(prefix), step=step_of(prefix.name), error=error)
    if sums.damaged:
        return VerifyResult(
            name=name,
            path=str(prefix),
            step=step_of(prefix.name),
            error=damaged_tensors_error(sums.damaged, sums.tensors),
            tensors=sums.damaged,
        )
    how = (
        "the index agrees with its checksums; no values were read"
        if quick
        else "every tensor agrees with its checksum"
    )
    return VerifyResult(
        name=name,
        path=str(prefix),
        step=step_of(prefix.name),
        parts=count(sums.tensors, "tensor"),
        how=how,
        size_bytes=sums.size_bytes,
        read_bytes=sums.read_bytes,
    )


def _saved_model(path: Path, *, quick: bool) -> VerifyResult:
    """Verify a SavedModel by the digests of a ckptkit export, else by its variables' checksums."""
    try:
        record = read_export(path)
    except FileNotFoundError:
        if not path.joinpath(f"{_VARIABLES}.index").is_file():
            raise ConfigError(
                f"{path} has no variables, and only those have checksums in a SavedModel, so "
                "nothing in it can be verified."
            ) from None
        return _tensorflow(path / _VARIABLES, quick=quick, name=f"{path.name}/{_VARIABLES}")
    except ExportError as error:
        return VerifyResult(
            name=path.name,
            path=str(path),
            error=CorruptCheckpointError(str(error), "manifest", "EXPORT.json"),
        )
    try:
        with progress(
            f"verifying {path.name}", bytes_to_read(record.files, quick=quick)
        ) as advance:
            read = verify_files(path, record.files, quick=quick, progress=advance)
    except CorruptCheckpointError as error:
        return VerifyResult(name=path.name, path=str(path), step=record.source.step, error=error)
    how = "every byte agrees" if read.in_full else "sizes and all small files agree"
    return VerifyResult(
        name=path.name,
        path=str(path),
        step=record.source.step,
        parts=count(len(record.files), "file"),
        how=how,
        size_bytes=read.size_bytes,
        read_bytes=read.read_bytes,
    )


def _archive(path: Path) -> VerifyResult:
    try:
        with progress(f"verifying {path.name}", path.stat().st_size) as advance:
            size_bytes = check_archive(path, advance)
    except CorruptCheckpointError as error:
        return VerifyResult(name=path.name, path=str(path), error=error)
    return VerifyResult(
        name=path.name,
        path=str(path),
        parts="zip archive",
        how="every member agrees with its checksum",
        size_bytes=size_bytes,
        read_bytes=size_bytes,
    )
