"""How long a killed `fit` takes to come back to batch 90,000 of an epoch of 100,000: fresh
processes, one tiny model.

    .venv/bin/python scripts/benchmarks/reposition.py [--batches 100000] [--at 90000] [--kinds range
    arrays shuffled]

Each kind of data is trained up to the place, where it saves and is killed, and is started again.
The time of the second process is split: the import of TensorFlow, what `fit` does before its first
step, the one throw-away step that builds and traces everything (every start of training pays for
that), the replay of Keras' loops up to the place, the restore of the state, and the first step that
counts. Beside them stands what drawing all those batches again would take. The numbers are those of
the machine; the goal, printed with them, is that replay and restore together stay below a second.
"""

from __future__ import annotations

import time

STARTED = time.perf_counter()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

BATCH, FEATURES = 8, 4
KINDS = ("range", "arrays", "shuffled")
GOAL_SECS = 1.0


# -- the training process


def data(kind: str, batches: int) -> dict[str, Any]:
    """Arguments of `fit`."""
    import numpy as np
    import tensorflow as tf

    import ckptkit

    def row(numbers: Any) -> tuple[Any, Any]:
        x = tf.cast(tf.expand_dims(numbers, -1), tf.float32) / 1e6 * tf.ones((1, FEATURES))
        return x, tf.reduce_sum(x, axis=-1, keepdims=True)

    if kind == "range":
        return {"x": tf.data.Dataset.range(BATCH * batches).batch(BATCH).map(row).prefetch(2)}
    x = np.random.default_rng(1).normal(size=(BATCH * batches, FEATURES)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    if kind == "arrays":
        return {"x": x, "y": y, "batch_size": BATCH}
    return {"x": ckptkit.data.shuffled((x, y), BATCH, seed=1), "steps_per_epoch": batches}


def train(kind: str, run: str, batches: int, at: int) -> None:
    import keras

    imported = time.perf_counter()
    import ckptkit
    from ckptkit.run.events import Restored

    calls: list[tuple[float, float]] = []

    class Timed(keras.Sequential):
        """Notes when the first calls of the real train function were made; those that only stand
        for one are not among them.
        """

        def make_train_function(self, force: bool = False) -> Any:
            made = super().make_train_function(force)
            real = self.train_function  # type: ignore[has-type]

            def timed(iterator: Any) -> Any:
                if len(calls) >= 2:
                    return real(iterator)
                began = time.perf_counter()
                logs = real(iterator)
                calls.append((began, time.perf_counter()))
                return logs

            self.train_function = timed
            return made

    class End(keras.callbacks.Callback):
        """Ends the process: at the place in the first attempt, after one step that counts in the
        second.
        """

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == at:
                if not resumed:
                    while not ckptkit.open_run(run).checkpoints:
                        time.sleep(0.01)
                    os.kill(os.getpid(), signal.SIGKILL)
                report()

    def report() -> None:
        restored = next(
            event for event in ckptkit.open_run(run).journal if isinstance(event, Restored)
        )
        checkpoint = ckptkit.open_run(run).find("latest")
        began = time.perf_counter()
        again = draw(arguments, at)
        drawn = time.perf_counter() - began
        (trace_began, trace_ended), (step_began, step_ended) = calls
        times = {
            "import": imported - STARTED,
            "prepare": trace_began - fit_began,
            "trace": trace_ended - trace_began,
            "replay": step_began - trace_ended - restored.secs,
            "restore": restored.secs,
            "step": step_ended - step_began,
            "again": drawn * at / again,
            "size_bytes": checkpoint.manifest.size_bytes,
        }
        print(json.dumps(times), flush=True)
        os._exit(0)

    resumed = os.path.exists(run)
    keras.utils.set_random_seed(1)
    model = Timed([keras.Input((FEATURES,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-4), "mse")
    arguments = data(kind, batches)
    callback = ckptkit.CheckpointCallback(run, save=ckptkit.EveryNSteps(at), export=False)
    fit_began = time.perf_counter()
    model.fit(**arguments, epochs=1, verbose=0, callbacks=[callback, End()])


def draw(arguments: dict[str, Any], batches: int) -> int:
    """Draws batches as they come, without training."""
    import tensorflow as tf

    source = arguments["x"]
    if not isinstance(source, tf.data.Dataset):
        source = tf.data.Dataset.from_tensor_slices((arguments["x"], arguments["y"])).batch(
            arguments["batch_size"]
        )
    done = 0
    for _ in source.take(batches):
        done += 1
    return done


# -- the process that measures


def attempt(options: argparse.Namespace, kind: str, run: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        __file__,
        "--train",
        kind,
        "--run",
        str(run),
        "--batches",
        str(options.batches),
        "--at",
        str(options.at),
    ]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", **os.environ},
    )


def measure(options: argparse.Namespace, kind: str) -> dict[str, float]:
    """The times of the process that resumes."""
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        first = attempt(options, kind, run)
        if first.returncode != -signal.SIGKILL:
            raise SystemExit(
                f"the first attempt was to be killed at batch {options.at}; it ended with "
                f"{first.returncode}:\n{first.stderr}"
            )
        second = attempt(options, kind, run)
        if second.returncode != 0:
            raise SystemExit(f"the second attempt ended with {second.returncode}:\n{second.stderr}")
        times: dict[str, float] = json.loads(second.stdout.splitlines()[-1])
        return times


COLUMNS = {
    "import": "import",
    "prepare": "fit begins",
    "trace": "build, trace",
    "replay": "replay",
    "restore": "restore",
    "step": "first step",
    "again": "draw again",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=100_000, help="batches of the epoch")
    parser.add_argument("--at", type=int, default=90_000, help="where it is killed")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--train", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(options.train, options.run, options.batches, options.at)
        return
    print(f"back to batch {options.at:,} of {options.batches:,}; seconds")
    print(
        f"{'data':<10}"
        + "".join(f"{title:>14}" for title in COLUMNS.values())
        + f"{'checkpoint':>14}"
    )
    for kind in options.kinds:
        times = measure(options, kind)
        numbers = "".join(f"{times[name]:>14.3f}" for name in COLUMNS)
        print(f"{kind:<10}{numbers}{times['size_bytes'] / 1e6:>11.2f} MB")
        secs = times["replay"] + times["restore"]
        print(
            f"{'':<10}replay and restore: {secs:.2f} s, "
            f"{'below' if secs < GOAL_SECS else 'NOT below'} the goal of {GOAL_SECS:g} s"
        )


if __name__ == "__main__":
    main()
