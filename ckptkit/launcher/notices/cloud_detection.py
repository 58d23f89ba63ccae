"""Which cloud this machine belongs to, by what its firmware says: nobody is asked who might not be
there.
"""

from __future__ import annotations

from pathlib import Path

DMI = Path("/sys/class/dmi/id")
_AZURE_TAG = "7783-7084-3265-9085-8269-3286-77"  # tells Azure from any other Hyper-V


def cloud_named(
    sys_vendor: str, product_name: str, bios_version: str, chassis_asset_tag: str
) -> str | None:
    """The cloud, by the names in the DMI table; None where it is none of those that are known here.

    Example:
        >>> from ckptkit.launcher.notices.cloud_detection import cloud_named
        >>> cloud_named("Google", "Google Compute Engine", "Google", "")
        'gce'
    """
    if product_name == "Google Compute Engine":
        return "gce"
    # Nitro instances name the vendor; older ones, on Xen, the version of its BIOS: 4.11.amazon.
    if sys_vendor == "Amazon EC2" or bios_version.endswith(".amazon"):
        return "aws"
    if sys_vendor == "Microsoft Corporation" and chassis_asset_tag == _AZURE_TAG:
        return "azure"
    return None


def cloud_here(dmi: Path = DMI) -> str | None:
    """The same, of this machine."""

    def named(name: str) -> str:
        try:
            return (dmi / name).read_text(errors="replace").strip()
        except OSError:
            return ""

    return cloud_named(
        named("sys_vendor"),
        named("product_name"),
        named("bios_version"),
        named("chassis_asset_tag"),
    )
