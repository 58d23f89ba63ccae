"""Putting TensorBoard's event files in order where a run goes on: without it, they show what was
trained twice as a zigzag, or for ever.

Only files in which attempts of this run wrote are touched, and of those only the ones that hold
orphans (see `orphans.py`). Such a file is written anew beside it, and synced; it is renamed to a
name that TensorBoard does not read, and the new one takes its place. Whenever a process is killed,
the next one finds the old file, or the new one, or finishes the second rename; nothing is deleted.
A mark of the restart is for readers that hold the orphans in memory already.

None of this is worth an interruption of training: what cannot be done is said.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ckptkit.errors import ConfigError, StorageError
from ckptkit.layout import expanded
from ckptkit.storage.files import FileSystem
from ckptkit.storage.safe_read import open_regular
from ckptkit.tensorboard.event_files import (
    CUTTING,
    FoundEvents,
    Named,
    cut_from,
    cutting,
    kept,
    look,
    mark_after,
    restart,
    restart_step,
)
from ckptkit.tensorboard.open_files import OpenFiles
from ckptkit.tensorboard.orphans import EventWriter

_CHUNK_BYTES = 16 * 1024 * 1024


def check_directory(directory: str | os.PathLike[str] | None) -> Path | None:
    """The directory with event files that a user has named, absolute: the program may go elsewhere.

    Raises:
        ConfigError: where it is no path on a file system.
    """
    if directory is None:
        return None
    if (
        not isinstance(directory, str | os.PathLike)
        or not str(directory)
        or "\0" in str(directory)
        or "://" in str(directory)
    ):
        raise ConfigError(
            "tensorboard names the directory of the event files that the program writes, a path "
            "on a mounted file system, such as "
            f"'logs'. Received: tensorboard={directory!r}."
        )
    return expanded(directory).absolute()


@dataclass(frozen=True)
class RepairStart:
    """Where a run goes on, for its event files.

    Args:
        among: the attempts of this life, the present one last; see `orphans.writers`.
        step: the restored step, or None where the run begins.
        settled: files of attempts before this one were put in order by it, and where a mark tells
            which steps they have, they are not read again.
        mark: whether the restart is marked also where nothing has to go.
        now: seconds since the epoch.
    """

    among: Sequence[EventWriter]
    step: int | None
    settled: int
    mark: bool
    now: float


@dataclass
class Repaired:
    """What was done.

    Args:
        files: how many were cut.
        points: how many points were taken out of them.
        left: what was left as it is though it holds orphans, and why, in words.
    """

    files: int = 0
    points: int = 0
    left: list[str] = field(default_factory=list)


def repair(files: FileSystem, directory: Path, start: RepairStart) -> Repaired:
    """Takes orphans out of the event files under a directory, and marks the restart.

    Args:
        files: how to change the disk.
        directory: with all that is below it; links are not followed.
        start: where the run goes on.

    Raises:
        RunLockedError: where the run belongs to somebody else now.
    """
    done, held = Repaired(), OpenFiles()
    for path, _, names in os.walk(directory, onerror=lambda error: done.left.append(str(error))):
        try:
            _Directory(files, Path(path), start, held, done).recover(sorted(names))
        except OSError as error:
            done.left.append(f"{path}: {error}")
    return done


@dataclass
class _Directory:
    """The event files of one directory, which is one run of TensorBoard's."""

    files: FileSystem
    path: Path
    start: RepairStart
    held: OpenFiles
    done: Repaired

    def recover(self, names: Sequence[str]) -> None:
        self._finish(names)
        there = [
            (named, named.by(self.start.among))
            for named in map(Named.parse, sorted(self.path.iterdir()))
            if named is not None
        ]
        marks = [named for named, by in there if named.is_mark and by]
        old, own, contents, ours, others = (
            list[Named](),
            list[Named](),
            list[FoundEvents](),
            False,
            any(not by for _, by in there),
        )
        before = self.done.points
        for named, by in there:
            if named.is_mark or not by:
                continue
            settled = (
                bool(marks) and max(writer.attempt for writer in by) < self.start.settled
            )  # without a mark nobody knows which steps are there
            holder, found = self._cut(named.path, by, settled)
            if found is None or found.is_anothers:
                others = True
                continue
            (old if holder is None else own).append(named)
            contents.append(found)
            ours = ours or (found.owned and holder is None)
        if old:
            times = [int(self.start.now), *(named.time for named in own)]
            paths = self._put_before(old, min(times))
            if ours:
                self._put_before(marks, min(times))
                if not others and (self.start.mark or self.done.points > before):
                    self._mark(paths, contents)
            self.files.sync_dir(self.path)

    def _finish(self, names: Sequence[str]) -> None:
        """What a killed process has begun: a new content that was not put in its place yet, or was
        not needed any more.
        """
        for name in (name for name in names if name.startswith(CUTTING)):
            path = self.path / name
            named = Named.parse(cut_from(path))
            if named is None or not named.by(self.start.among):
                continue
            if named.is_mark or os.path.lexists(named.path):
                self.files.remove_file(path)
            else:
                self.files.rename(path, named.path)
            self.files.sync_dir(self.path)

    def _cut(
        self, path: Path, by: Sequence[EventWriter], settled: bool
    ) -> tuple[str | None, FoundEvents | None]:
        """Takes the orphans out of a file: who holds it, and what it holds then; None where that is
        not known.
        """
        holder = None
        try:
            holder = self.held.holder(path, by)
            before = _state(path)
            found = look(path, by, settled=settled)
            if found.points:
                why = holder or self._write_anew(path, found, before)
                if why is None:
                    self.done.files += 1
                    self.done.points += found.points
                else:
                    self.done.left.append(f"{path}: {why}")
            return holder, found
        except OSError as error:
            self.done.left.append(f"{path}: {error}")
            return holder, None

    def _write_anew(self, path: Path, found: FoundEvents, before: tuple[int, ...]) -> str | None:
        temporary = cutting(path)
        try:
            self._copy(path, temporary, found)
            if _state(path) != before:
                self.files.remove_file(temporary)
                return "it has changed while it was read: somebody writes it"
            self.files.sync_dir(self.path)  # the new one must be there before the old one goes
            self.files.rename(path, kept(path, self.start.among[-1].attempt))
        except OSError:
            with suppress(StorageError):
                self.files.remove_file(temporary)
            raise
        try:
            self.files.sync_dir(self.path)
        finally:  # where this fails, too, the next process does it
            self.files.rename(temporary, path)
        self.files.sync_dir(self.path)
        return None

    def _copy(self, path: Path, temporary: Path, found: FoundEvents) -> None:
        """Writes what stays, piece by piece: a file may be larger than the memory."""
        self.files.create(temporary, b"")
        with open_regular(path) as file:
            for begin, end in found.stays:
                file.seek(begin)
                while begin < end and (data := file.read(min(_CHUNK_BYTES, end - begin))):
                    self.files.append(temporary, data)
                    begin += len(data)

    def _put_before(self, old: Sequence[Named], time: int) -> list[Path]:
        """Makes old files sort before those of this process, where a clock was set back or runs
        behind; where they are then.
        """
        paths = []
        for named in old:
            paths.append(named.path if named.time < time else named.before(time))
            if named.time >= time:
                self.files.rename(named.path, paths[-1])
        return paths

    def _mark(self, old: Sequence[Path], contents: Sequence[FoundEvents]) -> None:
        """Marks the restart behind the last file of before.

        Readers drop what they hold from the mark's step on, whatever its tag counts. So it is a
        step that nothing reaches that stays.
        """
        others = max(found.others_step for found in contents)
        step = others + 1 if others > 0 else 0
        if self.start.step is not None:
            marks = [
                named.path
                for named in map(Named.parse, self.path.iterdir())
                if named is not None and named.is_mark
            ]
            step = max(
                [
                    step,
                    self.start.step + 1,
                    *(found.last_step + 1 for found in contents),
                    *map(restart_step, marks),
                ]
            )
        target = mark_after(max(old), self.start.among[-1].attempt)
        self.files.create(cutting(target), restart(step, self.start.now))
        self.files.remove_file(target)  # of a run that is restored twice by one process
        self.files.rename(cutting(target), target)


def _state(path: Path) -> tuple[int, ...]:
    said = path.lstat()
    return said.st_ino, said.st_size, said.st_mtime_ns
