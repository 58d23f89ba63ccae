"""Directory of one training of an audit, with a copy of the working directory.

Whatever a script writes below its working directory is so kept apart from the user's files and from
the other training's. Runs are left out, as the audit begins new ones; so are caches and what
belongs to version control. Virtual environments are linked.
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
from ckptkit.run.audit_orders import ELSEWHERE
from ckptkit.run.stored_run import is_run
from ckptkit.storage.files import storage_errors

LEFT_OUT = frozenset({".git", ".hg", ".svn", "__pycache__"})
CACHE = "CACHEDIR.TAG"  # https://bford.info/cachedir/
VENV = "pyvenv.cfg"
_LARGEST = 3


@dataclass(frozen=True)
class SandboxEntry:
    """Entry to be copied.

    Args:
        path: relative to the working directory.
        kind: `directory`, `file`, or `link`: to what lies in the user's own place.
        size_bytes: the size of a file, in bytes.
    """

    path: Path
    kind: str
    size_bytes: int = 0


@dataclass(frozen=True)
class SandboxSource:
    """What to copy, and what to leave out.

    Args:
        root: the working directory.
        entries: what is copied, or linked, directories before what they hold.
        left_out: runs and the like, relative.
    """

    root: Path
    entries: tuple[SandboxEntry, ...]
    left_out: tuple[Path, ...]

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.entries)


def look(root: Path, links: Sequence[Path], most_bytes: int, *, without: Path) -> SandboxSource:
    """List what a working directory holds.

    Args:
        root: the working directory.
        links: what is linked and not copied, relative to it.
        most_bytes: the most that is copied.
        without: the audit's own directory, which may lie below.

    Raises:
        ConfigError: If that is too much.
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
    """Return whether it is a link to a run that is not copied, such as `latest`.

    It is left out: a training can create a missing run, but not through a link that is broken.
    """
    if entry.kind != "link":
        return False
    target = Path(os.path.realpath(root / entry.path))
    return any(target.is_relative_to(root / path) for path in left_out)


def _below(root: Path, path: Path) -> Path:
    whole = Path(os.path.abspath(root / path))
    if not whole.is_relative_to(root) or whole == root or not os.path.lexists(whole):
        raise ConfigError(
            "--link names a file or directory in the working directory, which is linked and not "
            f"copied. Received: {path}. There is no "
            f"such thing in {root}."
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
            if stat.S_ISREG(known.st_mode):  # a pipe or a socket is a living process's
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
        f"Each training of an audit has a copy of the working directory, {root}, and that is more "
        f"than {size(most_bytes)}; so far "
        f"{largest}. Link what the training only reads (--link data), start the audit in the "
        "directory of the script, allow more "
        "(--copy-bytes), or go without a copy (--in-place): then the script's own files are "
        "written where they always are."
    )


@dataclass(frozen=True)
class Sandbox:
    """Directories of one training.

    Args:
        home: its own directory.
        work: its working directory; the user's, if nothing is copied.
    """

    home: Path
    work: Path

    @property
    def log(self) -> Path:
        """Log of what it prints."""
        return self.home / "output.log"

    @property
    def orders(self) -> Path:
        return self.home / "orders.json"

    @property
    def hold(self) -> Path:
        return self.home / "hold"

    def runs(self) -> dict[str, Path]:
        """Return the run directories in here, by the paths that the script named."""
        found = {}
        for directory, names, _ in os.walk(self.home):
            path = Path(directory)
            if is_run(path):
                names.clear()
                found[self._name(path)] = path
        return found

    def path_of(self, name: str) -> Path:
        """Return the run directory that is shown under a name; it need not exist yet."""
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
    """Make the directories of one training.

    Args:
        home: its own directory, which is made.
        source: what its working directory holds; None if it works in the user's.
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
