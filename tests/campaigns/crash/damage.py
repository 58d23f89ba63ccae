"""Damage of every kind to every file that a start reads: passed over, refused, or harmless; never
another value than one that was saved.

Runs in a process with TensorFlow, where `newest_good` is; most cases need no operation of it. What
is called harmless is restored.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import ckptkit
from ckptkit.layout import RunLayout
from ckptkit.ownership.run_lock import RunLock
from ckptkit.restore.newest_checkpoint import newest_good
from ckptkit.run.journal import next_attempt, start_journal
from ckptkit.run.run_recovery import recover
from ckptkit.testing import FakeClock
from tests.support.disks import Unsynced

Change = Callable[[Path], object]
STEPS = (1, 2, 3)


def manager_of(root: Path) -> tuple[tf.Variable, ckptkit.CheckpointManager]:
    weight = tf.Variable(tf.zeros([100]))
    return weight, ckptkit.CheckpointManager(
        root,
        {"weight": weight},
        keep=ckptkit.KeepLatest(9),
        background=False,
        files=Unsynced(),
        exact="off",
        clock=FakeClock(),
    )


def values(step: int) -> Any:
    return np.random.RandomState(step).rand(100).astype("float32")


def make_run(root: Path) -> None:
    """Three checkpoints, at steps 1, 2 and 3."""
    weight, manager = manager_of(root)
    manager.restore_or_initialize()
    for step in STEPS:
        weight.assign(values(step))
        manager.save(step, metrics={"loss": 1.0 / step})
    manager.close()


@dataclass(frozen=True)
class Case:
    """One damage.

    Args:
        file: relative to the run.
        what: in words.
        apply: does it.
    """

    file: str
    what: str
    apply: Change


def cases(root: Path, rng: random.Random, flips: int) -> Iterator[Case]:
    """All damages to all files that a start reads; those of the newest checkpoint first."""
    newest, older = "checkpoints/ckpt-3-1", "checkpoints/ckpt-2-1"
    partners = {
        f"{newest}/ckpt-3.index": f"{older}/ckpt-2.index",
        f"{newest}/manifest.json": f"{older}/manifest.json",
        f"{newest}/ckpt-3.data-00000-of-00001": f"{older}/ckpt-2.data-00000-of-00001",
        "checkpoints/checkpoint": "lock/000001/owner.json",
        "journal/attempt-000001.jsonl": "checkpoints/checkpoint",
        "lock/000001/owner.json": "checkpoints/checkpoint",
        "lock/000001/alive": "checkpoints/checkpoint",
    }
    for file, partner in partners.items():
        for what, apply in changes(root / file, root / partner, rng, flips):
            yield Case(file, what, apply)


def changes(
    path: Path, partner: Path, rng: random.Random, flips: int
) -> Iterator[tuple[str, Change]]:
    size, others = path.stat().st_size, partner.read_bytes()
    yield "missing", Path.unlink
    yield "emptied", lambda each: each.write_bytes(b"")
    for length in sorted(rng.sample(range(1, size), 10)):
        yield (
            f"cut off at {length}",
            lambda each, length=length: each.write_bytes(each.read_bytes()[:length]),
        )
    for place in rng.sample(range(8 * size), min(flips, 8 * size)):
        yield f"bit {place} flipped", lambda each, place=place: flip(each, place)
    yield "another's content", lambda each: each.write_bytes(others)
    yield "a directory", lambda each: (each.unlink(), each.mkdir())
    yield (
        "a link to itself, elsewhere",
        lambda each: (each.rename(each.with_name("elsewhere")), each.symlink_to("elsewhere")),
    )
    yield "a pipe", lambda each: (each.unlink(), os.mkfifo(each))
    yield "a dangling link", lambda each: (each.unlink(), each.symlink_to("nowhere"))
    yield "longer", lambda each: each.write_bytes(each.read_bytes() + b"\0")


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(bytes(data))


def matrix(directory: str, seed: int, flips: int, restores: int) -> dict[str, Any]:
    """Applies all damages.

    Args:
        directory: where to work.
        seed: of the places.
        flips: bits for each file.
        restores: of a file's flipped bits that are harmless about so many are restored; of other
            damage all.

    Returns:
        By file: how many were tried, detected (passed over), refused (with an error of ours),
        harmless; and what was wrong.
    """
    rng, base = random.Random(seed), Path(directory) / "base" / "run"
    make_run(base)
    said: dict[str, dict[str, int]] = {}
    wrong: list[str] = []
    refusals: set[str] = set()
    for case in cases(base, rng, flips):
        counts = said.setdefault(
            case.file.removeprefix("checkpoints/"),
            {"tried": 0, "detected": 0, "refused": 0, "harmless": 0, "restored": 0},
        )
        counts["tried"] += 1
        root = Path(directory) / "work" / "run"
        damaged(base, root, case)
        try:
            outcome = looked_at(root)
            if outcome == "harmless" and (
                not case.what.startswith("bit ") or rng.random() < restores / flips
            ):
                damaged(base, root, case)
                counts["restored"] += 1
                check_restore(root, 3)
            elif outcome == "detected" and counts["detected"] < 3:
                damaged(base, root, case)
                counts["restored"] += 1
                check_restore(root, 2)
        except ckptkit.CheckpointError as error:
            outcome = "refused"
            refusals.add(f"{case.file}: {case.what}: {type(error).__name__}")
        except Exception as error:
            outcome = "wrong"
            wrong.append(f"{case.file}: {case.what}: {type(error).__name__}: {error}")
        counts[outcome] = counts.get(outcome, 0) + 1
    return {"files": said, "wrong": wrong, "refusals": sorted(refusals)}


def damaged(base: Path, root: Path, case: Case) -> None:
    shutil.rmtree(root.parent, ignore_errors=True)
    shutil.copytree(base.parent, root.parent)
    case.apply(root / case.file)


def looked_at(root: Path) -> str:
    """What a start makes of it, without TensorFlow's part: `harmless` or `detected`."""
    layout, files = RunLayout(root), Unsynced()
    before = tree_of(layout.checkpoints / "ckpt-3-1")
    lock = RunLock(files, layout, FakeClock(), at_least=next_attempt(layout))
    try:
        journal = start_journal(files, layout, FakeClock(), lock.number)
        recover(files, layout, journal, lock)
        found = newest_good(files, layout, journal)
    finally:
        lock.release()
    assert found is not None
    if found.step == 3:
        assert (
            before
            == tree_of(layout.checkpoints / "ckpt-3-1")
            == tree_of(root.parents[1] / "base" / "run" / "checkpoints" / "ckpt-3-1")
        ), "a checkpoint that was damaged is taken for good"
        return "harmless"
    assert found.step == 2
    assert (layout.quarantine / "ckpt-3-1").is_dir(), "what was passed over is moved, not deleted"
    return "detected"


def tree_of(directory: Path) -> dict[str, bytes | None]:
    return {
        path.name: path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in directory.iterdir()
    }


def check_restore(root: Path, step: int) -> None:
    weight, manager = manager_of(root)
    position = manager.restore_or_initialize()
    manager.close()
    assert position.step == step, f"restored {position}, expected step {step}"
    assert (weight.numpy() == values(step)).all(), "another value was restored"
