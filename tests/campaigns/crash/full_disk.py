"""A real, small disk that fills up at ever another place of a save. A process of its own: it mounts
for itself alone, and imports no TensorFlow.

    python -m tests.campaigns.crash.full_disk DIRECTORY

prints, for each number of free pages, whether the save was refused, and what is wrong afterwards.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from ckptkit.policies import KeepLatest
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.storage.files import FileSystem
from tests.campaigns.crash.recovery_check import names_after, newest_serial
from tests.campaigns.crash.run_process import RunProcess
from tests.support import machine

PAGE = 4096


def main(directory: str) -> None:
    machine.small_disk(Path(directory), 1_000_000)
    said = []
    process = RunProcess(Path(directory), FileSystem()).begin()
    serial = 1
    process.save(10, serial)
    for free in range(9):
        serial += 1
        fill(Path(directory), free)
        refused = process.try_save(10 * serial, serial, KeepLatest(2))
        names = names_after(process.layout)
        newest = newest_serial(list_checkpoints(process.layout))
        (Path(directory) / "filler").unlink()
        after = process.try_save(10 * serial, serial, KeepLatest(2))
        said.append(
            {
                "free": free,
                "refused": refused and errno.errorcode[refused.errno or 0],
                "debris": sorted(name for name in names if name.startswith(".")),
                "newest": serial - newest,
                "after": after and str(after),
                "at last": serial - newest_serial(list_checkpoints(process.layout)),
            }
        )
    print(json.dumps(said))


def fill(directory: Path, free_pages: int) -> None:
    """Fills the disk but for so many pages."""
    with (directory / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(PAGE))
    os.truncate(directory / "filler", (directory / "filler").stat().st_size - free_pages * PAGE)


if __name__ == "__main__":
    main(*sys.argv[1:])
