"""The channel between a launcher and its training: a private directory with a few small files.

An environment variable names the directory. Both sides write whole files by a rename, on the
machine's own disk and without fsync: nothing here must survive a reboot. Whether each side is
running is known from the kernel, which holds a lock on a file for as long as its process exists.
docs/format.md describes every file, so a program without ckptkit can use the channel, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from ckptkit.ownership.process_lock import hold, is_held, read_small
from ckptkit.run.control_requests import ControlRequest, encode_request

ENVIRONMENT = "CKPTKIT_LAUNCHER"
"""The environment variable that names the directory, for the training and all that it starts."""

CHANNEL_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An exception that ended the training.

    Args:
        error: its class.
        message: its text.
        restart: whether starting again may help.
    """

    error: str
    message: str = ""
    restart: bool = True


@dataclass(frozen=True, kw_only=True)
class ChannelState:
    """What the training reports about itself.

    Args:
        pid: the number of its process.
        run: the run directory, absolute; empty before a run is open.
        attempt: its number; 0 before a run is open.
        step: training batches done since the run began.
        phase: its phase: `starting`, `tracing`, `training`, `evaluating`, `saving`,
            `exporting`, `held` if an audit makes it wait, or `idle` if no run is open.
        beats: a number that grows while the training makes progress: with each step, each batch of
            an evaluation, and so on.
        trained: whether this process has done a step.
        dump_signal: a signal on which it writes the stacks of all its threads to standard error; 0
            for none.
        outcome: how the attempt ended, as in the journal; empty while it is running.
        reason: the request on which it stopped.
        asked: whether a user requested the stop (`ckptkit stop`), so that no restart may follow.
        failure: the exception that ended it, or None.
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
    version: int = CHANNEL_VERSION


@dataclass(frozen=True)
class Channel:
    """The directory of a channel, and its files.

    Args:
        directory: the directory; only its user may enter it.
    """

    directory: Path

    @property
    def launcher(self) -> Path:
        """A file that is locked for as long as the launcher is running."""
        return self.directory / "launcher"

    @property
    def training(self) -> Path:
        """A file that is locked for as long as the process that reports here is running."""
        return self.directory / "training"

    @property
    def report(self) -> Path:
        return self.directory / "training.json"

    @property
    def request(self) -> Path:
        return self.directory / "request.json"

    # -- the launcher's side

    def open(self) -> int:
        """Create the files.

        If the file system has no locks, the launcher's file is removed. An unlocked file would
        mean that the launcher has ended.

        Returns:
            The descriptor that holds the lock. Keep it open for as long as the launcher runs.

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
        """Return the last report of the training; None if there is none that can be read."""
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

    @property
    def is_training(self) -> bool | None:
        """Whether a process that reports here is running; None if the kernel cannot tell."""
        return is_held(self.training)

    # -- the training's side

    def join(self) -> int:
        """Make this process the one that reports to the launcher through this channel.

        Returns:
            A descriptor. Keep it open for as long as this process reports.

        Raises:
            OSError: If another process reports here, or the directory is missing.
        """
        return hold(self.training)

    def write(self, state: ChannelState) -> None:
        """Replace the report of the training.

        Raises:
            OSError: If the system refuses, or the directory is gone.
        """
        _replace(self.report, msgspec.json.encode(state) + b"\n")

    @property
    def is_launched(self) -> bool | None:
        """Whether the launcher is running; None if the kernel cannot tell."""
        return is_held(self.launcher)


def channel_of(environment: Mapping[str, str]) -> Channel | None:
    """Return the channel that the environment names, or None."""
    directory = environment.get(ENVIRONMENT)
    return Channel(Path(directory)) if directory else None


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)
