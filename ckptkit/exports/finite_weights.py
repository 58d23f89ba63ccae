"""Checks that the weights of a checkpoint are finite before they are published."""

from __future__ import annotations

from ckptkit.errors import ExportError
from ckptkit.run.manifest import ManifestHead


def check_finite(head: ManifestHead, remedy: str) -> None:
    """Check by its manifest that a checkpoint has finite weights.

    Args:
        head: the manifest without its list of tensors.
        remedy: how the user can publish it anyway, as code or a command.

    Raises:
        ExportError: If a weight is NaN or infinite.
    """
    if head.not_finite:
        raise ExportError(
            f"Expected finite weights to publish. Received: NaN or infinity in "
            f"{', '.join(head.not_finite)} at {head.position}. To publish them anyway, name the "
            f"step: {remedy}."
        )
