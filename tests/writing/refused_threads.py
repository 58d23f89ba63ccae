"""Programs on a machine that grants no further thread, for `test_refused_threads.py`."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import tensorflow as tf

import ckptkit
from ckptkit.errors import BackgroundSaveError
from ckptkit.run.verify import file_entry, verify
from ckptkit.writing import checkpoint_writer
from ckptkit.writing.background_writer import BackgroundWriter
from ckptkit.writing.checkpoint_writer import Job
from ckptkit.writing.data_file_sync import WINDOW_BYTES, DataFileSync


def refuse(thread: threading.Thread) -> None:
    """Fails as `Thread.start` does when the process has as many threads as it may have."""
    raise RuntimeError("can't start new thread")


def job(step: int, run: Any, dropped: list[str] | None = None) -> Job:
    reasons = [] if dropped is None else dropped
    return Job(step=step, run=run, drop=reasons.append, must=True)


def manager_without_threads(directory: str, large: bool) -> dict[str, Any]:
    """Two saves of a whole manager, while no thread of any kind can be started."""
    if large:
        checkpoint_writer.WORTH_BYTES = 1  # so that a thread is wanted to follow the file
    weight = tf.Variable([1.0, 2.0])
    manager = ckptkit.CheckpointManager(directory, {"weight": weight}, keep=ckptkit.KeepLatest(9))
    with manager:
        start = threading.Thread.start
        threading.Thread.start = refuse  # type: ignore[method-assign]
        try:
            manager.save(1)
            manager.save(2)
        finally:
            threading.Thread.start = start  # type: ignore[method-assign]
    for checkpoint in manager.run.checkpoints:
        verify(checkpoint)
    return {"steps": manager.all_steps}


def abandoned_by_another_thread() -> dict[str, Any]:
    """Another thread abandons the writer while a job runs in the foreground."""
    writer, found = BackgroundWriter(refuse), {}

    def run() -> None:
        other = threading.Thread(target=writer.abandon)
        other.start()
        other.join(10)
        found["hangs"] = other.is_alive()

    writer.submit(job(1, run))
    writer.finish()
    return found


def failing_job() -> dict[str, Any]:
    """A job fails in the foreground; the next one must still run."""
    writer, done, errors = BackgroundWriter(refuse), [], []

    def fail() -> None:
        raise OSError("no space")

    writer.submit(job(1, fail))
    for _ in range(2):
        try:
            writer.wait(10)
        except BackgroundSaveError as error:
            errors.append(repr(error.__cause__))
    writer.submit(job(2, lambda: done.append(2)))
    writer.wait(10)
    return {"errors": errors, "done": done, "busy": writer.busy}


def interrupted_job() -> dict[str, Any]:
    """Ctrl-C in the foreground, while another thread's job waits."""
    writer, dropped, done, raised = BackgroundWriter(refuse), list[str](), [], False

    def interrupt() -> None:
        other = threading.Thread(target=writer.submit, args=(job(2, list, dropped),))
        other.start()
        other.join(10)
        raise KeyboardInterrupt

    try:
        writer.submit(job(1, interrupt))
    except KeyboardInterrupt:
        raised = True
    busy = writer.busy
    if not busy:
        writer.submit(job(3, lambda: done.append(3)))
    return {"raised": raised, "busy": busy, "dropped": len(dropped), "done": done}


def file_that_is_not_followed(directory: str, seed: int) -> dict[str, Any]:
    """A file of several windows, written while no thread can follow it."""
    path = Path(directory) / "ckpt-1.data-00000-of-00001"
    data = tf.random.stateless_uniform((2 * WINDOW_BYTES + 77,), (seed, 0), 0, 256, tf.int32)
    drain = DataFileSync(Path(directory), refuse)
    with drain:
        path.write_bytes(bytes(data.numpy().astype("uint8")))
    entry = drain.entry(path)
    drain.close()
    return {"same": entry == file_entry(path), "size_bytes": entry.size_bytes}
