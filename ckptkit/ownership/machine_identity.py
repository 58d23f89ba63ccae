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
        """Return whether both certainly run on one kernel, as two containers with own names do."""
        return bool(self.boot) and self.boot == other.boot

    def is_same(self, other: Machine) -> bool:
        """Return whether both have the same host name and run on one kernel for certain."""
        return bool(self.boot) and self == other


def this_machine() -> Machine:
    """Return the machine of this process."""
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        boot = ""
    return Machine(socket.gethostname(), boot)
