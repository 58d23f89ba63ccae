"""Counts the processes of a control group that the kernel killed because memory ran out.

Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst (`memory.events`: `oom_kill`) and
cgroup-v1/memory.rst (`memory.oom_control`).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class OomCounter:
    """A file in which the kernel counts out-of-memory kills.

    Args:
        path: the file, or None if there is none.
    """

    path: Path | None

    def read(self) -> int:
        """Return the number of processes that were killed so far; 0 if unknown."""
        with suppress(OSError, ValueError):
            for line in self.path.read_text().splitlines() if self.path is not None else ():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
        return 0


def oom_counter(proc: Path = Path("/proc/self")) -> OomCounter:
    """Find the counter for this process and its children.

    Args:
        proc: the directory of the process under /proc.
    """
    with suppress(OSError, ValueError):
        groups = dict(_groups((proc / "cgroup").read_text()))
        for line in (proc / "mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            root, point = before.split()[3:5]
            kind, _, options = after.split()[:3]
            for controller, wanted, name in (
                ("", "cgroup2", "memory.events"),
                ("memory", "cgroup", "memory.oom_control"),
            ):
                if (
                    kind == wanted
                    and controller in groups
                    and (not controller or controller in options.split(","))
                ):
                    for path in _candidates(Path(point), root, groups[controller]):
                        if (path / name).is_file():
                            return OomCounter(path / name)
    return OomCounter(None)


def _groups(text: str) -> list[tuple[str, str]]:
    """Return the paths of the process's groups by controller; version 2 has one with no name."""
    found = []
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        found += [(controller, path) for controller in controllers.split(",")]
    return found


def _candidates(point: Path, root: str, group: str) -> list[Path]:
    """Return the directories under a mount that may belong to the group.

    In a container the path may be the host's path. Then the mount shows only the end of that path,
    or the group itself.
    """
    inside = group.removeprefix(root) if root != "/" else group
    return [point / inside.lstrip("/"), point / group.lstrip("/"), point]
