"""Removes stale points from TensorBoard's event files when a run resumes.

Without that, curves would show steps that were trained twice as a zigzag.

It changes only files of this run's attempts with stale points (see `stale_points.py`). It writes
the new content to a new file and syncs it. Then it renames the old file to a name that TensorBoard
does not read, and the new file to the old name. If a process is killed in between, the next one
finds the old or the new file, or finishes the second rename. Nothing is deleted. A restart mark
tells readers to drop stale points from memory. A failure is reported, but never ends a training.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import psutil

from ckptkit.errors import ConfigError, StorageError
from ckptkit.layout import expanded
from ckptkit.report.running_processes import SURE_SECS, process_is_running
from ckptkit.storage.files import FileSystem, open_regular
from ckptkit.tensorboard.event_files import (
    REWRITE_PREFIX,
    EventFileContent,
    EventFileName,
    backup_path,
    find_kept_parts,
    mark_after,
    restart_mark,
    restart_step,
    rewrite_path,
    rewritten_path,
)
from ckptkit.tensorboard.stale_points import WriterAttempt

_CHUNK_BYTES = 16 * 1024 * 1024


def check_directory(directory: str | os.PathLike[str] | None) -> Path | None:
    """Check the user's directory of event files, and return it as an absolute path.

    It is made absolute because the program may change its working directory.

    Args:
        directory: the user's argument, or None.

    Raises:
        ConfigError: If it is not a path on a file system.
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
            f"on a mounted file system, such as 'logs'. Received: tensorboard={directory!r}."
        )
    return expanded(directory).absolute()


@dataclass(frozen=True)
class RepairStart:
    """Where a run resumes, for the repair of its event files.

    Args:
        among: the attempts of the run, the current one last; see `stale_points.writer_attempts`.
        step: the restored step, or None if the run starts at step 0.
        settled: an attempt that has repaired the files of all earlier ones. Those files are not
            read again if a mark shows their steps.
        mark: whether to mark the restart even if no point is removed.
        now: the current time, in seconds since the epoch.
    """

    among: Sequence[WriterAttempt]
    step: int | None
    settled: int
    mark: bool
    now: float


@dataclass
class RepairResult:
    """The result of a repair.

    Args:
        files: the number of rewritten files.
        points: the number of removed points.
        left: a sentence for each file that keeps its stale points, with the reason.
    """

    files: int = 0
    points: int = 0
    left: list[str] = field(default_factory=list)


def repair_event_files(files: FileSystem, directory: Path, start: RepairStart) -> RepairResult:
    """Remove stale points from the event files below a directory, and mark the restart.

    Args:
        files: changes the disk.
        directory: the directory, including everything below it; symbolic links are not followed.
        start: where the run resumes.

    Raises:
        RunLockedError: If another process owns the run now.
    """
    done, open_files = RepairResult(), OpenFiles()
    for path, _, names in os.walk(directory, onerror=lambda error: done.left.append(str(error))):
        try:
            _Directory(files, Path(path), start, open_files, done).repair(sorted(names))
        except OSError as error:
            done.left.append(f"{path}: {error}")
    return done


@dataclass
class _Directory:
    """The event files of one directory, which is one run for TensorBoard."""

    files: FileSystem
    path: Path
    start: RepairStart
    open_files: OpenFiles
    done: RepairResult

    def repair(self, names: Sequence[str]) -> None:
        """Repair the files of the directory, and mark the restart if it belongs to the run."""
        # Done before the files are listed, because a half-finished rewrite hides an event file.
        self._finish(names)
        found_files = [
            (named, named.by(self.start.among))
            for named in map(EventFileName.parse, sorted(self.path.iterdir()))
            if named is not None
        ]
        marks = [named for named, by in found_files if named.is_mark and by]
        # `old` files are finished; `own` files are still being written, most often by this process.
        old, own = list[EventFileName](), list[EventFileName]()
        contents = list[EventFileContent]()
        ours, others = False, any(not by for _, by in found_files)
        points_before = self.done.points
        for named, by in found_files:
            if named.is_mark or not by:
                continue
            # Without a mark it is unknown which steps the files have, so they are read again.
            settled = bool(marks) and max(writer.attempt for writer in by) < self.start.settled
            holder, found = self._cut(named.path, by, settled)
            # A process may write files of another training into the same directory.
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
                # A mark makes readers drop points of the whole directory, so it would also hide
                # points in files of other trainings.
                if not others and (self.start.mark or self.done.points > points_before):
                    self._mark(paths, contents)
            self.files.sync_dir(self.path)

    def _finish(self, names: Sequence[str]) -> None:
        """Finish the rewrites that a killed process had begun, or remove their files."""
        for name in (name for name in names if name.startswith(REWRITE_PREFIX)):
            path = self.path / name
            named = EventFileName.parse(rewritten_path(path))
            if named is None or not named.by(self.start.among):
                continue
            # The event file still has its name, so the rewrite ended before its renames and may be
            # incomplete. This restart writes a mark again.
            if named.is_mark or os.path.lexists(named.path):
                self.files.remove_file(path)
            else:
                self.files.rename(path, named.path)
            self.files.sync_dir(self.path)

    def _cut(
        self, path: Path, by: Sequence[WriterAttempt], settled: bool
    ) -> tuple[str | None, EventFileContent | None]:
        """Remove the stale points of a file.

        Returns:
            The process that may still write the file, and the file's content; None if unknown.
        """
        holder = None
        try:
            holder = self.open_files.holder(path, by)
            # Read before the content, so that a writer that appends meanwhile is noticed, see
            # `_write_anew`.
            before = _state(path)
            found = find_kept_parts(path, by, settled=settled)
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

    def _write_anew(
        self, path: Path, found: EventFileContent, before: tuple[int, ...]
    ) -> str | None:
        """Replace a file by its kept parts; return the reason if that fails, else None."""
        temporary = rewrite_path(path)
        try:
            self._copy(path, temporary, found)
            if _state(path) != before:
                self.files.remove_file(temporary)
                return "it changed while it was read, so another process is writing it"
            # The new file must be on the disk before the old one is renamed.
            self.files.sync_dir(self.path)
            self.files.rename(path, backup_path(path, self.start.among[-1].attempt))
        except OSError:
            with suppress(StorageError):
                self.files.remove_file(temporary)
            raise
        try:
            self.files.sync_dir(self.path)
        finally:  # if this fails too, the next process does it, see `_finish`
            self.files.rename(temporary, path)
        self.files.sync_dir(self.path)
        return None

    def _copy(self, path: Path, temporary: Path, found: EventFileContent) -> None:
        """Copy the kept parts in pieces, because a file may be larger than the memory."""
        self.files.create(temporary, b"")
        with open_regular(path) as file:
            for begin, end in found.stays:
                file.seek(begin)
                while begin < end and (data := file.read(min(_CHUNK_BYTES, end - begin))):
                    self.files.append(temporary, data)
                    begin += len(data)

    def _put_before(self, old: Sequence[EventFileName], time: int) -> list[Path]:
        """Rename old files so that they sort before those of this process.

        That is needed if a clock was set back or is slow.

        Returns:
            Their paths.
        """
        paths = []
        for named in old:
            paths.append(named.path if named.time < time else named.before(time))
            if named.time >= time:
                self.files.rename(named.path, paths[-1])
        return paths

    def _mark(self, old: Sequence[Path], contents: Sequence[EventFileContent]) -> None:
        """Write a restart mark after the last old file.

        Readers drop all points in memory from the mark's step on, also of tags that count something
        else as steps. So the mark's step is larger than that of every remaining point.
        """
        others = max(found.others_step for found in contents)
        step = others + 1 if others > 0 else 0
        if self.start.step is not None:
            marks = [
                named.path
                for named in map(EventFileName.parse, self.path.iterdir())
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
        self.files.create(rewrite_path(target), restart_mark(step, self.start.now))
        self.files.remove_file(target)  # exists already if a process restores the run twice
        self.files.rename(rewrite_path(target), target)


def _state(path: Path) -> tuple[int, ...]:
    """Return a value that changes whenever a file is written or replaced."""
    status = path.lstat()
    return status.st_ino, status.st_size, status.st_mtime_ns


class OpenFiles:
    """Finds the event files that processes of this machine may be writing; caches the result."""

    def holder(self, path: Path, by: Sequence[WriterAttempt]) -> str | None:
        """Return a description of the process that may still write a file, or None.

        A process on another machine has ended, because this process holds the run's lock. In
        containers another process may have the same host and number as this one. So a file that was
        written after this process began, and that it does not have open, counts as the other
        process's. An exception are files of earlier attempts of this process, which it may have
        closed.

        Args:
            path: the file.
            by: the attempts whose process is named in the file's name.
        """
        for writer in by:
            if writer.host != socket.gethostname():
                continue
            if writer.pid != os.getpid():
                if process_is_running(writer.pid, writer.started):
                    return f"process {writer.pid}, which writes it, is still running"
            elif os.path.realpath(path) in self._here:
                return "this process has it open"
            elif self._is_anothers(path, by):
                return (
                    "it was written after this process began, by another process with the same "
                    "host and number"
                )
        return None

    def _is_anothers(self, path: Path, by: Sequence[WriterAttempt]) -> bool:
        """Return whether another process with the same host and number has written a file."""
        here = [writer for writer in by if writer.started >= self._began - SURE_SECS]
        return len(here) < 2 and path.lstat().st_mtime > self._began + SURE_SECS

    @cached_property
    def _began(self) -> float:
        """Return when this process began, in seconds since the epoch."""
        try:
            return float(psutil.Process().create_time())
        except psutil.Error:
            return math.inf  # unknown, so no file counts as another process's

    @cached_property
    def _here(self) -> frozenset[str]:
        """Return the files that this process has open."""
        try:
            return frozenset(each.path for each in psutil.Process().open_files())
        except psutil.Error:
            return frozenset()
