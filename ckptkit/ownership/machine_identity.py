"""Identifies a machine by its host name and its running kernel."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Machine:
    """A machine with its running kernel.

    Args:
        host: its host name.
        boot: the boot id of the kernel (`random(4)`: boot_id); empty if unknown.
    """

    host: str
    boot: str

    def is_same_kernel(self, other: Machine) -> bool:
        """Whether both are known to run on one kernel; containers on it have names of their own."""
        return bool(self.boot) and self.boot == other.boot

    def is_same(self, other: Machine) -> bool:
        """Return whether both certainly run the same kernel."""
        return bool(self.boot) and self == other


def this_machine() -> Machine:
    """Return the machine of this process."""
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        boot = ""
    return Machine(socket.gethostname(), boot)
