"""Starts all workers of a job on this machine, and ends as the job ends.

`ckptkit run --workers N` supervises this program instead of the training itself. So one worker's
end restarts the job as a whole:

    python -m ckptkit.launcher.worker_group N -- CMD
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress

from ckptkit.exit_codes import SIGNAL_BASE, ExitCode
from ckptkit.launcher.job_config import VARIABLE, task_config
from ckptkit.run.launcher_channel import ENVIRONMENT

LEAVE_SECS = 60.0
"""Seconds in which the other workers end after one has failed.

A worker that waits for the others to start never learns that one has ended, and is killed then.
"""

SAVE_SECS = 600.0
"""Seconds in which the other workers end after one was told to stop: the last save may be big.

After the end of training there is no limit, because another worker may evaluate or export.
"""

_LOOK_SECS = 0.1
_PASSED_ON = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP, signal.SIGCONT)


def exit_code_of(codes: Sequence[int]) -> int:
    """Return the exit code of a job from those of its workers, in the order of their ends. Pure.

    Args:
        codes: the exit code of each worker; the negative number of the signal that ended it.
    """
    follow = (ExitCode.OK, ExitCode.PREEMPTED, ExitCode.WORKER_LOST)
    # The first end that has a cause of its own; the others follow from it.
    for code in codes:
        if code not in follow:
            return code if code > 0 else SIGNAL_BASE - code
    for code in (ExitCode.WORKER_LOST, ExitCode.PREEMPTED):
        if code in codes:
            return code
    return ExitCode.OK


class WorkerGroup:
    """The workers of a job on this machine.

    Args:
        command: the program of each worker.
        number: how many there are.
        environment: the environment of this process.
    """

    def __init__(self, command: Sequence[str], number: int, environment: Mapping[str, str]) -> None:
        self._command, self._number, self._environment = command, number, environment
        self._workers: list[subprocess.Popen[bytes]] = []

    def run(self) -> int:
        """Start the workers, wait until all have ended, and return the exit code of the job."""
        for number in _PASSED_ON:
            signal.signal(number, self._pass_on)
        addresses = _free_addresses(self._number)
        for index in range(self._number):
            environment = {**self._environment, VARIABLE: task_config(addresses, index)}
            if index:
                environment.pop(ENVIRONMENT, None)  # the launcher follows the first worker
            self._workers.append(subprocess.Popen(self._command, env=environment))
        return exit_code_of(self._codes())

    def _codes(self) -> list[int]:
        """Return the exit codes in the order in which the workers have ended."""
        codes: list[int] = []
        left, until = list(self._workers), float("inf")
        while left:
            for worker in [each for each in left if each.poll() is not None]:
                left.remove(worker)
                codes.append(worker.returncode)
                if worker.returncode != ExitCode.OK:
                    stopped = worker.returncode == ExitCode.PREEMPTED
                    leave_secs = SAVE_SECS if stopped else LEAVE_SECS
                    until = min(until, time.monotonic() + leave_secs)
            if time.monotonic() > until:
                for worker in left:
                    worker.kill()
            time.sleep(_LOOK_SECS)
        return codes

    def _pass_on(self, number: int, frame: object) -> None:
        for worker in self._workers:
            with suppress(OSError):
                worker.send_signal(number)


def _free_addresses(number: int) -> list[str]:
    """Return addresses of this machine that nothing listens on."""
    with ExitStack() as stack:
        found = []
        # All are open at the same time, so that they differ.
        for _ in range(number):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            found.append(f"127.0.0.1:{listener.getsockname()[1]}")
        return found


def main(arguments: Sequence[str]) -> int:
    """Run a job; the arguments are a number, `--`, and the program with its arguments."""
    number, _, *command = arguments
    return WorkerGroup(command, int(number), os.environ).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
