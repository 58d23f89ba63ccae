"""One process of the training: started in a session of its own, with a channel to speak through."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ckptkit.clock import Clock
from ckptkit.launcher.family import send_to_group
from ckptkit.launcher.output import Log, Pump
from ckptkit.log import logger
from ckptkit.store.channel import ENVIRONMENT, Channel, Said
from ckptkit.store.control import ANY_ATTEMPT, Request, new_id

_PATIENCE_SECS = 5.0


class Child:
    """Starts it.

    Args:
        command: the program and its arguments.
        environment: of this process.
        log: which has what it prints.
        clock: where the time comes from.

    Attributes:
        pid: number of the process, and of its group and session.

    Raises:
        OSError: where there is no such program, or it cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Log, clock: Clock) -> None:
        self._clock = clock
        self._directory = Path(tempfile.mkdtemp(prefix="ckptkit-"))
        self._held = -1
        try:
            self._channel = Channel(self._directory)
            self._held = self._channel.open()
            streams = {"stdout": sys.stdout, "stderr": sys.stderr}
            self._pumps = [Pump(self._directory / name, _descriptor(stream), log) for name, stream in streams.items()]
            self._process = subprocess.Popen(
                command, stdout=self._pumps[0].end, stderr=self._pumps[1].end, start_new_session=True,
                env={**environment, ENVIRONMENT: str(self._directory), "PYTHONUNBUFFERED": environment.get("PYTHONUNBUFFERED", "1")})
        except BaseException:
            self._forget()
            raise
        for pump in self._pumps:
            pump.started()
        self.pid = self._process.pid

    @property
    def said(self) -> Said | None:
        """What the training says of itself."""
        return self._channel.read()

    @property
    def is_training(self) -> bool:
        """Whether a process that has a run open lives, also where it is not the one that was started."""
        return self._channel.is_training

    @property
    def printed(self) -> list[str]:
        """The last lines of its standard error."""
        return list(self._pumps[1].last_lines)

    def ask(self, source: str, grace_secs: float | None, *, cancelled: bool = False) -> None:
        """Tells it to save and stop, and how long it has, before any signal does."""
        request = Request(id=new_id(), action="stop", attempt=ANY_ATTEMPT, at=self._clock.now(), source=source, grace_secs=grace_secs,
                          cancelled=cancelled)
        try:
            self._channel.ask(request)
        except OSError as error:
            logger.warning("the training could not be told how long it has: %s", error)

    def send(self, number: int) -> None:
        """Sends a signal to the process that was started, and to the one that trains where that is another one, as below a shell."""
        trains = self.said.pid if self.said is not None and self.is_training else self.pid
        for pid in dict.fromkeys((self.pid, trains)):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def send_to_group(self, number: int) -> None:
        """Sends a signal to all processes of its group."""
        send_to_group(self.pid, number)

    def dump(self) -> bool:
        """Has the training write the stacks of its threads; False where it has not told how."""
        said = self.said
        if said is None or said.dump_signal not in signal.valid_signals() or not self.is_training:
            return False
        with suppress(ProcessLookupError, PermissionError):
            os.kill(said.pid, said.dump_signal)
        return True

    def ended(self, status: int) -> None:
        """The process has been taken off the system's table."""
        self._process.returncode = os.waitstatus_to_exitcode(status)

    def finish(self) -> None:
        """All its processes have ended: passes on what they have printed."""
        for pump in self._pumps:
            pump.finish(_PATIENCE_SECS)

    def end_lines(self) -> None:
        """Another process prints next, where this one was interrupted."""
        for pump in self._pumps:
            pump.end_line()

    def close(self) -> None:
        """Removes the channel; what was said has been read."""
        self._forget()

    def _forget(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1
        shutil.rmtree(self._directory, ignore_errors=True)


def _descriptor(stream: object) -> int:
    """Of one of this process's streams; -1 where it has none."""
    try:
        return int(stream.fileno())  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return -1
