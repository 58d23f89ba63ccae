"""How long it takes to look: `list`, `history` and `prune --dry-run` of a large run, and `list` of
a tree of runs; medians over fresh processes.

    .venv/bin/python scripts/benchmarks/listing.py [--repeats 9] [--checkpoints 1000] [--lines
    100000] [--variables 100] [--runs 300]

The runs are written by ckptkit's own store, as a training writes them, only without waiting for the
disk; in the place of tensors there are small files. Commands are timed from exec to exit, with
output into a pipe, and take turns, so that whatever else the machine does falls on all of them. The
numbers are those of the machine that they are measured on, so nothing is asserted; what they should
stay below is printed with them.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ckptkit.cli.command_group import COMMANDS
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.checkpoint_state_file import write_state_file
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.journal import encode_line, start_journal
from ckptkit.run.manifest import Manifest, StateEntry
from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.storage.files import FileSystem
from ckptkit.storage.operations import Operation, SyncDir, SyncFile
from ckptkit.testing import FakeClock

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = {
    "python": "3.12.3",
    "tensorflow": "2.21.0",
    "keras": "3.15.1",
    "numpy": "2.4.0",
    "ckptkit": "0.1.0",
}


class Unsynced(FileSystem):
    """The real file system, without waiting for the disk."""

    def do(self, step: Operation) -> None:
        if not isinstance(step, SyncFile | SyncDir):
            super().do(step)


def tensors(variables: int) -> tuple[TensorEntry, ...]:
    """What a network of convolutions has with Adam: a third weights, the rest its moments; and the
    Python state of `fit`.
    """
    shapes: list[tuple[int, ...]] = [(3, 3, 64, 64), (64,)]
    weights = [
        TensorEntry(
            key=f"model/weights/{i}",
            kind="variable",
            path=f"block_{i // 2}/conv2d_{i // 2}/{('kernel', 'bias')[i % 2]}",
            shape=shapes[i % 2],
            dtype="float32",
            trainable=True,
        )
        for i in range(max(1, variables // 3))
    ]
    slots = [
        TensorEntry(
            key=f"model/optimizer/{i}",
            kind="variable",
            shape=shapes[i % 2],
            dtype="float32",
            trainable=False,
            path=(
                f"adam/block_{i // 4}_conv2d_{i // 4}_{('kernel', 'bias')[i // 2 % 2]}_"
                f"{('momentum', 'velocity')[i % 2]}"
            ),
        )
        for i in range(variables - len(weights))
    ]
    state = [
        TensorEntry(key=f"{name}/state/0", kind="python", path=name, shape=(), dtype="string")
        for name in ("fit", "process")
    ]
    return (*weights, *slots, *state)


@dataclasses.dataclass(frozen=True)
class Size:
    """How large a run is.

    Args:
        checkpoints: that are there.
        lines: of its journal.
        attempts: over which the lines are spread.
        variables: in each checkpoint.
    """

    checkpoints: int
    lines: int
    attempts: int
    variables: int


def make_run(root: Path, size: Size, chance: random.Random) -> None:
    """A run that was preempted again and again; of what it has saved, the newest are there."""
    files, layout, clock = Unsynced(), RunLayout(root), FakeClock(time.time() - 86_400 * 7)
    files.make_dir(layout.checkpoints)
    files.make_dir(layout.journal)
    steps: list[tuple[int, int]] = []
    for attempt in range(1, size.attempts + 1):
        journal = start_journal(files, layout, clock, attempt)
        lines = list(_attempt(size, attempt, steps, clock, chance))
        # As the journal would write them, in one go: a hundred thousand times open, write and close
        # is what takes the time.
        files.append(journal.path, b"".join(map(encode_line, lines)))
    state = tensors(size.variables)
    for attempt, step in steps[-size.checkpoints :]:
        _checkpoint(files, layout, attempt, step, state, chance)
    write_state_file(files, layout, [checkpoint.name for checkpoint in list_checkpoints(layout)])


def _attempt(
    size: Size, attempt: int, steps: list[tuple[int, int]], clock: FakeClock, chance: random.Random
) -> Iterator[events.Event]:
    def told(event: events.Event) -> events.Event:
        clock.advance(chance.uniform(0.1, 2.0))
        return dataclasses.replace(event, time=clock.now(), attempt=attempt)

    step = steps[-1][1] if steps else 0
    yield told(
        events.AttemptStarted(
            host="node7",
            pid=4711,
            program="train.py",
            versions=VERSIONS,
            scheduler={"SLURM_JOB_ID": "123"},
        )
    )
    if steps:
        yield told(
            events.Restored(
                checkpoint=str(CheckpointName(step, attempt - 1)),
                step=step,
                epoch=step // 1000,
                batch=step % 1000,
                secs=1.25,
            )
        )
    yield told(events.TrainingStarted(step=step))
    for _ in range((size.lines // size.attempts - 6) // 2):
        step += 10
        steps.append((attempt, step))
        yield told(
            events.Saved(
                checkpoint=str(CheckpointName(step, attempt)),
                step=step,
                epoch=step // 1000,
                batch=step % 1000,
                trigger="every 600 s",
                size_bytes=44_500_000 + chance.randrange(1000),
                snapshot_secs=chance.uniform(0.001, 0.01),
                write_secs=chance.uniform(0.1, 0.5),
                metrics={
                    "accuracy": chance.random(),
                    "loss": chance.random(),
                    "val_accuracy": chance.random(),
                    "val_loss": chance.random(),
                },
            )
        )
        gone = steps[-2] if len(steps) > 1 else (attempt, step)
        yield told(
            events.TakenAway(
                checkpoint=str(CheckpointName(gone[1], gone[0])),
                reason="not the latest 2; not the best by val_loss (0.2513)",
            )
        )
    yield told(events.SignalReceived(signal="SIGTERM", phase="training"))
    yield told(events.RunPreempted(step=step, reason="SIGTERM", exit_code=75, secs=0.75))
    yield told(events.AttemptEnded(outcome="preempted", step=step))


def _checkpoint(
    files: FileSystem,
    layout: RunLayout,
    attempt: int,
    step: int,
    state: tuple[TensorEntry, ...],
    chance: random.Random,
) -> None:
    writing = begin_writing(files, layout, attempt)
    (writing / f"ckpt-{step}.index").write_bytes(chance.randbytes(40 * len(state)))
    (writing / f"ckpt-{step}.data-00000-of-00001").write_bytes(chance.randbytes(20_000))
    commit(
        files,
        layout,
        Manifest(
            step=step,
            epoch=step // 1000,
            batch=step % 1000,
            attempt=attempt,
            saved_at=time.time() - chance.uniform(0, 86_400),
            trigger="every 600 s",
            states=(
                StateEntry(name="model", class_name="Functional", classes={"optimizer": "Adam"}),
                StateEntry(name="fit", class_name="Fit"),
                StateEntry(name="process", class_name="Process"),
            ),
            tensors=state,
            metrics={
                name: chance.random() for name in ("accuracy", "loss", "val_accuracy", "val_loss")
            },
            extremes=dict.fromkeys(("accuracy", "loss", "val_accuracy", "val_loss"), (0.125, 2.5)),
            hyperparameters={
                "optimizer": "Adam",
                "learning_rate": 0.001,
                "batch_size": 128,
                "hparams": {"width": 64},
            },
            versions=VERSIONS,
        ),
    )


def times(commands: dict[str, list[str]], repeats: int) -> dict[str, list[float]]:
    """Wall times of fresh processes, which take turns; the first turn warms the page cache and
    compiles, and is left out.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }
    found: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repeats + 1):
        for name, arguments in commands.items():
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=environment,
            )
            if turn:
                found[name].append(time.perf_counter() - began)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repeats", type=int, default=9, help="processes for each line (default: 9)"
    )
    parser.add_argument(
        "--checkpoints", type=int, default=1000, help="checkpoints of the large run (default: 1000)"
    )
    parser.add_argument(
        "--lines", type=int, default=100_000, help="lines of its journal (default: 100000)"
    )
    parser.add_argument(
        "--variables", type=int, default=100, help="variables of each checkpoint (default: 100)"
    )
    parser.add_argument("--runs", type=int, default=300, help="runs in the tree (default: 300)")
    parser.add_argument(
        "--keep",
        metavar="DIR",
        help="make the runs there, and leave them; one that is there is used again",
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        there = Path(args.keep or scratch)
        large, tree, chance = there / "large", there / "tree", random.Random()
        if not large.exists():
            make_run(large, Size(args.checkpoints, args.lines, 20, args.variables), chance)
        if not tree.exists():
            for number in range(args.runs):
                make_run(
                    tree / f"project-{number // 20}" / f"run-{number}",
                    Size(5, 300, 3, args.variables),
                    chance,
                )
        commands: dict[str, tuple[list[str], float | None]] = {
            "python, doing nothing": (["-c", ""], None),
            "ckptkit --version": (["-m", "ckptkit", "--version"], None),
            "ckptkit list": (["-m", "ckptkit", "list", str(large)], 0.5),
            "ckptkit list --json": (["-m", "ckptkit", "list", str(large), "--json"], 0.5),
            "ckptkit prune --dry-run": (
                [
                    "-m",
                    "ckptkit",
                    "prune",
                    str(large),
                    "--keep-latest",
                    "3",
                    "--keep-best",
                    "val_loss",
                    "--dry-run",
                ],
                0.5,
            ),
            f"ckptkit list, {args.runs} runs": (["-m", "ckptkit", "list", str(tree)], 2.0),
        }
        if "history" in COMMANDS:
            commands["ckptkit history"] = (["-m", "ckptkit", "history", str(large)], 0.5)
        found = times({name: arguments for name, (arguments, _) in commands.items()}, args.repeats)
        print(
            f"medians of {args.repeats} fresh processes, Python {sys.version.split()[0]}, "
            f"{os.cpu_count()} processors; "
            f"{args.checkpoints:,} checkpoints of {args.variables} variables, {args.lines:,} lines"
        )
        for name, secs in found.items():
            below = commands[name][1]
            print(
                f"{name:<32} {statistics.median(secs):6.3f} s   ({min(secs):.3f} to "
                f"{max(secs):.3f})" + (f"   should be below {below} s" if below else "")
            )


if __name__ == "__main__":
    main()
