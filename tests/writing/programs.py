"""Programs with delayed writes and disks that refuse, for `test_background.py`."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gc
import os
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tenacity
import tensorflow as tf

import ckptkit
from ckptkit.run.verify import verify
from ckptkit.session import saver
from ckptkit.tracking.snapshot import Snapshot
from ckptkit.tracking.tracker import Tracked, Tracker
from ckptkit.writing import background_writer, checkpoint_writer
from tests.support.disks import Disk, syncs_a_new_file
from tests.support.gate import Gate
from tests.support.tiny_models import tiny_model

checkpoint_writer.WAIT = tenacity.wait_none()


class Broken(Disk):
    """A disk that refuses to sync files of checkpoints while it is broken."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def set_broken(self, broken: bool, times: int | None = None) -> None:
        self.heal()
        if broken:
            self.refuse(syncs_a_new_file, self.error, times=times)


ERRORS: dict[str, Any] = {
    **{
        name: OSError(getattr(errno, name), os.strerror(getattr(errno, name)))
        for name in ("ENOSPC", "EIO", "EACCES")
    },
    "SystemExit": SystemExit(3),
    "MemoryError": MemoryError("no memory"),
}


def events(directory: str, *names: str) -> list[dict[str, Any]]:
    return [
        dataclasses.asdict(event) | {"event": event.event}
        for event in ckptkit.open_run(directory).journal
        if event.event in names
    ]


def one(directory: str, **options: Any) -> tuple[tf.Variable, ckptkit.CheckpointManager]:
    weight = tf.Variable([1.0, 2.0])
    return weight, ckptkit.CheckpointManager(
        directory, {"weight": weight}, **{"keep": ckptkit.KeepLatest(9), **options}
    )


def error_of(action: Any, *args: Any) -> dict[str, Any] | None:
    """What a call raises, or None."""
    try:
        action(*args)
    except ckptkit.CheckpointError as error:
        cause = error.__cause__ or getattr(error, "cause", None)
        return {
            "kind": type(error).__name__,
            "cause": type(cause).__name__,
            "errno": getattr(cause, "errno", None),
            "text": str(error),
        }
    return None


def until_idle() -> None:
    """Returns when nothing is being written any more; what went wrong is not asked for."""
    for thread in [thread for thread in threading.enumerate() if thread.name == "ckptkit-writer"]:
        thread.join(30)


def failed_save(directory: str, error: str, where: str) -> dict[str, Any]:
    """A save fails in the background; who is told, and what is left."""
    files = Broken(ERRORS[error])
    weight, manager = one(directory, files=files)
    manager.restore_or_initialize()
    manager.save(1)
    manager.wait_until_finished()
    files.set_broken(True)
    weight.assign([3.0, 4.0])
    manager.save(2)
    until_idle()
    files.set_broken(False)

    def steps() -> None:
        for _ in manager.steps(9):
            pass

    calls = {
        "save": lambda: manager.save(3),
        "maybe_save": lambda: manager.maybe_save(3),
        "wait": manager.wait_until_finished,
        "steps": steps,
        "latest_step": lambda: manager.latest_step,
        "close": manager.close,
    }
    first, second = (
        error_of(calls[where]),
        error_of(manager.wait_until_finished if where != "close" else manager.close),
    )
    if where != "close":
        manager.close()
    run = ckptkit.open_run(directory)
    for checkpoint in run.checkpoints:
        verify(checkpoint)
    left = sorted(path.name for path in (Path(directory) / "checkpoints").iterdir())
    weight.assign([0.0, 0.0])
    other = ckptkit.CheckpointManager(directory, {"weight": weight})
    other.restore(1)
    other.close()
    return {
        "first": first,
        "second": second,
        "steps": [checkpoint.step for checkpoint in run.checkpoints],
        "left": left,
        "value": weight.numpy().tolist(),
        "failed": len(events(directory, "save_failed")),
    }


def failed_in_fit(directory: str) -> dict[str, Any]:
    """The next batch is told."""
    files = Broken(ERRORS["EACCES"])
    model = tiny_model()
    manager = ckptkit.CheckpointManager(
        directory, {"model": model}, save=ckptkit.EveryNSteps(5), files=files
    )
    batches = []

    class Seen(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            batches.append(batch)
            if len(batches) == 10:
                files.set_broken(True)
            until_idle()

    x = np.ones((100, 2), "float32")
    error = error_of(
        lambda: model.fit(
            x,
            x[:, :1],
            batch_size=2,
            verbose=0,
            callbacks=[Seen(), ckptkit.CheckpointCallback(manager, export=False)],
        )
    )
    return {
        "error": error,
        "batches": len(batches),
        "steps": [checkpoint.step for checkpoint in ckptkit.open_run(directory).checkpoints],
    }


def transient(directory: str, error: str, times: int) -> dict[str, Any]:
    """A disk that refuses a few times."""
    files = Broken(ERRORS[error])
    _, manager = one(directory, files=files)
    with manager:
        files.set_broken(times > 0, times)
        manager.save(1)
    return {"steps": manager.all_steps, "failed": events(directory, "save_failed")}


def given_back(directory: str, error: str) -> dict[str, Any]:
    """How many snapshots there still are whenever one was written; nothing looks for circles
    meanwhile.
    """
    found = []
    background_writer.return_freed_memory = lambda: found.append(
        sum(isinstance(each, Snapshot) for each in gc.get_objects())
    )
    files = Broken(ERRORS.get(error, OSError()))
    _, manager = one(directory, files=files)
    gc.disable()
    with manager:
        for step in (1, 2):
            files.set_broken(bool(error), times=1)
            manager.save(step)
            manager.wait_until_finished()
    return {"steps": manager.all_steps, "snapshots": found}


def faster_than_the_disk(directory: str) -> dict[str, Any]:
    """Four saves fall due while the first one is held up."""
    gate = Gate()
    weight, manager = one(directory, files=gate, save=ckptkit.EveryNSteps(1))
    with manager:
        gate.close()
        for step in (1, 2, 3, 4):
            weight.assign([float(step), 0.0])
            manager.maybe_save(step)
            gate.waiting.wait(30)
        gate.open()
    weight.assign([0.0, 0.0])
    with manager:
        value = weight.numpy().tolist()
    return {
        "steps": manager.all_steps,
        "dropped": [event["step"] for event in events(directory, "save_dropped")],
        "reasons": [event["reason"] for event in events(directory, "save_dropped")],
        "value": value,
    }


def insisting(directory: str, how: str) -> dict[str, Any]:
    """Records, milestones, and saves that were asked for, are not dropped: training waits."""
    gate = Gate()
    policies: dict[str, dict[str, Any]] = {
        "asked for": {},
        "records": {"save": ckptkit.OnBest("loss")},
        "the best are kept": {
            "save": ckptkit.EveryNSteps(1),
            "keep": ckptkit.KeepLatest(9) | ckptkit.KeepBest("loss"),
        },
        "milestones": {"save": ckptkit.EveryNSteps(1), "keep": ckptkit.KeepEveryNSteps(1)},
    }
    _, manager = one(directory, files=gate, **policies[how])
    with manager:
        gate.close()
        opener = threading.Timer(1.0, gate.open)
        opener.start()
        for step in (1, 2, 3, 4):
            if how == "asked for":
                manager.save(step)
            else:
                manager.maybe_save(step, metrics={"loss": -step})
    return {"steps": manager.all_steps, "dropped": events(directory, "save_dropped")}


def timeout(directory: str) -> dict[str, Any]:
    gate = Gate()
    _, manager = one(directory, files=gate)
    with manager:
        gate.close()
        manager.save(1)
        late = error_of(manager.wait_until_finished, 0.05)
        gate.open()
        in_time = error_of(manager.wait_until_finished, 30)
    return {"late": late, "in_time": in_time, "steps": manager.all_steps}


def little_memory(directory: str) -> dict[str, Any]:
    """There is no room for a copy of the state."""
    saver.available_bytes = lambda: 10
    gate = Gate()
    _, manager = one(directory, files=gate)
    with manager:
        manager.save(1)
        names = [thread.name for thread in threading.enumerate()]
    return {
        "steps": manager.all_steps,
        "events": events(directory, "foreground_saves"),
        "threads": [name for name in names if "writer" in name],
    }


def memory_becomes_little(directory: str) -> dict[str, Any]:
    """There is room for one copy, and not for one that waits: training waits for the write."""
    gate = Gate()
    _, manager = one(directory, files=gate, save=ckptkit.EveryNSteps(1))
    with manager:
        gate.close()
        manager.maybe_save(1)
        gate.waiting.wait(30)
        saver.available_bytes = lambda: 0
        threading.Timer(0.5, gate.open).start()
        manager.maybe_save(2)
    return {"steps": manager.all_steps, "dropped": events(directory, "save_dropped")}


def forked_while_writing(directory: str) -> dict[str, Any]:
    """A child that is forked in the middle of a save neither writes nor waits."""
    gate = Gate()
    _, manager = one(directory, files=gate)
    with manager:
        gate.close()
        manager.save(1)
        assert gate.waiting.wait(30)
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                manager.wait_until_finished(5)
                code = 0
            os._exit(code)
        _, status = os.waitpid(child, 0)
        gate.open()
    return {"code": os.waitstatus_to_exitcode(status), "steps": manager.all_steps}


# -- what there is to save changes


class Grows(keras.layers.Layer):
    """Makes a variable of TensorFlow's own that Keras does not list."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def grow(self) -> None:
        self.more = tf.Variable([5.0])


def identities(tracked: Tracked) -> list[Any]:
    return [(leaf.key, id(getattr(leaf, "variable", None))) for leaf in tracked.leaves]


def changes() -> dict[str, list[int]]:
    """How many leaves there are before and after a change, and whether the second look without one
    is at the same.
    """
    module = tf.Module()
    module.parts, module.named = [tf.Variable(1.0)], {"a": tf.Variable(2.0)}
    layer = Grows()
    layer(tf.ones((1, 2)))
    model = tiny_model()
    model.optimizer.build(model.trainable_variables)
    held = {"values": [tf.Variable(1.0)]}

    class Users:
        pass

    users = Users()
    users.weight = tf.Variable(1.0)  # type: ignore[attr-defined]
    users.get_state, users.set_state = dict, print  # type: ignore[attr-defined]
    checkpoint = tf.train.Checkpoint(a=tf.Variable(1.0))

    def train_anew() -> None:
        model.compile("adam", "mse", metrics=["mae"])
        model.optimizer.build(model.trainable_variables)

    things: dict[str, tuple[Any, Any]] = {
        "list of a module": (module, lambda: module.parts.append(tf.Variable(3.0))),
        "dictionary of a module": (module, lambda: module.named.update(b=tf.Variable(3.0))),
        "attribute of a module": (module, lambda: setattr(module, "new", tf.Variable(3.0))),
        "replaced variable": (module, lambda: setattr(module, "new", tf.Variable([3.0, 4.0]))),
        "layer": (layer, layer.grow),
        "optimizer": (model, train_anew),
        "metrics": (model, lambda: model.test_on_batch(np.ones((1, 2)), np.ones((1, 1)))),
        "list in state": (held["values"], lambda: held["values"].append(tf.Variable(3.0))),
        "object": (users, lambda: setattr(users, "other", tf.Variable(3.0))),
        "checkpoint": (checkpoint, lambda: setattr(checkpoint, "b", tf.Variable(3.0))),
    }
    found = {}
    for name, (thing, change) in things.items():
        tracker = Tracker({"it": thing})
        before = tracker.track_now()
        same = all(a is b for a, b in zip(tracker.track_now().leaves, before.leaves, strict=True))
        change()
        after = tracker.track_now()
        expected = Tracker({"it": thing}).track_now()
        found[name] = [
            same,
            identities(after) == identities(expected),
            identities(after) != identities(before),
        ]
    return found
