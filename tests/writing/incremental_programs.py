"""Programs that save while some tensors stay the same, for `test_incremental.py`."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import random
import shutil
import signal
import subprocess
import time
import weakref
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tenacity
import tensorflow as tf

import ckptkit
from ckptkit.layout import RunLayout
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.events import EmergencyDecided
from ckptkit.run.verify import verify
from ckptkit.storage.files import FileSystem, storage_errors
from ckptkit.storage.operations import Link
from ckptkit.tracking import snapshot
from ckptkit.writing import checkpoint_writer
from tests.support.polling import until

TYPES = ["float32", "float64", "bfloat16", "int32", "uint8", "bool", "complex64"]
SHAPES: list[tuple[int, ...]] = [(), (3,), (400,), (50, 77), (300_000,), (1000, 300)]
OWN = {"_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter/.ATTRIBUTES/VARIABLE_VALUE"}
"""The keys that TensorFlow adds to those of the values."""

Bits = dict[str, bytes]


def drawn(rng: random.Random, shape: tuple[int, ...], dtype: str) -> Any:
    bits = np.random.default_rng(rng.randrange(2**32)).integers(0, 255, shape)
    return tf.cast(bits % 2 if dtype == "bool" else bits, dtype).numpy()


def new_state(rng: random.Random) -> dict[str, tf.Variable]:
    """Variables of all types, from scalars to a few megabytes, and strings."""
    found = {
        f"v{number}": tf.Variable(drawn(rng, rng.choice(SHAPES), rng.choice(TYPES)))
        for number in range(rng.randrange(6, 14))
    }
    for name in ("frozen", "seldom", "always"):
        found[name] = tf.Variable(drawn(rng, (900_000,), "float32"))
    return {**found, "words": tf.Variable(["a", "b"] * 400)}


def change(rng: random.Random, variable: tf.Variable) -> None:
    """Change one bit of a variable."""
    if variable.dtype == tf.string:
        variable.assign([rng.choice("xyz")] * 800)
        return
    values = np.array(variable.numpy())
    flat = values.reshape(-1).view(np.uint8)
    # Another bit of a boolean would be no boolean.
    flat[rng.randrange(flat.size)] ^= 1 if variable.dtype == tf.bool else 1 << rng.randrange(8)
    variable.assign(values)


def as_bytes(values: Any) -> bytes:
    array = np.asarray(values)
    return b"|".join(array) if array.dtype == object else array.tobytes()


def bits(state: dict[str, tf.Variable]) -> Bits:
    return {name: as_bytes(variable.numpy()) for name, variable in state.items()}


def read(directory: Path, step: int, names: Any) -> Bits:
    """The bits of a checkpoint as TensorFlow itself reads them."""
    reader = tf.train.load_checkpoint(str(directory / f"ckpt-{step}"))
    keys = {key.split("/")[0]: key for key in reader.get_variable_to_shape_map()}
    return {name: as_bytes(reader.get_tensor(keys[name])) for name in names}


def opened(
    run: str, state: dict[str, Any], keep: int = 1000, *, background: bool = True
) -> ckptkit.CheckpointManager:
    return ckptkit.CheckpointManager(
        run,
        state,
        save=ckptkit.EveryNSteps(10**9),
        keep=ckptkit.KeepLatest(keep),
        background=background,
    )


def save(manager: ckptkit.CheckpointManager, step: int) -> None:
    manager.save(step)
    manager.wait_until_finished()


def checkpoints(run: str) -> dict[int, Path]:
    return {each.step: each.path for each in list_checkpoints(RunLayout(Path(run)))}


def shared_bytes(run: str) -> list[int]:
    journal = ckptkit.open_run(run).journal
    return [event.shared_bytes for event in journal if event.event == "saved"]


def verify_all(run: str) -> None:
    for checkpoint in list_checkpoints(RunLayout(Path(run))):
        verify(checkpoint)


def many_saves(run: str, seed: int, saves: int) -> dict[str, Any]:
    """Every checkpoint has its own bits, wherever it is copied and whichever others are deleted."""
    rng = random.Random(seed)
    state = new_state(rng)
    chances = {name: rng.choice([0.0, 1.0, 0.2]) for name in state}
    chances |= {"frozen": 0.0, "seldom": 0.2, "always": 1.0}
    expected: dict[int, Bits] = {}
    with opened(run, state, background=rng.random() < 0.5) as manager:
        for step in range(1, saves + 1):
            for name, variable in state.items():
                if step > 1 and rng.random() < chances[name]:
                    change(rng, variable)
            save(manager, step)
            expected[step] = bits(state)
    verify_all(run)
    found = checkpoints(run)
    for step, wanted in expected.items():
        assert read(found[step], step, state) == wanted, step
    _copies_are_equal(Path(run), found, expected)
    gone = rng.sample(sorted(expected), saves // 2)
    for step in gone:
        shutil.rmtree(found[step])
    for step in expected.keys() - set(gone):
        assert read(found[step], step, state) == expected[step], (
            f"{step}, after {gone} were deleted"
        )
    return {
        "shared": shared_bytes(run),
        "files": max(len(list(path.glob("*.data-*"))) for path in found.values()),
    }


def _copies_are_equal(run: Path, found: dict[int, Path], expected: dict[int, Bits]) -> None:
    step = max(expected)
    copied, unpacked = run / "copied", run / "unpacked"
    subprocess.run(["cp", "-r", found[step], copied], check=True)
    subprocess.run(["tar", "-cf", run / "all.tar", "-C", run, "checkpoints"], check=True)
    unpacked.mkdir()
    subprocess.run(["tar", "-xf", run / "all.tar", "-C", unpacked], check=True)
    assert read(copied, step, expected[step]) == expected[step]
    for each, wanted in expected.items():
        assert read(unpacked / "checkpoints" / found[each].name, each, wanted) == wanted
    for path in (copied, unpacked):
        shutil.rmtree(path)


def same_as_a_whole_one(run: str, seed: int) -> list[int]:
    """What TensorFlow stores beside the values is the same as in a checkpoint of one file."""
    rng = random.Random(seed)
    state = new_state(rng)
    with opened(run, state) as manager:
        for step in (1, 2, 3):
            save(manager, step)
    found = checkpoints(run)
    readers = [tf.train.load_checkpoint(str(found[step] / f"ckpt-{step}")) for step in (1, 3)]
    shapes = [reader.get_variable_to_shape_map() for reader in readers]
    assert shapes[0] == shapes[1]
    graph, counter = sorted(OWN)
    assert readers[0].get_tensor(graph) == readers[1].get_tensor(graph)
    assert [int(reader.get_tensor(counter)) for reader in readers] == [1, 3]
    # And so TensorFlow's own restore finds the objects.
    fresh = tf.Variable(tf.zeros([900_000]))
    tf.train.Checkpoint(frozen=fresh).restore(str(found[3] / "ckpt-3")).expect_partial()
    assert as_bytes(fresh.numpy()) == as_bytes(state["frozen"].numpy())
    return shared_bytes(run)


def a_flipped_bit(run: str, seed: int) -> dict[str, Any]:
    """A shared file is damaged: it damages all checkpoints that have it, and no others."""
    rng = random.Random(seed)
    state = {name: tf.Variable(drawn(rng, (900_000,), "float32")) for name in "ab"}
    with opened(run, state) as manager:
        for step in range(1, 9):
            if step == 2:
                change(rng, state["a"])  # so that the first checkpoints have a file of their own
            change(rng, state["b"])
            save(manager, step)
    found = checkpoints(run)
    linked = {
        step: [path for path in each.glob("*.data-*") if path.stat().st_nlink > 1]
        for step, each in found.items()
    }
    (victim,) = linked[8]
    inode = victim.stat().st_ino
    having = [step for step, paths in linked.items() if inode in [p.stat().st_ino for p in paths]]
    data = bytearray(victim.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    with victim.open("r+b") as file:  # in place, as a disk loses a bit
        file.write(data)
    with opened(run, state) as manager:
        at = manager.latest_step
    return {"having": having, "restored": at, "left": sorted(checkpoints(run))}


def refused_links(run: str, seed: int, number: int) -> dict[str, Any]:
    """A file system that refuses hard links: everything is written anew, and nothing fails."""
    from ckptkit.storage import files

    perform = files.FileSystem.do
    tried = []

    def do(self: Any, operation: Any) -> None:
        if isinstance(operation, Link):
            tried.append(operation)
            raise OSError(number, "no hard links")
        perform(self, operation)

    files.FileSystem.do = do  # type: ignore[method-assign]
    rng = random.Random(seed)
    state = {"frozen": tf.Variable(drawn(rng, (900_000,), "float32")), "b": tf.Variable(0.0)}
    with opened(run, state) as manager:
        for step in range(1, 6):
            state["b"].assign(step)
            save(manager, step)
    verify_all(run)
    for step, path in checkpoints(run).items():
        assert read(path, step, ["frozen"]) == bits({"frozen": state["frozen"]})
        assert all(each.stat().st_nlink == 1 for each in path.iterdir())
    return {"tried": len(tried), "shared": shared_bytes(run)}


def a_bit_lost_while_training(run: str, seed: int, keep: int) -> int:
    """A disk loses a bit of a shared file, and nothing shows it. Later checkpoints are good again.

    Returns:
        The step that the next process restores.
    """
    rng = random.Random(seed)
    state = {"frozen": tf.Variable(drawn(rng, (900_000,), "float32")), "b": tf.Variable(0.0)}
    with opened(run, state, keep) as manager:
        for step in range(1, 25):
            state["b"].assign(step)
            save(manager, step)
            if step == 5:
                (path,) = [
                    each
                    for each in checkpoints(run)[step].glob("*.data-*")
                    if each.stat().st_nlink > 1
                ]
                status = path.stat()
                with path.open("r+b") as file:
                    place = rng.randrange(status.st_size)
                    file.seek(place)
                    byte = file.read(1)[0]
                    file.seek(place)
                    file.write(bytes([byte ^ 1 << rng.randrange(8)]))
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    wanted = bits(state)
    state["frozen"].assign(tf.zeros([900_000]))
    with opened(run, state, keep) as manager:
        assert bits(state) == wanted
        return manager.latest_step or 0


def newest_deleted(run: str, seed: int, how: str) -> list[int]:
    """Another program deletes the newest checkpoint, or shortens its file, between two saves."""
    rng = random.Random(seed)
    state = {"frozen": tf.Variable(drawn(rng, (900_000,), "float32")), "b": tf.Variable(0.0)}
    with opened(run, state) as manager:
        for step in range(1, 7):
            state["b"].assign(step)
            save(manager, step)
            newest = checkpoints(run)[step]
            if step == 3 and how == "deleted":
                shutil.rmtree(newest)
            if step == 3 and how == "shortened":
                for path in newest.glob("*.data-*"):
                    with path.open("r+b") as file:
                        file.truncate(10)
    for step in (4, 5, 6):
        path = checkpoints(run)[step]
        assert read(path, step, ["frozen"]) == bits({"frozen": state["frozen"]})
    return shared_bytes(run)


class SlowSync(FileSystem):
    """A disk that needs a second for a new megabyte."""

    def sync_file(self, path: Path) -> None:
        status = path.stat()
        if status.st_size > 1e6 and status.st_nlink == 1:
            time.sleep(status.st_size / 1e6)
        super().sync_file(path)


def told_to_stop(run: str, seed: int, unfrozen: bool) -> list[Any]:
    """The machine goes away in two seconds; a save of everything would take more than three.

    Returns:
        The decisions, and how many snapshots were taken for them.
    """
    rng = random.Random(seed)
    state = {"frozen": tf.Variable(drawn(rng, (900_000,), "float32")), "b": tf.Variable(0.0)}
    manager = ckptkit.CheckpointManager(
        run,
        state,
        save=ckptkit.EveryNSteps(2),
        preemption=ckptkit.Preemption(grace_secs=2),
        background=False,
        files=SlowSync(),
    )
    take_snapshot = snapshot.take_snapshot
    with contextlib.ExitStack() as resources, contextlib.suppress(ckptkit.Preempted), manager:
        for step in manager.steps(20):
            state["b"].assign(step)
            if step == 9:
                if unfrozen:
                    state["frozen"].assign(drawn(rng, (900_000,), "float32"))
                os.kill(os.getpid(), signal.SIGTERM)
                until(lambda: manager._slot.opened().stopping._deadline is not None)
                snapshots = mock.patch.object(snapshot, "take_snapshot", wraps=take_snapshot)
                taken = resources.enter_context(snapshots)
    events = ckptkit.open_run(run).journal
    actions = [event.action for event in events if isinstance(event, EmergencyDecided)]
    return [*actions, taken.call_count]


def refused_for_want_of_space(run: str) -> bool:
    """Whether the snapshot of a refused save is freed when the next one is taken."""

    class Full(FileSystem):
        full = False

        def sync_file(self, path: Path) -> None:
            if self.full:
                with storage_errors("sync", path):
                    raise OSError(errno.ENOSPC, "full")
            super().sync_file(path)

    checkpoint_writer.WAIT = tenacity.wait_none()
    files, weight = Full(), tf.Variable(tf.zeros([1000]))
    manager = ckptkit.CheckpointManager(
        run, {"weight": weight}, save=ckptkit.EveryNSteps(1), files=files
    )
    with manager:
        saver = manager._slot.opened().saves.saver
        for step in manager.steps(3):
            weight.assign_add(tf.ones([1000]))
            manager.run  # noqa: B018 - waits for the save of the step before
            if step == 2:
                files.full = True
            if step == 3:
                assert saver.unwritten is not None
                snapshot = weakref.ref(saver.unwritten.snapshot)
                saver.take(manager.position, {}, running_averages=False)
                assert saver.snapshots._refused is not None
                files.full = False
                gc.collect()
                return snapshot() is None
    return False
