"""Exports, without a model: versions whose content says which one they are, and what may be left of
them. No TensorFlow.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ckptkit.exports import unfinished_versions, version_directories
from ckptkit.exports.export_record import EXPORT_RECORD, ExportRecord, ExportSource, decode_export
from ckptkit.run.verify import file_entry
from ckptkit.storage.files import FileSystem
from ckptkit.storage.operations import (
    Append,
    CreateFile,
    MakeDir,
    Operation,
    Rename,
    SyncDir,
)
from tests.campaigns.crash.run_process import RunProcess

GOES_ON_VERSION = 990


def content(number: int) -> dict[str, bytes]:
    """The files of a version."""
    names = (
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "assets/words.txt",
    )
    return {name: f"{name} of version {number} ".encode() * 5 for name in names}


def export(process: RunProcess, number: int, keep: int | None = 2) -> Path:
    """As `ckptkit.export.publishing` does it; the proof is left out."""
    base = process.layout.export
    with version_directories.writing(process.files, base, number) as directory:
        write(process.files, directory, number)
        entries = version_directories.sync(process.files, directory)
        path = version_directories.publish(
            process.files, directory, replace_files(record(number), entries), number, 0.0
        )
    version_directories.retain(process.files, base, keep)
    return path


def write(files: FileSystem, directory: Path, number: int) -> None:
    """What TensorFlow does: nothing is synced, and each file comes piece by piece."""
    for name, data in content(number).items():
        path = directory / name
        if not path.parent.exists():
            files.do(MakeDir(path.parent))
        files.do(CreateFile(path))
        for piece in (data[:40], data[40:]):
            files.do(Append(path, piece))


def record(number: int) -> ExportRecord:
    return ExportRecord(
        exported_at=0.0,
        model="model",
        source=ExportSource(step=number),
        signatures={},
        default="serve",
        sample="given",
        variables="",
        check_secs=0.0,
    )


def replace_files(record: ExportRecord, entries: tuple[object, ...]) -> ExportRecord:
    return ExportRecord(
        **{**{name: getattr(record, name) for name in record.__struct_fields__}, "files": entries}
    )


def published(steps: list[Operation]) -> list[tuple[int, int, int]]:
    """The versions that a trace publishes: number, how many steps make it visible, and how many
    until it must not be lost any more (0: it may).
    """
    found: list[tuple[int, int, int]] = []
    for done, step in enumerate(steps, start=1):
        if (
            isinstance(step, Rename)
            and step.path.parent.name == "export"
            and step.target.name.isdecimal()
        ):
            found.append((int(step.target.name), done, 0))
        elif isinstance(step, SyncDir) and step.path.name == "export":
            found = [(number, visible, durable or done) for number, visible, durable in found]
    return found


def newest(process: RunProcess) -> int:
    """The number of the newest version that a server would take; every version that it could take
    is whole.
    """
    base = process.layout.export
    numbers = version_directories.numbers(base)
    for number in numbers:
        check_whole(base / str(number), number)
    return max(numbers, default=0)


def check_whole(path: Path, number: int) -> None:
    if (path / "foreign").exists():
        assert (path / "foreign").read_bytes() == b"somebody else's"
        return
    said = decode_export((path / EXPORT_RECORD).read_bytes(), path)
    assert said.source.step == number
    assert {entry.name for entry in said.files} == set(content(number)), (
        "a server would see another set of files"
    )
    for entry in said.files:
        assert (path / entry.name).read_bytes() == content(number)[entry.name], (
            f"{entry.name} of version {number} is not whole"
        )
        assert replace(file_entry(path / entry.name), name=entry.name) == entry


def problem(process: RunProcess, least: int, most: int) -> str | None:
    """What is wrong with the exports that a crash has left, or None; one more export has to
    succeed, and to put things in order.
    """
    base = process.layout.export
    found = newest(process)
    if not least <= found <= most:
        return f"the newest version is {found}; expected {least} to {most}"
    foreign = (
        {path.name for path in base.iterdir() if (path / "foreign").exists()}
        if base.is_dir()
        else set()
    )
    before = version_directories.numbers(base)
    export(process, GOES_ON_VERSION, keep=2)
    ours = [str(number) for number in before if str(number) not in foreign]
    expected = {str(GOES_ON_VERSION), *ours[-1:], *foreign}
    left = {path.name for path in base.iterdir()}
    return (
        None
        if left == expected
        else f"after one more export there are {sorted(left)}; expected {sorted(expected)}"
    )


# -- what is interrupted


def two(process: RunProcess) -> None:
    export(process, 10)
    export(process, 20)


def foreign(process: RunProcess) -> None:
    """Versions of somebody else, older and newer than ours."""
    two(process)
    for number in (5, 25):
        path = process.layout.export / str(number)
        path.mkdir()
        (path / "foreign").write_bytes(b"somebody else's")


def left_overs(process: RunProcess) -> None:
    """What crashes leave: an export that was not published, and a removal that was not finished."""
    two(process)
    base = process.layout.export
    for kind in (".writing-30", ".removing-5"):
        owner = unfinished_versions.new_name()
        unfinished_versions.lock_of(base, owner).touch()
        (base / f"{kind}-{owner}").mkdir()
        write(FileSystem(), base / f"{kind}-{owner}", 30)
