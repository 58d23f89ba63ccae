"""The channel between a launcher and its training: a private directory with small files.

An environment variable names the directory. Both sides replace whole files by a rename, on a local
disk and without fsync, because nothing here has to survive a reboot. Each side holds a kernel lock
on a file, which shows the other side whether it still runs. docs/format.md describes every file, so
a program without ckptkit can use the channel too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from ckptkit.ownership.kernel_lock import hold, is_held, read_small
from ckptkit.run.control_requests import ControlRequest, encode_request
from ckptkit.run.intact_verdict import VERDICT_VERSION, IntactVerdict
from ckptkit.storage.json_bytes import json_bytes

ENVIRONMENT = "CKPTKIT_LAUNCHER"
"""The environment variable that names the directory, for the training and its children."""

CHANNEL_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An exception that ended the training.

    Args:
        error: the name of its class.
        message: its text.
        restart: whether a restart may help.
    """

    error: str
    message: str = ""
    restart: bool = True


@dataclass(frozen=True, kw_only=True)
class ChannelState:
    """The report of the training to its launcher.

    Args:
        pid: the number of its process.
        run: the absolute path of the run directory; empty before a run is open, and if this is a
            worker of a job that has none.
        attempt: the attempt number; 0 before a run is open.
        step: the number of training batches since the run began.
        phase: its phase: `starting`, `tracing`, `training`, `evaluating`, `saving`, `exporting`,
            `held` if an audit pauses it, or `idle` if no run is open.
        beats: a number that grows while the training makes progress: with each step, each batch of
            an evaluation, and so on.
        trained: whether this process has finished a step.
        dump_signal: a signal on which it writes the stacks of all its threads to standard error; 0
            for none.
        outcome: how the attempt ended, as in the journal; empty while it is running.
        reason: the request because of which it stopped.
        asked: whether a user requested the stop (`ckptkit stop`), so that no restart may follow.
        failure: the exception that ended it, or None.
        saved: the newest step that its job has saved since this process opened the run; 0 for none.
            Only a worker of a job that has no run directory reports it.
        version: the version of this format.
    """

    pid: Annotated[int, msgspec.Meta(gt=1)]
    run: str = ""
    attempt: int = 0
    step: int = 0
    phase: str = "idle"
    beats: int = 0
    trained: bool = False
    dump_signal: int = 0
    outcome: str = ""
    reason: str = ""
    asked: bool = False
    failure: Failure | None = None
    saved: int = 0
    version: int = CHANNEL_VERSION


@dataclass(frozen=True)
class Channel:
    """The directory of a channel, and its files.

    Args:
        directory: the directory, which only its user may enter.
    """

    directory: Path

    @property
    def launcher(self) -> Path:
        """The path of a file that is locked as long as the launcher runs."""
        return self.directory / "launcher"

    @property
    def training(self) -> Path:
        """The path of a file that is locked as long as the reporting process runs."""
        return self.directory / "training"

    @property
    def report(self) -> Path:
        return self.directory / "training.json"

    @property
    def request(self) -> Path:
        return self.directory / "request.json"

    @property
    def verdict(self) -> Path:
        return self.directory / "verdict.json"

    # -- the launcher's side

    def open(self) -> int:
        """Create the channel's files on the launcher's side.

        If the file system has no locks, the launcher's file is removed, because an unlocked file
        would mean that the launcher has ended.

        Returns:
            The descriptor that holds the lock; keep it open as long as the launcher runs.

        Raises:
            OSError: If the system refuses.
        """
        self.launcher.touch()
        self.training.touch()
        descriptor = hold(self.launcher)
        if is_held(self.launcher) is not True:
            self.launcher.unlink()
        return descriptor

    def read(self) -> ChannelState | None:
        """Return the last report of the training; None if there is no readable report."""
        try:
            state = msgspec.json.decode(read_small(self.report), type=ChannelState)
        except (OSError, ValueError, RecursionError):
            return None
        return state if state.version <= CHANNEL_VERSION else None

    def ask(self, request: ControlRequest) -> None:
        """Send a request to the training.

        Raises:
            OSError: If the system refuses.
        """
        _replace(self.request, encode_request(request))

    def give_verdict(self, verdict: IntactVerdict) -> None:
        """Tell the training which checkpoint was verified.

        Raises:
            OSError: If the system refuses, or the directory is gone.
            UnicodeEncodeError: If a path cannot be written as JSON.
        """
        _replace(self.verdict, json_bytes(verdict) + b"\n")

    @property
    def is_training(self) -> bool | None:
        """Whether a process that reports on this channel runs; None if the kernel cannot tell."""
        return is_held(self.training)

    # -- the training's side

    def join(self) -> int:
        """Make this process the one that reports to the launcher on this channel.

        Returns:
            A descriptor; keep it open as long as this process reports.

        Raises:
            OSError: If another process reports on this channel, or the directory is missing.
        """
        return hold(self.training)

    def write(self, state: ChannelState) -> None:
        """Replace the report of the training.

        Raises:
            OSError: If the system refuses, or the directory is gone.
        """
        _replace(self.report, json_bytes(state) + b"\n")

    def read_verdict(self) -> IntactVerdict | None:
        """Return the last verdict of the launcher; None if there is no readable one."""
        try:
            verdict = msgspec.json.decode(read_small(self.verdict), type=IntactVerdict)
        except (OSError, ValueError, RecursionError):
            return None
        return verdict if verdict.version == VERDICT_VERSION else None

    @property
    def is_launched(self) -> bool | None:
        """Whether the launcher runs; None if the kernel cannot tell."""
        return is_held(self.launcher)


def channel_of(environment: Mapping[str, str]) -> Channel | None:
    """Return the channel that the environment names, or None."""
    directory = environment.get(ENVIRONMENT)
    return Channel(Path(directory)) if directory else None


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)
