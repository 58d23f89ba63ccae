"""What frequent saves cost if a part of the state never changes.

    .venv/bin/python scripts/benchmarks/changed_bytes.py [--megabytes 250] [--json FILE]

A stack of weights is trained, of which the first 0, 50, 90 or 99 % are frozen. For each part, and
for saves at every 1, 5 and 25 steps, ckptkit and `tf.train.CheckpointManager`, also with its
asynchronous saves, take turns with the same training without saves. The figures are medians:

- lost: wall time of training that one save costs.
- durable: from the call until the checkpoint is complete on the disk, with nothing else going on.
- cpu: CPU time of the process for that, on all its threads. It hardly depends on other programs.
- written: new bytes on the disk for one checkpoint; shared files count once.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

WEIGHTS = 100
FROZEN = (0, 50, 90, 99)
EVERY = (1, 5, 25)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure saves of a partly frozen state.")
    parser.add_argument("--megabytes", type=int, default=250)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frozen", type=int, nargs="*", default=FROZEN)
    parser.add_argument("--every", type=int, nargs="*", default=EVERY)
    parser.add_argument("--directory", type=Path, help="where to write; default: a temporary one")
    parser.add_argument("--json", type=Path, help="also write the figures into a file")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    figures = {}
    for frozen in arguments.frozen:
        figures[frozen] = found = measure(frozen, arguments)
        for name, each in found.items():
            lost = ", ".join(
                f"every {every}: {secs * 1e3:.0f} ms" for every, secs in each["lost_secs"].items()
            )
            print(
                f"{frozen:3} % frozen, {name:8} written {each['written_bytes'] / 1e6:6.1f} MB, "
                f"durable {each['durable_secs'] * 1e3:5.0f} ms, "
                f"cpu {each['cpu_secs'] * 1e3:5.0f} ms, lost per save: {lost}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


def measure(frozen: int, arguments: Any) -> dict[str, dict[str, Any]]:
    """Return the figures of each way to save, for one frozen part in percent."""
    import tensorflow as tf

    logging.getLogger("ckptkit").setLevel(logging.WARNING)
    side = int((arguments.megabytes * 1e6 / 4 / WEIGHTS) ** 0.5)
    weights = [tf.Variable(tf.random.normal((side, side))) for _ in range(WEIGHTS)]
    trained = weights[WEIGHTS * frozen // 100 :]

    @tf.function  # type: ignore[untyped-decorator]
    def step() -> None:
        product = weights[0]
        for _ in range(8):
            product = tf.linalg.l2_normalize(tf.matmul(product, weights[0]))
        for weight in trained:
            weight.assign_add(1e-3 * product)

    directory = Path(tempfile.mkdtemp(dir=arguments.directory))
    ways: dict[str, Callable[[Path, list[Any]], tuple[Callable[[], Any], ...]]] = {
        "ckptkit": with_ckptkit,
        "tf": with_tensorflow,
        "tf async": partial(with_tensorflow, is_async=True),
    }
    try:
        found = {name: Way(make(directory / name, weights)) for name, make in ways.items()}
        for way in found.values():
            for _ in range(3):  # the first saves find out what is frozen
                step()
                way.save_and_wait()
        for _ in range(arguments.repeats):
            for name, way in found.items():
                step()
                before = files_in(directory / name)
                used = time.process_time()
                way.durable_secs.append(timed(way.save_and_wait))
                way.cpu_secs.append(time.process_time() - used)
                after = files_in(directory / name)
                way.written.append(sum(after[inode] for inode in after.keys() - before.keys()))
                for every in arguments.every:
                    steps = max(2 * every, 6)
                    plain = timed(partial(stretch, step, steps))
                    saves = steps // every
                    secs = timed(partial(stretch, step, steps, every, way.save))
                    way.wait()
                    way.lost_secs.setdefault(every, []).append((secs - plain) / saves)
        return {name: way.figures() for name, way in found.items()}
    finally:
        for way in found.values():
            way.close()
        shutil.rmtree(directory)


def stretch(
    step: Callable[[], Any], steps: int, every: int = 0, save: Callable[[], Any] | None = None
) -> None:
    for number in range(1, steps + 1):
        step()
        if save is not None and number % every == 0:
            save()


class Way:
    """A way to save, with what was measured of it.

    Args:
        functions: save, wait and close.
    """

    def __init__(self, functions: tuple[Callable[[], Any], ...]) -> None:
        self.save, self.wait, self.close = functions
        self.durable_secs: list[float] = []
        self.cpu_secs: list[float] = []
        self.written: list[int] = []
        self.lost_secs: dict[int, list[float]] = {}

    def save_and_wait(self) -> None:
        self.save()
        self.wait()

    def figures(self) -> dict[str, Any]:
        return {
            "written_bytes": statistics.median(self.written),
            "durable_secs": statistics.median(self.durable_secs),
            "cpu_secs": statistics.median(self.cpu_secs),
            "lost_secs": {every: statistics.median(secs) for every, secs in self.lost_secs.items()},
        }


def with_ckptkit(directory: Path, weights: list[Any]) -> tuple[Callable[[], Any], ...]:
    import ckptkit

    names = {f"w{number:03}": weight for number, weight in enumerate(weights)}
    never = ckptkit.EveryNSteps(10**9)
    manager = ckptkit.CheckpointManager(directory, names, save=never, keep=ckptkit.KeepLatest(3))
    manager.restore_or_initialize()

    def save() -> None:
        manager.save(manager.position.step + 1)

    return save, manager.wait_until_finished, manager.close


def with_tensorflow(
    directory: Path, weights: list[Any], *, is_async: bool = False
) -> tuple[Callable[[], Any], ...]:
    import tensorflow as tf

    checkpoint = tf.train.Checkpoint(weights=weights)
    manager = tf.train.CheckpointManager(checkpoint, str(directory), max_to_keep=3)
    options = tf.train.CheckpointOptions(experimental_enable_async_checkpoint=is_async)

    def sync() -> None:
        if is_async:
            checkpoint.sync()
        for path in directory.iterdir():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    return partial(manager.save, options=options), sync, lambda: None


def files_in(directory: Path) -> dict[int, int]:
    """Return the sizes of all files by inode, so that a file with several names counts once."""
    found = [path.stat() for path in directory.rglob("*") if path.is_file()]
    return {status.st_ino: status.st_size for status in found}


def timed(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
