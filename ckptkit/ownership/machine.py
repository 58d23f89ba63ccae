"""Which machine this is. Two processes on one machine can ask its kernel about each other."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Machine:
    """A running kernel.

    Args:
        host: its name.
        boot: the kernel's own number of this start (`random(4)`: boot_id); empty if it gives
            none.
    """

    host: str
    boot: str

    def is_same(self, other: Machine) -> bool:
        """Whether both are known to be one kernel."""
        return bool(self.boot) and self == other


def this_machine() -> Machine:
    """Returns the machine that this process runs on."""
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        boot = ""
    return Machine(socket.gethostname(), boot)
