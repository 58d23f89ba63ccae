"""Refusing to publish weights that are not finite."""

from __future__ import annotations

from ckptkit.errors import ExportError
from ckptkit.run.manifest import ManifestHead


def check_finite(head: ManifestHead, remedy: str) -> None:
    """Checks that a checkpoint has finite weights, as far as its manifest says.

    Args:
        head: of the manifest.
        remedy: how the user publishes it all the same.

    Raises:
        ExportError: If it has not.
    """
    if head.not_finite:
        raise ExportError(
            f"Expected finite weights to publish. Received: NaN or infinity in "
            f"{', '.join(head.not_finite)} at {head.position}. To publish them all the same, name "
            f"the step: {remedy}."
        )
