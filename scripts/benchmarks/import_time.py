"""How long `import ckptkit` and `ckptkit list` take: medians over fresh processes.

    .venv/bin/python scripts/benchmarks/import_time.py [--repeats 20] [--checkpoints 10]

Times include the start of Python itself, which is measured beside them. The numbers are those of
the machine that they are measured on, so nothing is asserted; what they should stay below is
printed with them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ckptkit.clock import SystemClock
from ckptkit.layout import run_layout
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.events import AttemptEnded, AttemptStarted, Saved
from ckptkit.run.journal import next_attempt, start_journal
from ckptkit.run.manifest import Manifest, StateEntry
from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.storage.files import FileSystem

ROOT = Path(__file__).resolve().parents[2]
TENSORS = 200
"""Tensors of each checkpoint in the run that is listed; as many as a network of 60 layers has with
its optimizer.
"""


def make_run(directory: Path, checkpoints: int) -> None:
    """A run as a training process would leave it, but with a small file in the place of tensors."""
    files, layout = FileSystem(), run_layout(directory)
    files.make_dir(layout.checkpoints)
    journal = start_journal(files, layout, SystemClock(), next_attempt(layout))
    journal.record(AttemptStarted(host="benchmark", pid=1, program="train.py"))
    tensors = tuple(
        TensorEntry(
            key=f"model/weights/{i}",
            kind="variable",
            path=f"layer_{i}/kernel",
            shape=(64, 64),
            dtype="float32",
            trainable=True,
        )
        for i in range(TENSORS)
    )
    for number in range(1, checkpoints + 1):
        writing = begin_writing(files, layout, journal.attempt)
        (writing / f"ckpt-{100 * number}.index").write_bytes(b"benchmark")
        manifest = Manifest(
            step=100 * number,
            epoch=number,
            batch=0,
            attempt=journal.attempt,
            saved_at=time.time(),
            trigger="every epoch",
            states=(StateEntry(name="model", class_name="Functional"),),
            tensors=tensors,
            metrics={"loss": 1 / number},
        )
        manifest = commit(files, layout, manifest)
        saved = Saved(
            checkpoint=str(manifest.name),
            step=manifest.step,
            epoch=number,
            batch=0,
            trigger=manifest.trigger,
            size_bytes=manifest.size_bytes,
            snapshot_secs=0,
            write_secs=0,
        )
        journal.record(saved)
    journal.record(AttemptEnded(outcome="stopped", step=100 * checkpoints))


def median_secs(command: list[str], repeats: int) -> float:
    """Wall time of a fresh process; one more is started first, so that files are in the page cache
    and compiled.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repeats", type=int, default=20, help="processes for each line (default: 20)"
    )
    parser.add_argument(
        "--checkpoints",
        type=int,
        default=10,
        help="checkpoints in the run that is listed (default: 10)",
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        make_run(run, args.checkpoints)
        lines = [
            ("python, doing nothing", ["-c", ""], None),
            ("import ckptkit", ["-c", "import ckptkit"], 0.15),
            (
                f"ckptkit list, {args.checkpoints} checkpoints",
                ["-m", "ckptkit", "list", str(run)],
                0.3,
            ),
            (
                f"ckptkit list --json, {args.checkpoints} checkpoints",
                ["-m", "ckptkit", "list", str(run), "--json"],
                0.3,
            ),
            ("ckptkit show", ["-m", "ckptkit", "show", str(run)], 0.3),
        ]
        print(
            f"medians of {args.repeats} fresh processes, Python {sys.version.split()[0]}, "
            f"{os.cpu_count()} processors"
        )
        for name, arguments, below in lines:
            secs = median_secs([sys.executable, *arguments], args.repeats)
            print(f"{name:<40} {secs:6.3f} s" + (f"   should be below {below} s" if below else ""))


if __name__ == "__main__":
    main()
