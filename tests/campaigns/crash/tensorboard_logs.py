"""Event files that a run puts in order, and what may be left of them. No TensorFlow."""

from __future__ import annotations

import math
from pathlib import Path

from ckptkit.tensorboard.event_file_repair import RepairStart, repair_event_files
from ckptkit.tensorboard.stale_points import WriterAttempt
from tests.campaigns.crash.run_process import RunProcess
from tests.tensorboard.event_file_lists import name_of, steps_shown, write

_AMONG = (
    WriterAttempt(1, "host", 11, 100.0, 200.0),
    WriterAttempt(2, "host", 22, 300.0, -math.inf),
    WriterAttempt(3, "host", 33, 400.0),
)
_EXPECTED = {"train": [1, 2], "validation": [10]}


def directory(process: RunProcess) -> Path:
    """Outside of the run."""
    return process.layout.root.parent / "logs"


def written(process: RunProcess) -> None:
    """Two attempts, of which the second led nowhere."""
    logs = directory(process)
    write(
        logs / "train" / name_of(100, "host", 11),
        [(110.0, 1), (120.0, 2), (210.0, 3)],
        torn=b"half a record",
    )
    write(logs / "train" / name_of(300, "host", 22), [(310.0, 3), (320.0, 4)])
    write(logs / "validation" / name_of(100, "host", 11), [(150.0, 10), (250.0, 20)])


def recover(process: RunProcess) -> None:
    done = repair_event_files(
        process.owned, directory(process), RepairStart(_AMONG, 2, 0, True, 500.0)
    )
    assert done.left == [], done.left


def problem(process: RunProcess) -> str | None:
    """What is wrong with the files that a crash has left, or None; one more start puts them in
    order.
    """
    logs = directory(process)
    if not logs.is_dir():
        return None
    for name, expected in _EXPECTED.items():
        shown = steps_shown(logs / name)
        if not set(expected) <= set(shown) and not any((logs / name).glob("*.cutting.*")):
            return f"before recovery {name} shows {shown}; at least {expected} were expected"
    recover(process)
    found = {name: steps_shown(logs / name) for name in _EXPECTED}
    if found != _EXPECTED:
        return f"TensorBoard would show {found}; expected {_EXPECTED}"
    there = sorted(path.name for path in logs.rglob("*") if "cutting" in path.name)
    originals = list(logs.rglob("events.out.before-attempt-3*"))
    return (
        None
        if not there and len(originals) == 3
        else f"left over are {there}, and {len(originals)} originals; expected 3"
    )
