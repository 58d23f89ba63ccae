"""A model of the files that a file system may keep after a power loss.

POSIX promises little. A file's content is durable after the file was synced, and a name after its
directory was synced. Everything else may be kept or lost independently: of two renames only the
later one; of unsynced data nothing, a part, or its length without its bytes. Journaling file
systems keep more in practice, each in its own way. Code that survives every outcome of this model
is safe on all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ckptkit.storage.operations import (
    Append,
    CreateFile,
    Link,
    MakeDir,
    Operation,
    Overwrite,
    RemoveDir,
    Rename,
    SyncDir,
    SyncFile,
    Truncate,
    Unlink,
)

Decide = Callable[[int], int]
"""A function that chooses an outcome: 0 loses a change completely, the last one keeps it."""


def all_lost(outcomes: int) -> int:
    """Choose that everything unsynced is lost; for `PowerLoss.left`.

    Args:
        outcomes: the number of possible outcomes.

    Example:
        >>> from ckptkit.testing import all_lost
        >>> all_lost(5)
        0
    """
    return 0


def nothing_lost(outcomes: int) -> int:
    """Choose that everything is kept, as after a crash of the process; for `PowerLoss.left`.

    Args:
        outcomes: the number of possible outcomes.

    Example:
        >>> from ckptkit.testing import nothing_lost
        >>> nothing_lost(5)
        4
    """
    return outcomes - 1


@dataclass(eq=False)
class _File:
    now: bytes = b""
    durable: bytes = b""


@dataclass(eq=False)
class _Dir:
    now: dict[str, _File | _Dir] = field(default_factory=dict)
    durable: dict[str, _File | _Dir] = field(default_factory=dict)


_Node = _File | _Dir
_Place = tuple[_Dir, str]


@dataclass(eq=False)
class _Change:
    """A change of names that is not durable yet.

    Args:
        node: the file or directory whose name changed.
        source: its old directory and name; None for a new file or directory.
        target: its new directory and name; None for an unlink.
        waits_for: the directories that have to be synced to make it durable.
    """

    node: _Node
    source: _Place | None
    target: _Place | None
    waits_for: list[_Dir]


class PowerLoss:
    """Follows the operations in a directory, and returns the files that a power loss may leave.

    The initial content of the directory is durable.

    Args:
        root: the directory. Only operations inside it count.

    Raises:
        ValueError: If an operation does not match the earlier ones, because something else also
            writes into the directory.

    Example:
        >>> import pathlib, tempfile
        >>> from ckptkit.testing import FaultyFiles, PowerLoss, all_lost, nothing_lost
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> files, disk = FaultyFiles(), PowerLoss(root)
        >>> files.create(root / "notes", b"some")
        >>> disk.follow(files.steps)
        >>> disk.left(all_lost), disk.left(nothing_lost)
        ({}, {'notes': b'some'})
        >>> files.sync_dir(root)
        >>> disk.follow(files.steps[-1:])
        >>> disk.left(all_lost)
        {'notes': b'some'}
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._places: dict[int, _Place] = {}
        self._tree = self._read(root)
        self._changes: list[_Change] = []

    def follow(self, steps: Iterable[Operation]) -> None:
        """Add operations that were done.

        Raises:
            ValueError: If an operation does not match the earlier ones.
        """
        for step in steps:
            if step.path == self._root or self._root in step.path.parents:
                try:
                    self._apply(step)
                except (KeyError, AttributeError) as error:
                    raise ValueError(
                        f"{step} does not match the earlier operations: does something else also "
                        f"write into {self._root}?"
                    ) from error

    def left(self, decide: Decide) -> dict[str, bytes | None]:
        """Return one possible outcome of a power loss at this moment.

        Args:
            decide: chooses the outcome of each change that is not durable.
                `random.Random(seed).randrange` is a good choice; `all_lost` and `nothing_lost` are
                the extremes.

        Returns:
            The content of each file by path, and None for each empty directory.
        """
        names: dict[int, dict[str, _Node]] = {}
        contents: dict[int, bytes] = {}
        places = dict(self._places)

        def entries(directory: _Dir) -> dict[str, _Node]:
            if id(directory) not in names:
                names[id(directory)] = dict(directory.durable)
            return names[id(directory)]

        def content(file: _File) -> bytes:
            if id(file) not in contents:
                contents[id(file)] = _survivor(file, decide)
            return contents[id(file)]

        for change in self._changes:
            if decide(2):
                _move(change, places, entries)
        return dict(_flat(self._tree, "", entries, content))

    @property
    def undecided(self) -> int:
        """The number of changes of names that are not durable yet."""
        return len(self._changes)

    def _apply(self, step: Operation) -> None:
        match step:
            case SyncDir(path):
                directory = self._dir(path)
                for change in [change for change in self._changes if directory in change.waits_for]:
                    change.waits_for.remove(directory)
                    if not change.waits_for:
                        self._settle(change)
            case SyncFile(path):
                node = self._node(path)
                if isinstance(node, _File):
                    node.durable = node.now
            case MakeDir(path):
                self._change(_Dir(), None, path)
            case CreateFile(path):
                self._change(_File(), None, path)
            case Append() | Overwrite() | Truncate():
                self._write(step)
            case Rename(path, target):
                self._change(self._node(path), path, target)
            case Link(path, target):
                # Only durable files that never change get a second name, so a copy is the same.
                linked = self._file(path)
                self._change(_File(linked.now, linked.durable), None, target)
            case Unlink(path) | RemoveDir(path):
                if path.name in self._dir(path.parent).now:
                    self._change(self._node(path), path, None)

    def _write(self, step: Append | Overwrite | Truncate) -> None:
        match step:
            case Append(path, data):
                if path.name not in self._dir(path.parent).now:
                    self._change(_File(), None, path)
                self._file(path).now += data
            case Overwrite(path, data):
                self._file(path).now = data
            case Truncate(path, size):
                self._file(path).now = self._file(path).now[:size]

    def _change(self, node: _Node, source: Path | None, target: Path | None) -> None:
        went = (self._dir(source.parent), source.name) if source is not None else None
        came = (self._dir(target.parent), target.name) if target is not None else None
        if went is not None:
            del went[0].now[went[1]]
        if came is not None:
            came[0].now[came[1]] = node
        waits_for = list(
            {id(place[0]): place[0] for place in (went, came) if place is not None}.values()
        )
        self._changes.append(_Change(node, went, came, waits_for))

    def _settle(self, change: _Change) -> None:
        """Make a change durable, and also earlier changes of the same file or directory."""
        _move(change, self._places, lambda directory: directory.durable)
        number = self._changes.index(change)
        self._changes = [
            each
            for n, each in enumerate(self._changes)
            if n > number or each.node is not change.node
        ]

    def _node(self, path: Path) -> _Node:
        node: _Node = self._tree
        for name in path.relative_to(self._root).parts:
            node = _as_dir(node).now[name]
        return node

    def _dir(self, path: Path) -> _Dir:
        return _as_dir(self._node(path))

    def _file(self, path: Path) -> _File:
        node = self._node(path)
        if not isinstance(node, _File):
            raise KeyError(path)
        return node

    def _read(self, path: Path) -> _Dir:
        directory = _Dir()
        for each in path.iterdir():
            content = each.read_bytes() if each.is_file() else b""
            node = self._read(each) if each.is_dir() else _File(content, content)
            directory.now[each.name] = directory.durable[each.name] = node
            self._places[id(node)] = directory, each.name
        return directory


def _as_dir(node: _Node) -> _Dir:
    if not isinstance(node, _Dir):
        raise KeyError("no directory")
    return node


def _move(
    change: _Change, places: dict[int, _Place], entries: Callable[[_Dir], dict[str, _Node]]
) -> None:
    """Apply a change that is kept.

    A file has only one name, so its earlier name is removed, even if the removing change was lost.
    """
    if (place := places.pop(id(change.node), None)) is not None and entries(place[0]).get(
        place[1]
    ) is change.node:
        del entries(place[0])[place[1]]
    if change.target is not None:
        entries(change.target[0])[change.target[1]] = change.node
        places[id(change.node)] = change.target


def _survivor(file: _File, decide: Decide) -> bytes:
    """Return the remaining content of a file: durable content, more of it, or unfilled blocks."""
    if file.now == file.durable:
        return file.now
    begin = file.durable if file.now.startswith(file.durable) else b""
    added = file.now[len(begin) :]
    half = added[: len(added) // 2]
    outcomes = [
        file.durable,
        begin + half,
        begin + bytes(len(added)),
        begin + half + bytes(len(added) - len(half)),
        file.now,
    ]
    return outcomes[decide(len(outcomes))]


def _flat(
    directory: _Dir,
    path: str,
    entries: Callable[[_Dir], dict[str, _Node]],
    content: Callable[[_File], bytes],
) -> Iterator[tuple[str, bytes | None]]:
    for name, node in sorted(entries(directory).items()):
        if isinstance(node, _File):
            yield path + name, content(node)
        elif entries(node):
            yield from _flat(node, f"{path}{name}/", entries, content)
        else:
            yield path + name, None


def write_tree(tree: dict[str, bytes | None], directory: Path) -> None:
    """Write the result of `PowerLoss.left` to disk, so that a test can open it.

    Args:
        tree: the content by path; None for a directory.
        directory: the directory to create.

    Raises:
        FileExistsError: If the directory exists.

    Example:
        >>> import pathlib
        >>> from ckptkit.testing import write_tree
        >>> write_tree({"a/notes": b"some"}, pathlib.Path("after"))
        >>> (pathlib.Path("after") / "a" / "notes").read_bytes()
        b'some'
    """
    directory.mkdir()
    for name, content in tree.items():
        path = directory / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
