"""Sizes of checkpoints that share files: these are on the disk once."""

from __future__ import annotations

from ckptkit.run.data_anchor_entry import anchor_file
from ckptkit.run.manifest import ManifestHead


def own_bytes(manifest: ManifestHead) -> int:
    """Return the size of a checkpoint in bytes, without the anchors of earlier ones.

    Args:
        manifest: its manifest.
    """
    own = f"{manifest.step}-{manifest.attempt}"
    return sum(file.size_bytes for file in manifest.files if anchor_file(file.name) in (None, own))
