"""How a launcher and the training that it has started hear of each other: a private directory,
named by an environment variable.

Both sides write whole files by a rename, on the machine's own disk and without fsync: what is said
here is for the living. That each of them lives is told by the kernel, which holds a lock on a file
for as long as its process is there. docs/format.md describes every file, so that a program without
ckptkit may speak it, too.
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
"""Names the directory, to the process that the launcher starts and to all that are started by it.
"""

CHANNEL_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An exception that ended the training.

    Args:
        error: its class.
        message: what it said.
        restart: whether starting again may help.
    """

    error: str
    message: str = ""
    restart: bool = True


@dataclass(frozen=True, kw_only=True)
class ChannelState:
    """What the training says of itself.

    Args:
        pid: number of its process.
        run: the run directory, absolute; empty before a run is open.
        attempt: its number; 0 before a run is open.
        step: training batches done since the run began.
        phase: what it is doing: `starting`, `tracing`, `training`, `evaluating`, `saving`,
            `exporting`, `held` where an audit has it wait, or `idle` where no run is open.
        beats: a number that grows while the training gets on: with each step, each batch of an
            evaluation, and so on.
        trained: whether a step of this process is done.
        dump_signal: a signal on which it writes the stacks of all its threads to standard error; 0
            where there is none.
        outcome: how the attempt ended, as in the journal; empty while it goes on.
        reason: on what request it stopped.
        asked: whether that was somebody's wish (`ckptkit stop`), so that it is not to be started
            again.
        failure: what ended it.
        version: of the form.
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
    """The directory and its files.

    Args:
        directory: private to the user.
    """

    directory: Path

    @property
    def launcher(self) -> Path:
        """Locked by the kernel while the launcher lives."""
        return self.directory / "launcher"

    @property
    def training(self) -> Path:
        """Locked by the kernel while the process that says something here lives."""
        return self.directory / "training"

    @property
    def said(self) -> Path:
        return self.directory / "training.json"

    @property
    def request(self) -> Path:
        return self.directory / "request.json"

    # -- the launcher's side

    def open(self) -> int:
        """Makes the files; the descriptor that is returned is to stay open for as long as the
        launcher lives.

        Where no lock can be seen on the launcher's file, as on a file system without such locks,
        the file is taken away: a free one says that the launcher is gone.

        Raises:
            OSError: where the system refuses.
        """
        self.launcher.touch()
        self.training.touch()
        descriptor = hold(self.launcher)
        if is_held(self.launcher) is not True:
            self.launcher.unlink()
        return descriptor

    def read(self) -> ChannelState | None:
        """What the training has said last; None where it has said nothing that could be understood."""
        try:
            said = msgspec.json.decode(read_small(self.said), type=ChannelState)
        except (OSError, ValueError, RecursionError):
            return None
        return said if said.version <= CHANNEL_VERSION else None

    def ask(self, request: ControlRequest) -> None:
        """Tells the training something.

        Raises:
            OSError: where the system refuses.
        """
        _replace(self.request, encode_request(request))

    @property
    def is_training(self) -> bool | None:
        """Whether a process that says something here lives; None where the kernel cannot tell."""
        return is_held(self.training)

    # -- the training's side

    def join(self) -> int:
        """From now on this process is the one that says something here; the descriptor is to stay
        open.

        Raises:
            OSError: where another one is, or there is no such directory.
        """
        return hold(self.training)

    def say(self, said: ChannelState) -> None:
        """Says it.

        Raises:
            OSError: where the system refuses, or the directory is gone.
        """
        _replace(self.said, msgspec.json.encode(said) + b"\n")

    @property
    def is_launched(self) -> bool | None:
        """Whether the launcher lives; None where the kernel cannot tell."""
        return is_held(self.launcher)


def channel_of(environment: Mapping[str, str]) -> Channel | None:
    """The channel that a process was given, or None."""
    directory = environment.get(ENVIRONMENT)
    return Channel(Path(directory)) if directory else None


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)
