"""Programs that save for the last time after an earlier save has failed, and whose disk works again
by then.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import ckptkit
from ckptkit.bundle import tensor_bundle
from ckptkit.ownership.claims import check_not_held
from ckptkit.session.remote_control import RemoteControl
from ckptkit.writing import checkpoint_writer, data_file_sync
from tests.support.disks import slow_disk
from tests.support.gate import Gate
from tests.support.tiny_models import tiny_model
from tests.writing.holds import Sits
from tests.writing.programs import (
    ERRORS,
    Broken,
    error_of,
    events,
    one,
    until_idle,
)


def told_and_left(directory: str, how: str) -> dict[str, Any]:
    """A save fails, and the program hears of it and goes on to its end."""
    files = Broken(ERRORS["EACCES"])
    weight, manager = one(directory, files=files)
    manager.restore_or_initialize()
    files.set_broken(True)
    weight.assign([3.0, 4.0])
    manager.save(100)
    first = error_of(manager.wait_until_finished)
    files.set_broken(False)
    stopped = None
    if how == "stopped":
        manager.request_stop("enough")
        try:
            manager.safe_point()
        except ckptkit.Preempted as error:
            stopped = error.step
    manager.close()
    return {"first": first and first["errno"], "stopped": stopped, "steps": manager.all_steps}


def not_told(directory: str, how: str, again: str) -> dict[str, Any]:
    """The save after step 2 fails during step 3, behind which training comes to its end in some
    way.

    Args:
        directory: of the run.
        how: it ends.
        again: what the disk does to the next save, or "".
    """
    files = Broken(ERRORS["EACCES"])
    weight, manager = one(directory, files=files, save=ckptkit.EveryNSteps(2))
    raised: BaseException | None = None
    try:
        with manager:
            for step in manager.steps(3 if how == "finished" else 9):
                if step == 2:
                    files.set_broken(True)
                if step == 3:
                    until_idle()
                    files.error = ERRORS.get(again)
                    files.set_broken(bool(again))
                    if how == "left":
                        break
                    if how == "raised":
                        raise ValueError("the program's own")
                    if how in ("stopped", "safe point"):
                        manager.request_stop("enough")
                weight.assign_add([1.0, 1.0])
                if step == 3 and how == "safe point":
                    manager.safe_point()
    except BaseException as error:
        raised = error
    files.set_broken(False)
    return {
        "raised": type(raised).__name__,
        "errno": getattr(getattr(raised, "cause", None), "errno", None),
        "notes": getattr(raised, "__notes__", []),
        "steps": manager.all_steps,
        "final": [each.manifest.final for each in manager.run.checkpoints],
    }


def in_an_evaluation(directory: str) -> dict[str, Any]:
    """A save fails while training sits in its evaluation, and then the machine goes away."""
    files = Broken(ERRORS["EACCES"])

    class Meets(Sits):
        def sit(self) -> int:
            self.evaluations += 1
            if self.evaluations == 1:
                files.set_broken(True)
            else:
                until_idle()
                files.set_broken(False)
                os.kill(os.getpid(), signal.SIGTERM)
                end = time.monotonic() + 20
                while not ckptkit.open_run(directory).checkpoints and time.monotonic() < end:
                    time.sleep(0.02)
            return 0

    x = np.ones((32, 2), "float32")
    model = Meets(True)
    model.build((None, 2))
    model.compile("sgd", "mse")
    manager = ckptkit.CheckpointManager(
        directory,
        {"model": model},
        files=files,
        save=ckptkit.EveryNSteps(7),
        preemption=ckptkit.Preemption(grace_secs=1.5),
    )
    error = error_of(
        lambda: model.fit(
            x,
            x[:, :1],
            batch_size=8,
            epochs=3,
            validation_data=(x[:8], x[:8, :1]),
            validation_batch_size=8,
            verbose=0,
            callbacks=[ckptkit.CheckpointCallback(manager, export=False)],
        )
    )
    return {
        "error": error,
        "steps": manager.all_steps,
        "decided": [event["action"] for event in events(directory, "emergency_decided")],
        "failed": [event["step"] for event in events(directory, "save_failed")],
    }


def let_go_of_with_one_waiting(directory: str) -> dict[str, Any]:
    """Ctrl-C while one save is being written and another one, that was asked for, waits."""
    gate = Gate()
    _, manager = one(directory, files=gate)
    with contextlib.suppress(KeyboardInterrupt), manager:
        gate.close()
        manager.save(1)
        assert gate.waiting.wait(30)
        manager.save(2)
        raise KeyboardInterrupt
    gate.open()
    until_idle()
    return {
        "steps": manager.all_steps,
        "dropped": [
            (event["step"], event["reason"]) for event in events(directory, "save_dropped")
        ],
    }


def of_a_lost_run(directory: str) -> dict[str, Any]:
    """The claim of this process is removed; it notices at its next save, and is told when it
    leaves.
    """
    _, manager = one(directory)
    manager.restore_or_initialize()
    manager.save(1)
    manager.wait_until_finished()
    shutil.rmtree(Path(directory) / "lock")
    manager.save(2)
    until_idle()
    try:
        manager.close()
    except ckptkit.RunLockedError as error:
        return {"notes": getattr(error, "__notes__", []), "steps": manager.all_steps}
    return {}


def of_a_lost_run_that_saves_again(directory: str) -> int:
    """The program goes on over the error; nothing that it saves from then on is taken for saved."""
    _, manager = one(directory)
    manager.restore_or_initialize()
    shutil.rmtree(Path(directory) / "lock")
    times = 0
    for step in range(1, 4):
        manager.save(step)
        try:
            manager.wait_until_finished()
        except ckptkit.RunLockedError:
            times += 1
    return times


# -- what the collector finds


class LeftOnce(keras.Sequential):
    """Its second epoch begins with an exception that no event of a callback sees, as a second
    Ctrl-C may.
    """

    epochs = 0

    def reset_metrics(self) -> None:
        super().reset_metrics()
        self.epochs += 1
        if self.epochs == 2:
            raise KeyboardInterrupt


class _Collects(Gate):
    """Has the exception that left a `fit`, and so the `fit`, collected on one thread, while a save
    waits to be written or is.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.held: list[BaseException] = []
        self.done = threading.Event()
        checkpoint_writer.WORTH_BYTES = 1
        data_file_sync.DataFileSync._find_new_files = self.before(
            data_file_sync.DataFileSync._find_new_files
        )  # type: ignore[method-assign]
        RemoteControl._look = self.before(RemoteControl._look)  # type: ignore[method-assign]
        write = tensor_bundle.write_tensors

        def write_later(*args: Any) -> None:
            self.done.wait(30)
            write(*args)

        tensor_bundle.write_tensors = write_later

    def before(self, look: Callable[[Any], None]) -> Callable[[Any], None]:
        def collect_and_look(owner: Any) -> None:
            self.collect()
            look(owner)

        return collect_and_look

    def make_dir(self, path: Path) -> None:
        super().make_dir(path)
        if path.name.startswith(".writing"):
            self.collect()

    def collect(self) -> None:
        if self.held and threading.current_thread().name == self._name:
            self.held.clear()
            gc.collect()
            self.done.set()


def collected(directory: str, name: str) -> dict[str, Any]:
    """A `fit` was left without a word, somebody holds the exception for a while, and the last one
    to let go of it is a thread of our own.
    """
    files = _Collects(name)
    files.close()
    model = LeftOnce([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    manager = ckptkit.CheckpointManager(
        directory, {"model": model}, save=ckptkit.EveryNSteps(2), files=files
    )
    callbacks = [ckptkit.CheckpointCallback(manager, export=False)]
    x = np.ones((32, 2), "float32")
    held = []
    try:
        model.fit(x, x[:, :1], batch_size=8, epochs=3, verbose=0, callbacks=callbacks)
    except KeyboardInterrupt as error:
        held.append(error)
    open_before = manager.is_open
    files.held.append(held.pop())
    files.open()
    assert files.done.wait(30)
    end = time.monotonic() + 30
    while manager.is_open and time.monotonic() < end:
        time.sleep(0.02)
    for thread in [thread for thread in threading.enumerate() if thread.name == "ckptkit-left"]:
        thread.join(30)
    check_not_held(manager.run.layout)
    return {
        "open": [open_before, manager.is_open],
        "steps": manager.all_steps,
        "outcomes": [event["outcome"] for event in events(directory, "attempt_ended")],
    }


def opened_anew(directory: str) -> list[int]:
    """A `fit` on another thread was left, its exception is let go of here, while a save is being
    written, and the run is opened at once.
    """
    model = LeftOnce([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((32, 2), "float32")
    held: list[BaseException] = []

    def train() -> None:
        manager = ckptkit.CheckpointManager(
            directory, {"model": model}, save=ckptkit.EveryNSteps(2), files=slow_disk(3)
        )
        try:
            model.fit(
                x,
                x[:, :1],
                batch_size=8,
                epochs=3,
                verbose=0,
                callbacks=[ckptkit.CheckpointCallback(manager, export=False)],
            )
        except KeyboardInterrupt as error:
            held.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    fresh = tiny_model()
    held.clear()
    gc.collect()
    fresh.fit(
        x,
        x[:, :1],
        batch_size=8,
        epochs=2,
        verbose=0,
        callbacks=[ckptkit.CheckpointCallback(directory, export=False, changed={"model": "code"})],
    )
    return [checkpoint.step for checkpoint in ckptkit.open_run(directory).checkpoints]
