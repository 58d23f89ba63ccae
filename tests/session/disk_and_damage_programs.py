"""Training programs for these tests: full disks, and damaged checkpoints."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tenacity
import tensorflow as tf

import ckptkit
from ckptkit.cli import main
from ckptkit.clock import SystemClock
from ckptkit.layout import run_layout
from ckptkit.restore.newest_checkpoint import DivergedError
from ckptkit.run.events import Failed
from ckptkit.run.verify import verify
from ckptkit.storage.files import FileSystem, storage_errors
from ckptkit.testing import FakeClock
from ckptkit.writing import checkpoint_writer
from tests.support import machine
from tests.support.stored_run import start_attempt

checkpoint_writer.WAIT = tenacity.wait_none()


class Full(FileSystem):
    """A disk that takes no checkpoint while it is full, and no line of a journal while there is no
    space for that; nothing else is refused.
    """

    def __init__(self, number: int = errno.ENOSPC) -> None:
        self.full = self.no_journal = False
        self.number = number

    def append(self, path: Path, data: bytes) -> None:
        if self.no_journal:
            with storage_errors("append to", path):
                raise OSError(self.number, os.strerror(self.number))
        super().append(path, data)

    def sync_file(self, path: Path) -> None:
        if self.full:
            with storage_errors("sync", path):
                raise OSError(self.number, os.strerror(self.number))
        super().sync_file(path)


class WarningLines(logging.Handler):
    """Collects the warnings that are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        logging.getLogger("ckptkit").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.lines.append(record.getMessage())


def error_of(action: Any, *args: Any) -> dict[str, Any] | None:
    """Return what a call raises, or None."""
    try:
        action(*args)
    except (ckptkit.CheckpointError, SystemExit) as error:
        return {"kind": type(error).__name__, "text": str(error)}
    return None


def outcome(directory: str) -> dict[str, Any]:
    """Describe the run directory; every checkpoint is verified."""
    run = ckptkit.open_run(directory)
    for checkpoint in run.checkpoints:
        verify(checkpoint)
    names = [path.name for path in run.layout.checkpoints.iterdir()]
    return {
        "steps": [c.step for c in run.checkpoints],
        "debris": sorted(name for name in names if name.startswith(".")),
        "failed": [event.step for event in run.journal if event.event == "save_failed"],
        "ended": [event.outcome for event in run.journal if event.event == "attempt_ended"],
    }


def periodic(directory: str, background: bool, number: str) -> dict[str, Any]:
    """Six steps with a save at each; the disk is full from the third to the fifth."""
    files, said, weight, trained = (
        Full(getattr(errno, number)),
        WarningLines(),
        tf.Variable(0.0),
        [],
    )
    with ckptkit.CheckpointManager(
        directory,
        {"weight": weight},
        save=ckptkit.EveryNSteps(1),
        keep=ckptkit.KeepLatest(9),
        files=files,
        background=background,
    ) as manager:
        for step in manager.steps(6):
            manager.run  # noqa: B018 - waits for the save of the step before
            files.full = 3 <= step <= 5
            weight.assign_add(1.0)
            trained.append(step)
    return {**outcome(directory), "trained": trained, "said": said.lines}


def away(directory: str) -> dict[str, Any]:
    """A save each 300 s; from the third on, the disk answers with a temporary error."""
    files, said, clock = Full(errno.EIO), WarningLines(), FakeClock()
    manager = ckptkit.CheckpointManager(
        directory,
        {"weight": tf.Variable(0.0)},
        save=ckptkit.EveryNSteps(1),
        files=files,
        clock=clock,
    )

    manager.restore_or_initialize()
    error = None
    for step in range(1, 9):
        clock.advance(300)
        files.full = step >= 3
        # `run` waits for the save, and raises the error of one that failed.
        error = error_of(manager.maybe_save, step) or error_of(lambda: manager.run)
        if error:
            break
    files.full = False
    return outcome(directory) | {"error": error, "said": said.lines}


def refused_at_first(directory: str) -> dict[str, Any]:
    """The first save fails in the foreground, the program continues, and the next one is due."""
    files, clock = Full(errno.EACCES), FakeClock()
    manager = ckptkit.CheckpointManager(
        directory, {"weight": tf.Variable(0.0)}, files=files, clock=clock, background=False
    )
    manager.restore_or_initialize()
    manager.maybe_save(1)
    files.full = True
    clock.advance(60)
    refused = error_of(manager.maybe_save, 2)
    files.full = False
    clock.advance(60)
    manager.maybe_save(3)
    return outcome(directory) | {"refused": refused and refused["kind"]}


def without_a_journal(directory: str) -> dict[str, Any]:
    """From the second step to the end no line of the journal can be written."""
    files, said, weight = Full(), WarningLines(), tf.Variable(0.0)
    with ckptkit.CheckpointManager(
        directory,
        {"weight": weight},
        save=ckptkit.EveryNSteps(1),
        keep=ckptkit.KeepLatest(2),
        files=files,
    ) as manager:
        for step in manager.steps(4):
            files.no_journal = step >= 2
            weight.assign_add(1.0)
    return {**outcome(directory), "said": said.lines}


class FirstLineOnly(FileSystem):
    """A disk that is full for each line of a journal after `attempt_started`."""

    def __init__(self) -> None:
        self.lost: list[str] = []

    def append(self, path: Path, data: bytes) -> None:
        if path.suffix == ".jsonl" and b'"attempt_started"' not in data:
            self.lost.append(json.loads(data)["event"])
            with storage_errors("append to", path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().append(path, data)


def resumed_without_a_journal(directory: str) -> dict[str, Any]:
    """A start with another learning rate; only its first line finds space in the journal."""

    def start(rate: float, files: FileSystem, until: int) -> list[int]:
        optimizer, weight = keras.optimizers.SGD(rate), keras.Variable(1.0)
        optimizer.build([weight])
        with ckptkit.CheckpointManager(
            directory,
            {"weight": weight, "optimizer": optimizer},
            save=ckptkit.EveryNSteps(1),
            changed={"learning_rate": "code"},
            files=files,
        ) as manager:
            done = []
            for step in manager.steps(9):
                if step > until:
                    break
                optimizer.apply([keras.ops.ones(())], [weight])
                done.append(step)
        rates.append(float(optimizer.learning_rate))
        return done

    files, said, rates = FirstLineOnly(), WarningLines(), list[float]()
    first = start(0.5, FileSystem(), 2)
    return {
        "trained": [first, start(0.25, files, 4)],
        "rates": rates,
        "lost": files.lost,
        **outcome(directory),
        "said": said.lines,
    }


def full_to_the_end(directory: str, how: str) -> dict[str, Any]:
    """The save of the last step finds no space, and neither does the one at the end."""
    files, weight = Full(), tf.Variable(0.0)
    manager = ckptkit.CheckpointManager(
        directory, {"weight": weight}, save=ckptkit.EveryNSteps(1), files=files
    )

    def train() -> None:
        with manager:
            for step in manager.steps(3):
                manager.run  # noqa: B018
                weight.assign_add(1.0)
                files.full = step >= 2
                if how == "stop" and step == 2:
                    manager.request_stop("a test")

    error = error_of(train)
    files.full = False
    return {"error": error, **outcome(directory)}


def left_after_a_refused_save(directory: str, how: str) -> dict[str, Any]:
    """A save falls due and finds no space; then there is space, and the program leaves at the very
    same position.
    """
    files, weight = Full(), tf.Variable(0.0)
    manager = ckptkit.CheckpointManager(
        directory, {"weight": weight}, save=ckptkit.EveryNSteps(1), files=files
    )
    manager.restore_or_initialize()
    weight.assign(7.0)
    files.full = True
    saved = manager.maybe_save(5)
    manager.run  # noqa: B018
    waited = [error_of(manager.wait_until_finished), error_of(manager.wait_until_finished)]
    files.full = False
    error = None
    if how == "close":
        manager.close()
    else:
        manager.request_stop("a test")
        error = error_of(manager.safe_point)
        with contextlib.suppress(SystemExit):
            manager.close()
    weight.assign(0.0)
    with ckptkit.CheckpointManager(directory, {"weight": weight}) as again:
        position = again.position.step
    return {
        "saved": saved,
        "waited": waited,
        "error": error,
        "step": position,
        "value": float(weight.numpy()),
        **outcome(directory),
    }


def confirmed(directory: str) -> dict[str, Any]:
    """`wait_until_finished` after a refused save, and after one that followed it."""
    files, weight = Full(), tf.Variable(0.0)
    with ckptkit.CheckpointManager(
        directory, {"weight": weight}, save=ckptkit.EveryNSteps(1), files=files
    ) as manager:
        files.full = True
        manager.maybe_save(1)
        first = error_of(manager.wait_until_finished)
        files.full = False
        manager.maybe_save(2)
        second = error_of(manager.wait_until_finished)
        files.full = True
        manager.save(3)
        third = error_of(manager.wait_until_finished)
        files.full = False
    return {"first": first, "second": second, "third": third, **outcome(directory)}


def fit_on_a_small_disk(directory: str, keep: int) -> dict[str, Any]:
    """A real file system that somebody fills up in the middle of `fit`, and that has space again
    before its end.
    """
    machine.small_disk(Path(directory).parent / "disk", 6_000_000)
    directory = str(Path(directory).parent / "disk" / "run")
    said, batches = WarningLines(), []
    filler = Path(directory).parent / "filler"
    model = keras.Sequential(
        [keras.Input((500,)), keras.layers.Dense(500), keras.layers.Dense(1)]
    )  # one megabyte
    model.compile(keras.optimizers.SGD(1e-6), "mse")

    class Fills(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            batches.append(batch)
            if 8 <= len(batches) < 16:
                with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
                os.truncate(
                    filler, max(0, filler.stat().st_size - 200_000)
                )  # the journal, and what else there is, takes a little
            if len(batches) == 16:
                filler.unlink()

    x = np.ones((24, 500), "float32")
    callback = ckptkit.CheckpointCallback(
        directory,
        save=ckptkit.EveryNSteps(2),
        keep=ckptkit.KeepLatest(keep),
        export=False,
        background=False,
    )
    model.fit(x, x[:, :1], batch_size=1, verbose=0, callbacks=[Fills(), callback])
    shutil.copytree(directory, Path(directory).parent.parent / "copy", ignore=lambda *_: [".lock"])
    short = [event for event in ckptkit.open_run(directory).journal if event.event == "space_short"]
    return {**outcome(directory), "batches": len(batches), "said": said.lines, "short": len(short)}


# -- damage


def save_two(directory: str, **options: Any) -> None:
    """Two checkpoints with a state of 4 MB that tells their step."""
    weight = tf.Variable(tf.zeros([1_000_000]))
    with ckptkit.CheckpointManager(
        directory, {"weight": weight}, keep=ckptkit.KeepLatest(9), **options
    ) as manager:
        for step in (1, 2):
            weight.assign(tf.fill([1_000_000], float(step)))
            manager.save(step)


def restored(directory: str, **options: Any) -> list[float]:
    """The step and the value that a start gets."""
    weight = tf.Variable(tf.zeros([1_000_000]))
    with ckptkit.CheckpointManager(directory, {"weight": weight}, **options) as manager:
        return [manager.position.step, float(weight.numpy().min()), float(weight.numpy().max())]


def flipped(directory: str, how: str) -> dict[str, Any]:
    """One bit in the middle of the tensor is another one, at each depth of verifying."""
    save_two(directory)
    (path,) = Path(directory).glob("checkpoints/ckpt-2-1/*.data-*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    value = restored(directory, verify=how)
    reasons = [path.read_text() for path in Path(directory).glob("quarantine/*.json")]
    return {
        "value": value,
        "reasons": reasons,
        "quarantine": sorted(path.name for path in Path(directory).glob("quarantine/*")),
    }


def fit_with_a_quick_look(directory: str, epochs: int) -> dict[str, Any]:
    """Four batches an epoch, a save at every second one; the state is larger than what a quick look
    reads.
    """
    x = np.ones((8, 600), "float32")
    model = keras.Sequential([keras.Input((600,)), keras.layers.Dense(600), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    callback = ckptkit.CheckpointCallback(
        directory,
        save=ckptkit.EveryNSteps(2),
        keep=ckptkit.KeepLatest(9),
        export=False,
        verify="quick",
        background=False,
    )
    error = error_of(
        lambda: model.fit(x, x[:, :1], batch_size=2, epochs=epochs, verbose=0, callbacks=[callback])
    )
    return {"error": error, **outcome(directory)}


def rolled_back(directory: str, poisoned: bool) -> list[Any]:
    """What a start after `ckptkit rollback RUN 2` gets, where it would have got step 3; or, after a
    divergence, step 1.
    """
    weight = tf.Variable(0.0)
    manager = ckptkit.CheckpointManager(directory, {"weight": weight}, keep=ckptkit.KeepLatest(9))
    with manager:
        for step in (1, 2, 3):
            weight.assign(float(step))
            manager.save(step, metrics={"loss": float("nan") if poisoned and step == 2 else 1.0})
    layout = run_layout(directory)
    if poisoned:
        journal = start_attempt(FileSystem(), layout, SystemClock())
        journal.record(Failed(error=DivergedError.__name__, message="", step=3, restart=False))
    code = main(["rollback", directory, "2", "--yes"])
    weight.assign(0.0)
    with manager:
        return [code, manager.position.step, float(weight.numpy()), manager.all_steps]


def depths(directory: str, several: list[Any]) -> list[Any]:
    """Values of `verify` that cannot be right, given to the callback and the manager."""
    return [
        error_of(lambda verify=verify: ckptkit.CheckpointCallback(directory, verify=verify))
        for verify in several
    ]
