"""Sizes of checkpoints that share files: these are on the disk once."""

from __future__ import annotations

from collections.abc import Iterable

from ckptkit.run.data_anchor_entry import anchor_file
from ckptkit.run.manifest import ManifestHead


def own_bytes(manifest: ManifestHead) -> int:
    """Return the size of a checkpoint in bytes, without the anchors of earlier ones.

    Args:
        manifest: its manifest.
    """
    own = f"{manifest.step}-{manifest.attempt}"
    return sum(file.size_bytes for file in manifest.files if anchor_file(file.name) in (None, own))


def bytes_together(manifests: Iterable[ManifestHead]) -> int:
    """Return what some checkpoints of a run take together on the disk, in bytes.

    Files with the same content count once, because checkpoints share them.

    Args:
        manifests: their manifests.
    """
    contents = {(file.size_bytes, file.digest) for manifest in manifests for file in manifest.files}
    return sum(size_bytes for size_bytes, _ in contents)
