"""What saving costs: ckptkit beside every way of saving that is installed, in one process,
interleaved.

    .venv/bin/python scripts/benchmarks/saves.py [--sizes 25 250 1000] [--repeats 9] [--json FILE]

For each size a stack of dense layers with Adam is trained on all cores. Each contestant saves by
its own public interface, its first save is discarded, and they take turns, so that a slow minute of
the machine hits all of them. The numbers are medians:

- stall: how long the call that saves keeps training from going on; p50 and p99, and p50 in copies:
  in the time that copying the same bytes into warm buffers takes.
- lost: wall time that a stretch of training takes longer with one save in it.
- durable: from the call until the checkpoint is complete on the disk, with nothing else going on
  (what a signal needs at the end).
- peak: memory during a save with training going on, above the level before the first save, in
  copies of the state; `after`: what of it is left. This in a process of its own for each. With
  oneDNN, TensorFlow's allocator keeps a pool; what is left without one is printed below the table.

What an own section says: saves at every 1 to 100 steps; writing beside a plain write and fsync of
the same bytes; restoring beside `tf.train.Checkpoint.read`; where the start of a resumed process
spends its time; ten thousand variables; the position of data alone.
"""

from __future__ import annotations

import time

STARTED = time.perf_counter()

import argparse  # noqa: E402
import gc  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import shutil  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from contestants import contestants, make_model, make_step, state_bytes  # noqa: E402

STRETCH_SECS = 1.5
EVERY = (1, 10, 25, 50, 100)


# -- measuring


def timed(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def repeated(action: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        action()


def save_and_wait(contestant: Any) -> None:
    contestant.save()
    contestant.wait()


def copy_secs(model: Any) -> float:
    """Copying the same bytes into warm buffers."""
    import numpy as np

    sources = [
        variable.value.numpy() for variable in (*model.variables, *model.optimizer.variables)
    ]
    targets = [np.array(source) for source in sources]

    def copy() -> None:
        for target, source in zip(targets, sources, strict=True):
            np.copyto(target, source)

    return statistics.median(timed(copy) for _ in range(9))


def raw_write_secs(directory: Path, size: int) -> float:
    """Writing the same bytes into one file, and fsync."""
    data = memoryview(bytes(16 * 1024 * 1024))
    path = directory / "raw"

    def write() -> None:
        with path.open("wb", buffering=0) as file:
            left = size
            while left > 0:
                left -= file.write(data[:left])
            os.fsync(file.fileno())

    secs = timed(write)
    path.unlink()
    return secs


def rss() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


class Peak:
    """The largest memory of this process while the block runs."""

    def __enter__(self) -> Peak:
        self.bytes = rss()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.002):
            self.bytes = max(self.bytes, rss())


MEMORY = """
import gc, json, sys
from pathlib import Path
import contestants, saves
model = contestants.make_model(int(sys.argv[2]))
step = contestants.make_step(model)
size = contestants.state_bytes(model)
def train():
    for _ in range(12):
        step()
    float(step())
for _ in range(3):
    train()
kind = next(kind for kind in (*contestants.KINDS, contestants.Held) if kind.name == sys.argv[1])
first = kind(contestants.make_model(1), Path(sys.argv[3]) / "first")
first.save()
first.wait()
first.close()
train()
gc.collect()
quiet = saves.rss()
one = kind(model, Path(sys.argv[3]) / "second")
peaks, left = [], []
for _ in range(4):
    with saves.Peak() as peak:
        one.save()
        train()
        one.wait()
    train()
    gc.collect()
    peaks.append((peak.bytes - quiet) / size)
    left.append((saves.rss() - quiet) / size)
one.close()
print(json.dumps({"peak_copies": max(peaks), "after_copies": left[-1]}))
"""


def measure_memory(name: str, megabytes: int, base: Path, **environment: str) -> dict[str, float]:
    """Memory of a process that trains and saves in one way only, above what it had before it saved
    this model for the first time.
    """
    with tempfile.TemporaryDirectory(dir=base) as directory:
        used: dict[str, float] = json.loads(
            in_a_process(MEMORY, name, str(megabytes), directory, **environment)
        )
        return used


def in_a_process(program: str, *args: str, **environment: str) -> str:
    """The last line that a program prints which a fresh Python runs."""
    done = subprocess.run(
        [sys.executable, "-c", program, *args],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            **environment,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        },
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.splitlines()[-1]


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]


def measure_size(megabytes: int, repeats: int, base: Path) -> dict[str, Any]:
    model = make_model(megabytes)
    step = make_step(model)
    size = state_bytes(model)
    for _ in range(3):
        step()
    step_secs = statistics.median(timed(step) for _ in range(9))
    stretch = max(int(STRETCH_SECS / step_secs), 4)

    def train(steps: int = stretch) -> None:
        for _ in range(steps):
            step()
        float(step())

    those = contestants(model, base)
    values: dict[str, dict[str, list[float]]] = {
        each.name: {name: [] for name in ("stall", "lost", "durable")} for each in those
    }
    for repeat in range(repeats + 1):
        print(f"({megabytes} MB: round {repeat} of {repeats})", file=sys.stderr, flush=True)
        for each in those:
            found = values[each.name]
            train(2)
            stall = timed(each.save)
            each.wait()
            train(2)
            durable = timed(partial(save_and_wait, each))
            gc.collect()
            plain = timed(train)
            began = time.perf_counter()
            each.save()
            train()
            with_save = time.perf_counter() - began
            each.wait()
            plain = (plain + timed(train)) / 2
            if repeat:  # the first save is another one
                found["stall"].append(stall)
                found["durable"].append(durable)
                found["lost"].append(with_save - plain)
    copy = copy_secs(model)
    result: dict[str, Any] = {
        "bytes": size,
        "copy_secs": copy,
        "step_secs": step_secs,
        "contestants": {
            name: {
                "stall_p50_secs": statistics.median(found["stall"]),
                "stall_p99_secs": percentile(found["stall"], 0.99),
                "stall_p50_copies": statistics.median(found["stall"]) / copy,
                **{f"{what}_secs": statistics.median(found[what]) for what in ("lost", "durable")},
                **measure_memory(name, megabytes, base),
            }
            for name, found in values.items()
        },
    }
    result["held"] = measure_memory("held", megabytes, base)
    result["without_pool"] = measure_memory(
        "ckptkit", megabytes, base, TF_ONEDNN_USE_SYSTEM_ALLOCATOR="1"
    )
    result["write"] = {
        "raw_secs": statistics.median(raw_write_secs(base, size) for _ in range(5)),
        "ckptkit_secs": result["contestants"]["ckptkit"]["durable_secs"],
    }
    if megabytes <= 250:
        result["every"] = measure_every(those, step, step_secs)
    for each in those:
        each.close()
    result["restore"] = measure_restore(model, base / "ckptkit", repeats)
    return result


def measure_every(
    those: list[Any], step: Callable[[], Any], step_secs: float
) -> dict[str, dict[str, float]]:
    """How many times as long a step takes with a save every so many steps."""
    found: dict[str, dict[str, float]] = {}
    for each in those:
        if each.name not in ("ckptkit", "tf.train.CheckpointManager"):
            continue
        found[each.name] = {}
        for every in EVERY:
            steps = max(every * 2, min(int(STRETCH_SECS / step_secs), 50))
            ratios = []
            for _ in range(2):
                plain = timed(partial(repeated, step, steps))
                began = time.perf_counter()
                for number in range(steps):
                    if number % every == 0:
                        each.save_by_policy()
                    step()
                with_saves = time.perf_counter() - began
                each.wait()
                ratios.append(with_saves / plain)
            found[each.name][str(every)] = statistics.median(ratios)
    return found


def measure_restore(model: Any, run: Path, repeats: int) -> dict[str, float]:
    import tensorflow as tf

    import ckptkit
    from ckptkit.bundle import tensor_bundle
    from ckptkit.restore import assign
    from ckptkit.run.verify import verify
    from ckptkit.tracking.tracker import track

    checkpoint = ckptkit.open_run(run).find("latest")
    plain = tf.train.Checkpoint(model=model)
    with tempfile.TemporaryDirectory(dir=run.parent) as directory:
        prefix = plain.write(str(Path(directory) / "plain"))
        found: dict[str, list[float]] = {
            name: []
            for name in ("tensorflow", "whole", "discover", "verify", "read", "read_and_assign")
        }
        tracked = track({"model": model})
        for _ in range(max(repeats, 3)):
            found["tensorflow"].append(timed(lambda: plain.read(prefix)))
            found["discover"].append(timed(lambda: ckptkit.open_run(run).find("latest")))
            found["verify"].append(timed(lambda: verify(checkpoint)))
            found["read"].append(
                timed(
                    lambda: tensor_bundle.read_tensors(
                        checkpoint.prefix, checkpoint.manifest.tensors
                    )
                )
            )
            found["read_and_assign"].append(
                timed(lambda: assign.restore_state(checkpoint, tracked))
            )
            manager = ckptkit.CheckpointManager(run, {"model": model})
            found["whole"].append(timed(manager.restore_or_initialize))
            manager.close()
    return {f"{name}_secs": statistics.median(values) for name, values in found.items()}


def measure_many(base: Path, repeats: int) -> dict[str, float]:
    """Ten thousand variables of 4 KB."""
    import tensorflow as tf

    variables = [tf.Variable(tf.zeros(1024)) for _ in range(10_000)]
    found: dict[str, list[float]] = {"ckptkit": [], "tf.train.CheckpointManager": []}
    import ckptkit

    manager = ckptkit.CheckpointManager(base / "many", {"variables": variables})
    plain = tf.train.CheckpointManager(
        tf.train.Checkpoint(variables=variables), str(base / "many-plain"), max_to_keep=2
    )
    with manager:
        for repeat in range(repeats + 1):
            secs = timed(partial(manager.save, repeat + 1))
            manager.wait_until_finished()
            plain_secs = timed(partial(plain.save, checkpoint_number=repeat + 1))
            if repeat:
                found["ckptkit"].append(secs)
                found["tf.train.CheckpointManager"].append(plain_secs)
    return {name: statistics.median(values) for name, values in found.items()}


def measure_data(base: Path, repeats: int) -> dict[str, float]:
    """The position of data alone: an iterator that shuffles ten thousand rows of a kilobyte."""
    import tensorflow as tf

    import ckptkit

    batches = iter(
        tf.data.Dataset.range(10**6)
        .map(lambda i: tf.fill([256], tf.cast(i, tf.float32)))
        .shuffle(10_000, seed=1)
        .batch(32)
    )
    next(batches)
    manager = ckptkit.CheckpointManager(base / "data", {"batches": batches})
    stalls, durable = [], []
    with manager:
        for repeat in range(repeats + 1):
            next(batches)
            began = time.perf_counter()
            manager.save(repeat + 1)
            stalls.append(time.perf_counter() - began)
            manager.wait_until_finished()
            durable.append(time.perf_counter() - began)
    return {
        "stall_secs": statistics.median(stalls[1:]),
        "durable_secs": statistics.median(durable[1:]),
    }


RESUMED = """
import time
began = time.perf_counter()
import json, sys
import keras
import tensorflow as tf
imported = time.perf_counter()
import contestants
model = contestants.make_model(int(sys.argv[2]))
step = contestants.make_step(model)
made = time.perf_counter()
import ckptkit
manager = ckptkit.CheckpointManager(sys.argv[1], {"model": model})
manager.restore_or_initialize()
restored = time.perf_counter()
float(step())
print(json.dumps({
    "import TensorFlow and Keras": imported - began,
    "make the model": made - imported,
    "ckptkit restores": restored - made,
    "first step (tracing)": time.perf_counter() - restored,
}))
"""


def measure_start(base: Path, megabytes: int, repeats: int) -> dict[str, float]:
    """A fresh process, from its start to its first step after a resume."""
    import ckptkit

    run = base / "start"
    with ckptkit.CheckpointManager(run, {"model": make_model(megabytes)}) as manager:
        manager.save(1)
    found: list[dict[str, float]] = []
    for _ in range(repeats):
        found.append(json.loads(in_a_process(RESUMED, str(run), str(megabytes))))
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


# -- showing


def show_size(megabytes: int, result: dict[str, Any]) -> None:
    print(
        f"\n{megabytes} MB of state ({result['bytes']:,} bytes); one copy in memory "
        f"{result['copy_secs'] * 1e3:.1f} ms; "
        f"a step {result['step_secs'] * 1e3:.0f} ms\n"
    )
    print(
        "| | stall p50, ms | p99, ms | p50, copies | lost, s | durable, s | peak, copies | after, "
        "copies |\n|---|---|---|---|---|---|---|---|"
    )
    for name, found in result["contestants"].items():
        print(
            f"| {name} | {found['stall_p50_secs'] * 1e3:.1f} | "
            f"{found['stall_p99_secs'] * 1e3:.1f} | {found['stall_p50_copies']:.2f} | "
            f"{found['lost_secs']:.2f} | {found['durable_secs']:.2f} | {found['peak_copies']:.2f} "
            f"| {found['after_copies']:.2f} |"
        )
    write, restore = result["write"], result["restore"]
    print(
        "\nmemory if the values are only held while training continues, and nothing is written: "
        f"peak {result['held']['peak_copies']:.2f} copies, "
        f"after {result['held']['after_copies']:.2f}; of ckptkit if TensorFlow's allocator "
        "keeps no pool (TF_ONEDNN_USE_SYSTEM_ALLOCATOR=1): "
        f"peak {result['without_pool']['peak_copies']:.2f} copies, after "
        f"{result['without_pool']['after_copies']:.2f}"
    )
    megabyte = result["bytes"] / 1e6
    print(
        f"\nwrite: {megabyte / write['ckptkit_secs']:.0f} MB/s until durable; a plain write and "
        "fsync of the same bytes "
        f"{megabyte / write['raw_secs']:.0f} MB/s"
    )
    print(
        f"restore: {restore['whole_secs']:.3f} s in all (discover {restore['discover_secs']:.3f}, "
        f"verify {restore['verify_secs']:.3f}, read "
        f"{restore['read_secs']:.3f}, read and assign {restore['read_and_assign_secs']:.3f}); "
        "tf.train.Checkpoint.read "
        f"{restore['tensorflow_secs']:.3f} s: "
        f"{restore['read_and_assign_secs'] / restore['tensorflow_secs']:.2f} times as long, "
        f"{restore['whole_secs'] / restore['tensorflow_secs']:.2f} with all"
    )
    for name, every in result.get("every", {}).items():
        print(
            f"a save every n steps, {name}: "
            + ", ".join(f"n={n}: {ratio:.2f} times as long" for n, ratio in every.items())
        )
    sys.stdout.flush()


def show_rest(results: dict[str, Any]) -> None:
    many, data = results["many"], results["data"]
    print(
        f"\n10,000 variables of 4 KB: stall {many['ckptkit'] * 1e3:.0f} ms; "
        "tf.train.CheckpointManager "
        f"{many['tf.train.CheckpointManager'] * 1e3:.0f} ms"
    )
    print(
        "an iterator that shuffles 10,000 rows of a kilobyte: stall "
        f"{data['stall_secs'] * 1e3:.0f} ms, durable after {data['durable_secs']:.2f} s"
    )
    print(
        "start of a resumed process, 250 MB: "
        + ", ".join(f"{name} {secs:.2f} s" for name, secs in results["start"].items())
    )
    print(f"\n{results['machine']}")


def machine() -> str:
    import keras
    import tensorflow as tf

    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, no GPU; TensorFlow "
        f"{tf.__version__}, Keras {keras.__version__}, "
        f"Python {platform.python_version()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[25, 250, 1000], help="megabytes of state"
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=9,
        help="saves of each contestant that count; a third for sizes of 1,000 MB and more",
    )
    parser.add_argument("--directory", help="where to write; by default a temporary directory")
    parser.add_argument("--json", type=Path, help="also write the numbers into this file")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("ckptkit").setLevel(logging.WARNING)
    logging.getLogger("absl").setLevel(logging.ERROR)
    results: dict[str, Any] = {"sizes": {}}
    base = Path(tempfile.mkdtemp(dir=options.directory))
    try:
        for megabytes in options.sizes:
            directory = base / str(megabytes)
            directory.mkdir()
            repeats = options.repeats if megabytes < 1000 else max(options.repeats // 3, 2)
            result = results["sizes"][str(megabytes)] = measure_size(megabytes, repeats, directory)
            show_size(megabytes, result)
            shutil.rmtree(directory)
            gc.collect()
        results["many"] = measure_many(base, min(options.repeats, 5))
        results["data"] = measure_data(base, min(options.repeats, 5))
        results["start"] = measure_start(base, 250, 3)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    results["machine"] = machine()
    show_rest(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    print(f"took {time.perf_counter() - STARTED:.0f} s")


if __name__ == "__main__":
    main()
