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

import psutil

from ckptkit.clock import Clock
from ckptkit.launcher.process_tree import ProcessTree, send_to_group
from ckptkit.launcher.training_output import Pump, TrainingLog
from ckptkit.log import logger
from ckptkit.run.control_requests import ANY_ATTEMPT, ControlRequest, new_id
from ckptkit.run.launcher_channel import ENVIRONMENT, Channel, ChannelState

_PATIENCE_SECS = 5.0


class TrainingProcess:
    """Starts it.

    Args:
        command: the program and its arguments.
        environment: of this process.
        log: which has what it prints.
        family: who is there that was started: nobody else is ever sent a signal, whatever the
            channel says.
        clock: where the time comes from.
        directory: where it runs; by default where this process does.
        shown: whether what it prints appears here, too.

    Attributes:
        pid: number of the process, and of its group and session.

    Raises:
        OSError: where there is no such program, or it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: TrainingLog,
        family: ProcessTree,
        clock: Clock,
        *,
        directory: Path | None = None,
        shown: bool = True,
    ) -> None:
        self._family, self._clock = family, clock
        self._stranger = 0
        self._directory = Path(tempfile.mkdtemp(prefix="ckptkit-"))
        self._held = -1
        try:
            self._channel = Channel(self._directory)
            self._held = self._channel.open()
            streams = {"stdout": sys.stdout, "stderr": sys.stderr}
            self._pumps = [
                Pump(self._directory / name, _descriptor(stream) if shown else -1, log)
                for name, stream in streams.items()
            ]
            self._process = subprocess.Popen(
                command,
                stdout=self._pumps[0].end,
                stderr=self._pumps[1].end,
                start_new_session=True,
                cwd=directory,
                env={
                    **environment,
                    ENVIRONMENT: str(self._directory),
                    "PYTHONUNBUFFERED": environment.get("PYTHONUNBUFFERED", "1"),
                },
            )
        except BaseException:
            self._forget()
            raise
        for pump in self._pumps:
            pump.started()
        self.pid = self._process.pid

    @property
    def said(self) -> ChannelState | None:
        """What the training says of itself."""
        return self._channel.read()

    @property
    def is_training(self) -> bool:
        """Whether a process that has a run open lives, also where it is not the one that was
        started.
        """
        held, said = self._channel.is_training, self.said
        if held is None and said is not None:  # the kernel cannot tell by its lock
            return self._family.member(said.pid) is not None
        return held is True

    @property
    def printed(self) -> list[str]:
        """The last lines of its standard error."""
        return list(self._pumps[1].last_lines)

    def ask(self, source: str, grace_secs: float | None, *, cancelled: bool = False) -> None:
        """Tells it to save and stop, and how long it has, before any signal does."""
        request = ControlRequest(
            id=new_id(),
            action="stop",
            attempt=ANY_ATTEMPT,
            at=self._clock.now(),
            source=source,
            grace_secs=grace_secs,
            cancelled=cancelled,
        )
        try:
            self._channel.ask(request)
        except OSError as error:
            logger.warning("the training could not be told how long it has: %s", error)

    def send(self, number: int) -> bool:
        """Sends a signal to the process that was started, and to the one that trains where that is
        another one, as below a shell.

        Returns:
            Whether there was one.
        """
        trainer = self._trainer()  # before it is killed, as it may be the same one
        sent = self._process.returncode is None  # else the number may be another process's by now
        if sent:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)
        if trainer is not None and trainer.pid != self.pid:
            sent = True
            with suppress(psutil.Error):
                trainer.send_signal(number)
        return sent

    def _trainer(self) -> psutil.Process | None:
        """The process that speaks on the channel. The number that stands there may be wrong, as
        where it was given in another namespace.
        """
        said = self.said
        if said is None or not self.is_training:
            return None
        found = self._family.member(said.pid)
        if found is None and said.pid != self._stranger:
            self._stranger = said.pid
            logger.warning(
                "process %d, which is said to train, is none that the launcher has started: no "
                "signal is sent to it",
                said.pid,
            )
        return found

    def send_to_group(self, number: int) -> None:
        """Sends a signal to all processes of its group."""
        send_to_group(self.pid, number)

    def dump(self) -> bool:
        """Has the training write the stacks of its threads; False where it has not told how."""
        said, trainer = self.said, self._trainer()
        if said is None or trainer is None or not _is_real_time(said.dump_signal):
            return False
        with suppress(psutil.Error):
            trainer.send_signal(said.dump_signal)
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


def _is_real_time(number: int) -> bool:
    """Whether it is a signal that has no meaning of its own; any other one might end the process."""
    least, most = getattr(signal, "SIGRTMIN", None), getattr(signal, "SIGRTMAX", None)
    return least is not None and most is not None and least <= number <= most


def _descriptor(stream: object) -> int:
    """Of one of this process's streams; -1 where it has none."""
    try:
        return int(stream.fileno())  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return -1
