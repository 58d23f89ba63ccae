"""Recognizes mounted buckets (object stores), on which a run is less safe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ckptkit.log import logger

_BUCKETS = frozenset(
    {
        "gcsfuse",
        "s3fs",
        "mount-s3",
        "mountpoint-s3",
        "goofys",
        "geesefs",
        "rclone",
        "blobfuse",
        "blobfuse2",
        "ossfs",
        "cosfs",
    }
)


@dataclass(frozen=True)
class Mount:
    """A mounted file system.

    Args:
        point: the directory that it is mounted on.
        kind: the type of the file system, as in `mount(8)`.
        device: the mounted device or bucket.
    """

    point: Path
    kind: str
    device: str


def bucket_mount(path: Path, mounts: Sequence[Mount] | None = None) -> str | None:
    """Return the kind of bucket mount that contains a path, or None if there is none.

    Args:
        path: a file or directory; it need not exist.
        mounts: all mounts; by default they are read from the kernel.
    """
    resolved = path.resolve()
    above = [
        mount
        for mount in (mounts if mounts is not None else _mounted())
        if resolved.is_relative_to(mount.point)
    ]
    nearest = max(above, key=lambda mount: len(mount.point.parts), default=None)
    if nearest is None or not nearest.kind.startswith("fuse"):
        return None
    return next(
        (
            word
            for word in re.split(r"[ ./:]", f"{nearest.kind} {nearest.device}".lower())
            if word in _BUCKETS
        ),
        None,
    )


def _mounted() -> list[Mount]:
    return [
        Mount(Path(each.mountpoint), each.fstype, each.device)
        for each in psutil.disk_partitions(all=True)
    ]


def warn_about_bucket_mount(path: Path) -> None:
    """Warn if a run is on a bucket mount, where neither locks nor syncs are reliable."""
    kind = bucket_mount(path)
    if kind is not None:
        logger.warning(
            "%s is on a bucket mount (%s). Renames are not atomic there, syncs are not reliable, "
            "and two machines may own the run at the same time. Start one process at a time, or "
            "keep the run on a disk or NFS.",
            path,
            kind,
        )
