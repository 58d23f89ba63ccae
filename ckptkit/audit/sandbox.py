"""The directories in which one training of an audit works on a copy of the user's files.

So files that a script writes below its working directory change neither the user's files nor the
other training's. Runs are not copied, because the audit begins new ones. Caches and version control
directories are not copied either. Virtual environments are linked.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptkit.errors import ConfigError
from ckptkit.log import size
from ckptkit.run.audit_settings import ELSEWHERE
from ckptkit.run.stored_run import is_run
from ckptkit.storage.files import storage_errors

LEFT_OUT = frozenset({".git", ".hg", ".svn", "__pycache__"})
CACHE = "CACHEDIR.TAG"  # https://bford.info/cachedir/
VENV = "pyvenv.cfg"
_LARGEST = 3


@dataclass(frozen=True)
class SandboxEntry:
    """A file, directory or link to create in a sandbox.

    Args:
        path: relative to the working directory.
        kind: `directory`, `file`, or `link` (to the user's original).
        size_bytes: the size of a file, in bytes.
    """

    path: Path
    kind: str
    size_bytes: int = 0


@dataclass(frozen=True)
class SandboxSource:
    """The files of the user's working directory to copy, and those to leave out.

    Args:
        root: the working directory.
        entries: what to copy or link; a directory comes before its content.
        left_out: the paths of runs and caches that are not copied, relative to the root.
    """

    root: Path
    entries: tuple[SandboxEntry, ...]
    left_out: tuple[Path, ...]

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.entries)


def look(root: Path, links: Sequence[Path], most_bytes: int, *, without: Path) -> SandboxSource:
    """List the files of a working directory that a sandbox gets.

    Args:
        root: the working directory.
        links: the paths to link instead of copying, relative to the root.
        most_bytes: the largest size to copy, in bytes.
        without: the audit's own directory, which is left out.

    Raises:
        ConfigError: If the files are larger than `most_bytes`, or a path of `links` does not exist.
        StorageError: If something cannot be read.
    """
    linked = {_below(root, path) for path in links}
    entries: list[SandboxEntry] = []
    left_out: list[Path] = []
    total = 0
    with storage_errors("read", root):
        for entry in _walk(root, Path(), linked, left_out, without.resolve()):
            entries.append(entry)
            total += entry.size_bytes
            if total > most_bytes:
                _complain(root, entries, most_bytes)
    return SandboxSource(
        root,
        tuple(each for each in entries if not _leads_into(root, each, left_out)),
        tuple(left_out),
    )


def _leads_into(root: Path, entry: SandboxEntry, left_out: Sequence[Path]) -> bool:
    """Return whether an entry links to a run that is not copied, such as `latest`.

    Such a link is left out: a training can create a missing run, but not through a broken link.
    """
    if entry.kind != "link":
        return False
    target = Path(os.path.realpath(root / entry.path))
    return any(target.is_relative_to(root / path) for path in left_out)


def _below(root: Path, path: Path) -> Path:
    whole = Path(os.path.abspath(root / path))
    if not whole.is_relative_to(root) or whole == root or not os.path.lexists(whole):
        raise ConfigError(
            f"--link names a file or directory in the working directory to link instead of "
            f"copying it. Received: {path}, which does not exist in {root}."
        )
    return whole.relative_to(root)


def _walk(
    root: Path, directory: Path, linked: set[Path], left_out: list[Path], without: Path
) -> Iterator[SandboxEntry]:
    for found in sorted(os.scandir(root / directory), key=lambda each: each.name):
        path = directory / found.name
        if path in linked or found.is_symlink():
            yield SandboxEntry(path, "link")
        elif found.is_dir():
            inside = Path(found.path)
            if found.name in LEFT_OUT or (inside / CACHE).exists() or inside.resolve() == without:
                continue
            if (inside / VENV).exists():
                yield SandboxEntry(path, "link")
            elif is_run(inside) and not any(link.is_relative_to(path) for link in linked):
                left_out.append(path)
            else:
                yield SandboxEntry(path, "directory")
                yield from _walk(root, path, linked, left_out, without)
        else:
            known = found.stat()
            if stat.S_ISREG(known.st_mode):  # a pipe or a socket belongs to a running process
                yield SandboxEntry(path, "file", known.st_size)


def _complain(root: Path, entries: Sequence[SandboxEntry], most_bytes: int) -> None:
    sums: dict[str, int] = {}
    for entry in entries:
        sums[entry.path.parts[0]] = sums.get(entry.path.parts[0], 0) + entry.size_bytes
    largest = ", ".join(
        f"{name} ({size(total)})"
        for name, total in sorted(sums.items(), key=lambda each: -each[1])[:_LARGEST]
    )
    raise ConfigError(
        f"Each training of an audit works on a copy of the working directory, and {root} has more "
        f"than {size(most_bytes)}; so far {largest}. Link what the training only reads (--link "
        f"data), start the audit in the directory of the script, allow more (--copy-bytes), or "
        f"copy nothing (--in-place): then the script writes its files to their usual places."
    )


@dataclass(frozen=True)
class Sandbox:
    """The directories of one training.

    Args:
        home: the directory of the training, inside the audit's directory.
        work: its working directory; the user's if nothing is copied.
    """

    home: Path
    work: Path

    @property
    def log(self) -> Path:
        """The file with the output of the training."""
        return self.home / "output.log"

    @property
    def instructions(self) -> Path:
        return self.home / "instructions.json"

    @property
    def hold(self) -> Path:
        return self.home / "hold"

    def runs(self) -> dict[str, Path]:
        """Return the run directories in this sandbox, by the paths that the script named."""
        found = {}
        for directory, names, _ in os.walk(self.home):
            path = Path(directory)
            if is_run(path):
                names.clear()
                found[self._name(path)] = path
        return found

    def path_of(self, name: str) -> Path:
        """Return the run directory in this sandbox for a path that the script named."""
        wanted = Path(os.path.normpath(self.work / name))
        return (
            wanted
            if wanted.is_relative_to(self.home)
            else self.home / ELSEWHERE / wanted.relative_to("/")
        )

    def _name(self, path: Path) -> str:
        if not path.is_relative_to(self.home / ELSEWHERE):
            return os.path.relpath(path, self.work)  # also above it: a script may name ../runs
        whole = Path("/") / path.relative_to(self.home / ELSEWHERE)
        return str(whole.relative_to(self.work) if whole.is_relative_to(self.work) else whole)


def make(home: Path, source: SandboxSource | None, user: Path) -> Sandbox:
    """Create the directories of one training.

    Args:
        home: the directory to create for it.
        source: the files to copy; None if it works in the user's directory.
        user: the user's working directory.

    Raises:
        StorageError: If the disk refuses.
    """
    home = Path(os.path.realpath(home))
    with storage_errors("copy the working directory to", home):
        home.mkdir(parents=True)
        work = user if source is None else home / "work"
        if source is not None:
            work.mkdir()
            for entry in source.entries:
                _put(source.root, work, entry)
    return Sandbox(home, work)


def _put(root: Path, work: Path, entry: SandboxEntry) -> None:
    here, there = root / entry.path, work / entry.path
    if entry.kind == "directory":
        there.mkdir()
        shutil.copystat(here, there)
    elif entry.kind == "file":
        shutil.copy2(here, there)
    else:
        target = Path(os.path.realpath(here))
        inside = here.is_symlink() and target.is_relative_to(root)
        there.symlink_to(work / target.relative_to(root) if inside else target)
