"""Moves files and directories aside; nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

from ckptkit.errors import StorageError
from ckptkit.storage.files import FileSystem


def set_aside(files: FileSystem, source: Path, target_dir: Path) -> Path:
    """Move a file or directory into `target_dir` under a free name; never overwrite anything.

    Returns:
        Its new path.

    Raises:
        StorageError: If the disk refuses.
    """
    files.make_dir(target_dir)
    # Durable first: a power loss must not undo the directory into which something is moved.
    files.sync_dir(target_dir.parent)
    for number in range(1, 1_000_000):
        target = target_dir / (source.name if number == 1 else f"{source.name}.{number}")
        if not target.exists():
            files.rename(source, target)
            files.sync_dir(
                target_dir
            )  # sync the new name first: after a power loss, two names are better than none
            files.sync_dir(source.parent)
            return target
    raise StorageError(
        f"{target_dir} contains a million entries named {source.name}: remove some of them."
    )
