"""Starts a training in a session of its own, and exchanges messages with it."""

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
from ckptkit.launcher.shared_screen import SharedScreen, are_one_screen
from ckptkit.launcher.training_output import Pump, TrainingLog
from ckptkit.log import begin_new_line_after, logger
from ckptkit.run.control_requests import ANY_ATTEMPT, ControlRequest, new_id
from ckptkit.run.intact_verdict import IntactVerdict
from ckptkit.run.launcher_channel import ENVIRONMENT, Channel, ChannelState

_PATIENCE_SECS = 5.0


class TrainingProcess:
    """Starts the training program, and exchanges messages with the training in it.

    Args:
        command: the program and its arguments.
        environment: the environment of the process.
        log: receives the program's output.
        tree: all processes that the training started. Only these are ever sent a signal, whatever
            number the channel names.
        clock: gives requests their times.
        directory: the working directory; by default that of this process.
        shown: whether to copy the output to this process's output.

    Attributes:
        pid: the number of the process, and of its group and session.

    Raises:
        OSError: If the program does not exist or cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: TrainingLog,
        tree: ProcessTree,
        clock: Clock,
        *,
        directory: Path | None = None,
        shown: bool = True,
    ) -> None:
        self._tree, self._clock = tree, clock
        self._foreign_pid = 0
        self._directory = Path(tempfile.mkdtemp(prefix="ckptkit-"))
        self._lock = -1
        self._pumps: list[Pump] = []
        try:
            self._channel = Channel(self._directory)
            self._lock = self._channel.open()
            streams = {"stdout": sys.stdout, "stderr": sys.stderr}
            screen = SharedScreen() if are_one_screen(*streams.values()) else None
            if shown and screen is not None:
                begin_new_line_after(screen.open_line)  # for the launcher's own log lines
            for name, stream in streams.items():
                shown_at = _descriptor(stream) if shown else -1
                self._pumps.append(Pump(self._directory / name, shown_at, log, screen))
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
            self.close()
            raise
        for pump in self._pumps:
            pump.close_end()
        self.pid = self._process.pid

    @property
    def state(self) -> ChannelState | None:
        """The latest report of the training, or None."""
        return self._channel.read()

    @property
    def is_training(self) -> bool:
        """Whether the started process, or a descendant of it, runs and has a run open."""
        locked, state = self._channel.is_training, self.state
        if locked is None and state is not None:  # the file system has no locks
            return self._tree.member(state.pid) is not None
        return locked is True

    @property
    def printed(self) -> list[str]:
        """The last lines of standard error."""
        return list(self._pumps[1].last_lines)

    def give_verdict(self, verdict: IntactVerdict) -> None:
        """Tell the training that a checkpoint was verified.

        Raises:
            OSError: If the system refuses, or the channel is closed.
        """
        self._channel.give_verdict(verdict)

    def ask(self, source: str, grace_secs: float | None, *, cancelled: bool = False) -> None:
        """Ask the training to save and stop; call this before sending a signal.

        Args:
            source: who asks and why, in words.
            grace_secs: the seconds that are left; None if unknown.
            cancelled: whether to cancel an earlier request instead.
        """
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
        """Send a signal to the started process, and also to the training if that is a descendant.

        Returns:
            Whether a process received it.
        """
        # Looked up first: after a SIGKILL to its parent, a shell, it could not be found.
        trainer = self._trainer()
        # After its status was collected, the number may belong to another process.
        sent = self._process.returncode is None
        if sent:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)
        if trainer is not None and trainer.pid != self.pid:
            sent = True
            with suppress(psutil.Error):
                trainer.send_signal(number)
        return sent

    def _trainer(self) -> psutil.Process | None:
        """Return the process that reports on the channel, if it is a descendant of the launcher.

        The number on the channel may be wrong, for example if it belongs to another PID namespace.
        """
        state = self.state
        if state is None or not self.is_training:
            return None
        found = self._tree.member(state.pid)
        if found is None and state.pid != self._foreign_pid:
            self._foreign_pid = state.pid
            logger.warning(
                "process %d, which reports as the training, was not started by the launcher: no "
                "signal is sent to it",
                state.pid,
            )
        return found

    def send_to_group(self, number: int) -> None:
        """Send a signal to all processes in the group of the started process."""
        send_to_group(self.pid, number)

    def dump(self) -> bool:
        """Make the training write its stacks; return False if it has no signal for that."""
        state, trainer = self.state, self._trainer()
        if state is None or trainer is None or not _is_real_time(state.dump_signal):
            return False
        with suppress(psutil.Error):
            trainer.send_signal(state.dump_signal)
        return True

    def mark_reaped(self, status: int) -> None:
        """Note the exit status of the process; no signal is sent to it from now on."""
        self._process.returncode = os.waitstatus_to_exitcode(status)

    def finish(self) -> None:
        """Copy the rest of the output, after all processes have ended."""
        for pump in self._pumps:
            pump.finish(_PATIENCE_SECS)

    def end_lines(self) -> None:
        """End unfinished lines of output, before another process prints."""
        for pump in self._pumps:
            pump.end_line()

    def close(self) -> None:
        """Remove the channel; read its content before."""
        for pump in self._pumps:
            pump.close_end()
        if self._lock >= 0:
            with suppress(OSError):
                os.close(self._lock)
            self._lock = -1
        shutil.rmtree(self._directory, ignore_errors=True)


def _is_real_time(number: int) -> bool:
    """Return whether a number is a real-time signal; other signals might end the process."""
    least, most = getattr(signal, "SIGRTMIN", None), getattr(signal, "SIGRTMAX", None)
    return least is not None and most is not None and least <= number <= most


def _descriptor(stream: object) -> int:
    """Return the descriptor of a stream of this process; -1 if it has none."""
    try:
        return int(stream.fileno())  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return -1
