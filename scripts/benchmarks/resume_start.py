"""How long a killed training takes from its start to its first new step, in parts.

    .venv/bin/python scripts/benchmarks/resume_start.py [--megabytes 250 1000] [--repeats 3]
        [--before DIRECTORY] [--json FILE]

For each size and each kind of loop, fresh processes take turns: the same program without a
checkpoint, with one, and with one under `ckptkit run`, which starts the program again after a
SIGKILL. `--before` names the source tree of another version, which is measured in turn. The figures
are medians in seconds:

- import: from the start of the process until TensorFlow and ckptkit are imported.
- model: the model and the data are made.
- open: the run is opened. In a loop that includes the restore.
- step: from there to the end of the first new step. In `fit` that includes tracing and the restore.
- cpu: CPU time of the process up to there, on all its threads.
- extra: the whole time, above that of the same program without a checkpoint.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SAVE_AT, KILL_AT = 2, 3
PARTS = ("import", "model", "open", "step", "total", "cpu")
WAYS = ("without a checkpoint", "resumed", "launched without", "launched, resumed")


# -- the training process


def train(kind: str, run: str, megabytes: int, marks: str) -> None:
    """Train until a few steps are saved and die; or after a resume, note when each part was over.

    Args:
        kind: `fit` or `loop`.
        run: the run directory.
        megabytes: the size of the state.
        marks: the file for the moments; while it is missing, the process dies after a save.
    """
    import psutil

    moments = {"start": psutil.Process().create_time()}
    import keras
    import tensorflow as tf

    import ckptkit

    _ = ckptkit.CheckpointManager, ckptkit.CheckpointCallback
    moments["import"] = time.time()
    from contestants import BATCH, make_model, make_step

    model = make_model(megabytes)
    x = tf.random.normal((BATCH, model.input_shape[1]))
    moments["model"] = time.time()
    dies = Path(marks).with_suffix(".dies").exists()

    def after_step(step: int) -> None:
        if dies and step == KILL_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        if not dies:
            moments["step"], moments["cpu"] = time.time(), time.process_time()
            Path(marks).write_text(json.dumps(moments))
            os._exit(0)

    save = ckptkit.EveryNSteps(SAVE_AT)
    if kind == "loop":
        step = make_step(model)
        with ckptkit.CheckpointManager(run, {"model": model}, save=save) as manager:
            moments["open"] = time.time()
            for number in manager.steps(1000):
                float(step())
                if number == KILL_AT:
                    manager.wait_until_finished()
                after_step(number)
        return

    class Timed(ckptkit.CheckpointCallback):
        def on_train_begin(self, logs: Any = None) -> None:
            super().on_train_begin(logs)
            moments["open"] = time.time()

    class Dies(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if dies and batch + 1 == KILL_AT:
                while not ckptkit.open_run(run).checkpoints:
                    time.sleep(0.05)
            after_step(batch + 1)

    data = tf.data.Dataset.from_tensors((x, x)).repeat()
    model.fit(
        data,
        steps_per_epoch=1000,
        verbose=0,
        callbacks=[Dies(), Timed(run, save=save, export=False)],
    )


# -- the measurement


def started(
    kind: str, way: str, megabytes: int, package: Path | None, base: Path
) -> dict[str, float]:
    """Return the seconds of each part of one start."""
    directory = Path(tempfile.mkdtemp(dir=base))
    marks, run = directory / "marks", directory / "run"
    program = [sys.executable, __file__, "--train", kind, str(run), str(megabytes), str(marks)]
    launched = way.startswith("launched")
    environment = {**os.environ, "CKPTKIT_EXPORT": "0"}
    if package is not None:
        environment["PYTHONPATH"] = str(package)
    dies = marks.with_suffix(".dies")
    if "resumed" in way:
        dies.touch()
        done = subprocess.run(program, env=environment, capture_output=True, check=False)
        if done.returncode != -signal.SIGKILL:
            raise RuntimeError(done.stderr.decode())
        dies.unlink()
    if launched:
        program = [
            *(sys.executable, "-m", "ckptkit", "run", "--run", str(run), "--notices", "off"),
            *("--", *program),
        ]
    done = subprocess.run(program, env=environment, capture_output=True, check=False)
    if not marks.exists():
        raise RuntimeError(done.stderr.decode())
    moments = json.loads(marks.read_text())
    shutil.rmtree(directory)
    times = [moments[name] for name in ("start", *PARTS[:-2])]
    parts = [after - before for before, after in itertools.pairwise(times)]
    return dict(zip(PARTS, [*parts, times[-1] - times[0], moments["cpu"]], strict=True))


def measure(arguments: Any, base: Path) -> dict[str, Any]:
    versions = {"now": None} | ({"before": arguments.before} if arguments.before else {})
    found: dict[str, Any] = {}
    for megabytes in arguments.megabytes:
        for kind in arguments.kinds:
            runs: dict[tuple[str, str], list[dict[str, float]]] = {}
            for _ in range(arguments.repeats):
                for way in WAYS:
                    for version, package in versions.items():
                        runs.setdefault((version, way), []).append(
                            started(kind, way, megabytes, package, base)
                        )
            rows = found[f"{kind}, {megabytes} MB"] = {
                f"{version}, {way}": {
                    part: statistics.median(each[part] for each in those) for part in PARTS
                }
                for (version, way), those in runs.items()
            }
            show(f"{kind}, {megabytes} MB", rows)
    return found


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    print(f"\n| {title} | {' | '.join(PARTS)} | extra |\n|---|{'---|' * (len(PARTS) + 1)}")
    for name, row in rows.items():
        version, _, way = name.partition(", ")
        plain = "launched without" if way.startswith("launched") else WAYS[0]
        extra = row["total"] - rows[f"{version}, {plain}"]["total"]
        figures = " | ".join(f"{row[part]:.2f}" for part in PARTS)
        print(f"| {name} | {figures} | {extra:.2f} |", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--train"]:
        kind, run, megabytes, marks = sys.argv[2:]
        train(kind, run, int(megabytes), marks)
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=int, nargs="+", default=[250, 1000])
    parser.add_argument("--kinds", nargs="+", default=["fit", "loop"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--before", type=Path, help="the source tree of another version")
    parser.add_argument("--directory", type=Path, help="where to write; default: a temporary one")
    parser.add_argument("--json", type=Path, help="also write the figures into a file")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    base = Path(tempfile.mkdtemp(dir=arguments.directory))
    try:
        found = measure(arguments, base)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
