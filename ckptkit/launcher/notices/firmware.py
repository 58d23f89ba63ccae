"""What the machine's firmware says of it, by which a cloud is recognised.

So no server is asked that may not exist.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

DMI = Path("/sys/class/dmi/id")
"""Where Linux shows the DMI table."""


@dataclass(frozen=True, kw_only=True)
class Firmware:
    """Names in the DMI table; empty if a name is missing.

    Args:
        sys_vendor: maker of the machine.
        product_name: its model.
        bios_version: version of the BIOS.
        chassis_asset_tag: tag of the chassis.
    """

    sys_vendor: str = ""
    product_name: str = ""
    bios_version: str = ""
    chassis_asset_tag: str = ""


def read_firmware(dmi: Path = DMI) -> Firmware:
    """Read the names of this machine.

    Args:
        dmi: directory with one file for each name.
    """

    def read(name: str) -> str:
        try:
            return (dmi / name).read_text(errors="replace").strip()
        except OSError:  # not every machine has all of them, and some are for root only
            return ""

    return Firmware(**{field.name: read(field.name) for field in fields(Firmware)})
