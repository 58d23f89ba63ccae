"""What saves and steps of small states cost, and of states with many variables.

    .venv/bin/python scripts/benchmarks/small_states.py [--before DIRECTORY] [--repeats 3]

Each figure is measured in fresh processes, which take turns with those of the version in
`--before`. The figures are medians:

- stall: how long a save stops training, in wall time and in CPU time of the training thread.
- first: the same of the first save of a process, after the run was opened.
- turn, batch: CPU time of the training thread for one turn of `manager.steps`, or that a callback
  adds to one batch of `fit`, if no save is due.
- copies: memory during a save with training continuing, in copies of the state.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

SAVES = 30
TURNS = 10_000
BATCHES = 3_000

Figures = dict[str, float]


def stopwatch() -> Callable[[], tuple[float, float]]:
    wall, cpu = time.perf_counter(), time.thread_time()
    return lambda: (time.perf_counter() - wall, time.thread_time() - cpu)


def stalls(found: list[tuple[float, float]]) -> Figures:
    wall, cpu = zip(*found[5:], strict=True)
    return {"stall ms": 1e3 * statistics.median(wall), "cpu ms": 1e3 * statistics.median(cpu)}


def never() -> Any:
    import ckptkit

    return ckptkit.EveryNSteps(10**9)


def loop(directory: str, megabytes: int) -> Figures:
    """Saves of a model with Adam in a loop."""
    from contestants import make_model, make_step

    import ckptkit

    model = make_model(megabytes)
    step, found = make_step(model), []
    with ckptkit.CheckpointManager(directory, {"model": model}, save=never()) as manager:
        for number in range(1, SAVES):
            step()
            done = stopwatch()
            manager.save(number)
            found.append(done())
            manager.wait_until_finished()
    return stalls(found)


def fit(directory: str, megabytes: int) -> Figures:
    """Saves of a model with Adam in `fit`."""
    import tensorflow as tf
    from contestants import BATCH, make_model

    import ckptkit
    from ckptkit.session.save_coordinator import SaveCoordinator

    model, found = make_model(megabytes), []
    save_if_due = SaveCoordinator.save_if_due

    def timed(self: SaveCoordinator, *arguments: Any) -> bool:
        done = stopwatch()
        if due := save_if_due(self, *arguments):
            found.append(done())
            self.saver.finish()
        return due

    SaveCoordinator.save_if_due = timed  # type: ignore[method-assign, assignment]
    x = tf.random.normal((BATCH, model.input_shape[1]))
    save = ckptkit.EveryNSteps(2)
    model.fit(
        tf.data.Dataset.from_tensors((x, x)).repeat(),
        steps_per_epoch=2 * SAVES,
        verbose=0,
        callbacks=[ckptkit.CheckpointCallback(directory, save=save, export=False)],
    )
    return stalls(found)


def variables(directory: str, count: int) -> Figures:
    """The first and the second save of many variables."""
    import tensorflow as tf

    import ckptkit

    state = {"variables": [tf.Variable(tf.zeros(8)) for _ in range(count)]}
    with ckptkit.CheckpointManager(directory, state, save=never()) as manager:
        found = []
        for number in (1, 2):
            done = stopwatch()
            manager.save(number)
            found.append(done())
            manager.wait_until_finished()
    (first, first_cpu), (later, _) = found
    return {"first ms": 1e3 * first, "first cpu ms": 1e3 * first_cpu, "second ms": 1e3 * later}


def turns(directory: str, _: int) -> Figures:
    """Turns of `manager.steps` with nothing due."""
    import keras
    import tensorflow as tf

    import ckptkit

    weight, optimizer = tf.Variable(0.0), keras.optimizers.SGD()
    optimizer.build([weight])
    state = {"weight": weight, "optimizer": optimizer}
    with ckptkit.CheckpointManager(directory, state, save=never()) as manager:
        for step in manager.steps(TURNS):
            if step == TURNS // 10:
                done = stopwatch()
            elif step == TURNS - 1:
                secs = done()[1]
    return {"turn us": 1e6 * secs / (TURNS - 1 - TURNS // 10)}


def batches(directory: str, _: int) -> Figures:
    """Batches of `fit` with nothing due, beside those without the callback."""
    import keras
    import tensorflow as tf

    import ckptkit

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensors((tf.ones((1, 1)), tf.ones((1, 1)))).repeat()

    def secs(callbacks: list[Any]) -> float:
        moments = []

        class Times(keras.callbacks.Callback):
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                if batch in (BATCHES // 10, BATCHES - 2):
                    moments.append(time.thread_time())

        model.fit(data, steps_per_epoch=BATCHES, verbose=0, callbacks=[Times(), *callbacks])
        return (moments[1] - moments[0]) / (BATCHES - 2 - BATCHES // 10)

    plain, ours = [], []
    for number in range(5):
        plain.append(secs([]))
        run = f"{directory}/{number}"
        ours.append(secs([ckptkit.CheckpointCallback(run, save=never(), export=False)]))
    # The smallest: CPU time grows if other programs fill the caches.
    return {"batch us": 1e6 * (min(ours) - min(plain))}


def memory(directory: str, megabytes: int) -> Figures:
    from saves import measure_memory

    return {"copies": measure_memory("ckptkit", megabytes, Path(directory))["peak_copies"]}


KINDS: dict[str, Callable[[str, int], Figures]] = {
    each.__name__: each for each in (loop, fit, variables, turns, batches, memory)
}
CASES = (
    ("loop", 3),
    ("loop", 25),
    ("fit", 3),
    ("fit", 25),
    ("variables", 10_000),
    ("variables", 100_000),
    ("turns", 0),
    ("batches", 0),
    ("memory", 25),
)


def measured(kind: str, size: int, package: Path | None) -> Figures:
    environment = dict(os.environ)
    if package is not None:
        environment["PYTHONPATH"] = str(package)
    program = [sys.executable, __file__, "--measure", kind, str(size)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    logging.getLogger("ckptkit").setLevel(logging.ERROR)
    if sys.argv[1:2] == ["--measure"]:
        with tempfile.TemporaryDirectory() as directory:
            print(json.dumps(KINDS[sys.argv[2]](directory, int(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", type=Path, help="the source tree of another version")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    packages = {"now": None} | ({"before": arguments.before} if arguments.before else {})
    print(f"| | | {' | '.join(packages)} |\n|---|---|{'---|' * len(packages)}")
    for kind, size in CASES:
        if kind not in arguments.kinds:
            continue
        runs: dict[str, list[Figures]] = {}
        for _ in range(arguments.repeats):
            for name, package in packages.items():
                runs.setdefault(name, []).append(measured(kind, size, package))
        for figure in runs["now"][0]:
            medians = [statistics.median(map(partial(_of, figure), each)) for each in runs.values()]
            shown = " | ".join(f"{median:.2f}" for median in medians)
            print(f"| {kind} {size or ''} | {figure} | {shown} |", flush=True)


def _of(figure: str, figures: Figures) -> float:
    return figures[figure]


if __name__ == "__main__":
    main()
