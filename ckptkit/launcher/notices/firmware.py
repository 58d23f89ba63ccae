"""Reads the names that the firmware gives to the machine, which show its cloud.

So ckptkit never asks a metadata server that does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

DMI = Path("/sys/class/dmi/id")
"""The directory in which Linux shows the DMI table."""


@dataclass(frozen=True, kw_only=True)
class Firmware:
    """The names of a machine in its DMI table; empty if a name is missing.

    Args:
        sys_vendor: the maker of the machine.
        product_name: its model.
        bios_version: the version of its BIOS.
        chassis_asset_tag: the tag of its chassis.
    """

    sys_vendor: str = ""
    product_name: str = ""
    bios_version: str = ""
    chassis_asset_tag: str = ""


def read_firmware(dmi: Path = DMI) -> Firmware:
    """Read the names of this machine from its firmware.

    Args:
        dmi: the directory with one file for each name.
    """

    def read(name: str) -> str:
        try:
            return (dmi / name).read_text(errors="replace").strip()
        except OSError:  # not every machine has all names, and only root may read some of them
            return ""

    return Firmware(**{field.name: read(field.name) for field in fields(Firmware)})
