"""The preemption policy says which signals stop a run, and how the process then ends."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from ckptkit.errors import ConfigError
from ckptkit.exit_codes import ExitCode


@dataclass(frozen=True)
class Preemption:
    """Which signals mean "save and stop", how much time is left, and how the process ends.

    Args:
        signals: names of signals. SIGUSR1 is handled only if the program has no handler for it.
            SIGHUP (a closed terminal) is left alone if it is ignored, as under `nohup`. Ctrl-C
            (SIGINT) is always handled: it saves, then interrupts as Python does; a second Ctrl-C
            interrupts at once.
        grace_secs: seconds between the signal and the end of the machine.
        exit_code: the exit code of the process; 75 is `EX_TEMPFAIL` of sysexits.h, "try again
            later".

    Raises:
        ConfigError: If a signal is unknown or cannot be caught, or a number is out of range.

    Example:
        >>> import ckptkit
        >>> ckptkit.Preemption(grace_secs=120)
        Preemption(signals=('SIGTERM', 'SIGUSR1', 'SIGHUP'), grace_secs=120, exit_code=75)
    """

    signals: tuple[str, ...] = ("SIGTERM", "SIGUSR1", "SIGHUP")
    grace_secs: float = 30
    exit_code: int = ExitCode.PREEMPTED.value

    def __post_init__(self) -> None:
        if isinstance(self.signals, str) or not all(isinstance(name, str) for name in self.signals):
            raise ConfigError(
                "Preemption: signals is a tuple of names, such as ('SIGTERM',). Received: "
                f"signals={self.signals!r}."
            )
        object.__setattr__(self, "signals", tuple(self.signals))
        for name in self.signals:
            if name not in signal.Signals.__members__ or name in ("SIGKILL", "SIGSTOP", "SIGINT"):
                raise ConfigError(
                    "Preemption: signals names signals that can be caught, such as 'SIGTERM' or "
                    "'SIGUSR1'; Ctrl-C (SIGINT) is "
                    f"always served. Received: {name!r}."
                )
        if not self.grace_secs > 0:
            raise ConfigError(
                "Preemption: grace_secs is a duration in seconds, more than 0. Received: "
                f"{self.grace_secs!r}."
            )
        if not isinstance(self.exit_code, int) or not 1 <= self.exit_code <= 255:
            raise ConfigError(
                "Preemption: exit_code is a process's exit code from 1 to 255. Received: "
                f"{self.exit_code!r}."
            )
