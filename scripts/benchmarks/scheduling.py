"""What it brings to let the writer's threads run behind training's: niceness and Linux' scheduling
classes.

    .venv/bin/python scripts/benchmarks/scheduling.py [--megabytes 250] [--repeats 9] [--directory
    DIR]

A stack of dense layers is trained on all cores and saved by ckptkit. The ways take turns; the
drain's thread inherits what the writer's has (`sched(7)`). Printed are medians: `lost`, wall time
that a stretch of training takes longer with one save in it; `written`, until the checkpoint is
committed while training continues; and `alone`, the same with nothing else going on.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import statistics
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from contestants import KINDS, make_model, make_step
from saves import STRETCH_SECS, timed

from ckptkit.writing.background_writer import BackgroundWriter


def nice(increment: int) -> Callable[[], None]:
    return lambda: os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), increment)


def scheduler(policy: int) -> Callable[[], None]:
    return lambda: os.sched_setscheduler(0, policy, os.sched_param(0))


WAYS: dict[str, Callable[[], None]] = {
    "as training": lambda: None,
    "nice 5": nice(5),
    "nice 19": nice(19),
    "SCHED_BATCH": scheduler(os.SCHED_BATCH),
    "SCHED_IDLE": scheduler(os.SCHED_IDLE),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=250, help="of state")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--directory", help="where to write; by default a temporary directory")
    options = parser.parse_args()
    logging.getLogger("ckptkit").setLevel(logging.WARNING)
    base = Path(tempfile.mkdtemp(dir=options.directory))
    try:
        measure(options.megabytes, options.repeats, base)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def measure(megabytes: int, repeats: int, base: Path) -> None:
    model = make_model(megabytes)
    step = make_step(model)
    for _ in range(3):
        step()
    stretch = max(int(STRETCH_SECS / statistics.median(timed(step) for _ in range(9))), 4)

    def train() -> None:
        for _ in range(stretch):
            step()
        float(step())

    work = BackgroundWriter._work
    now = "as training"

    def work_in_a_way(writer: BackgroundWriter) -> None:
        WAYS[now]()
        work(writer)

    BackgroundWriter._work = work_in_a_way  # type: ignore[method-assign, assignment]
    ours = next(kind for kind in KINDS if kind.name == "ckptkit")(model, base)
    found: dict[str, dict[str, list[float]]] = {
        name: {what: [] for what in ("lost", "written", "alone")} for name in WAYS
    }
    for repeat in range(repeats + 1):
        for now in WAYS:
            alone = timed(lambda: (ours.save(), ours.wait()))
            plain = timed(train)
            written: list[float] = []

            def save_and_train(written: list[float] = written) -> None:
                ours.save()
                waiter = threading.Thread(target=lambda: written.append(timed(ours.wait)))
                waiter.start()
                train()

            with_save = timed(save_and_train)
            ours.wait()
            plain = (plain + timed(train)) / 2
            if repeat:  # the first save is another one
                found[now]["lost"].append(with_save - plain)
                found[now]["written"].append(written[0])
                found[now]["alone"].append(alone)
    ours.close()
    print(
        f"{megabytes} MB, {os.cpu_count()} cores, a stretch of {stretch} steps\n\n| | lost, s | "
        "written, s | alone, s |\n|---|---|---|---|"
    )
    for name, values in found.items():
        print(
            f"| {name} | "
            + " | ".join(f"{statistics.median(each):.2f}" for each in values.values())
            + " |"
        )


if __name__ == "__main__":
    main()
