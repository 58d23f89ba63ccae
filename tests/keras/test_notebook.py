"""Cells of a real Jupyter kernel: run twice, or interrupted and run again."""

from __future__ import annotations

import os
import queue
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.keras.conftest import journal_events
from tests.support.processes import ENVIRONMENT, ROOT, TIMEOUT_SECS

IMPORTS = "import hashlib, time, keras, ckptkit; from tests.keras import trainings"

CELL = """
made = trainings.model()
slowly = keras.callbacks.LambdaCallback(
    on_train_batch_end=lambda batch, logs: time.sleep({secs}),
    on_epoch_begin=lambda epoch, logs: print("epoch", epoch, flush=True),
)
resumable = ckptkit.CheckpointCallback({run!r}, export=False)
history = made.fit(
    trainings.data(), epochs=4, shuffle=False, verbose=0, callbacks=[slowly, resumable]
)
digest = hashlib.sha256(b"".join(trainings.bits(made, made.optimizer))).hexdigest()
print("result", len(history.epoch), digest, flush=True)
"""


class Kernel:
    """A Jupyter kernel of this Python.

    Args:
        directory: its working directory.
    """

    def __init__(self, directory: Any) -> None:
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import KernelManager

        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        # Without directories of kernels: that of this very environment, whatever else is installed
        # on the machine under its name.
        self._manager = KernelManager(
            kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[])
        )
        self._manager.start_kernel(
            cwd=str(directory), env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path}
        )
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=TIMEOUT_SECS)
        self._seen = ""

    def start(self, code: str) -> None:
        """Starts a cell, and does not wait for it."""
        self._seen = ""
        self._client.execute(code)

    def interrupt(self) -> None:
        """Does what the stop button does."""
        self._manager.interrupt_kernel()

    def output(self, until: str | None = None) -> str:
        """Return the output of a cell, errors too, until it ends or contains `until`."""
        end = time.monotonic() + TIMEOUT_SECS
        while until is None or not re.search(until, self._seen):
            try:
                message = self._client.get_iopub_msg(timeout=1)
            except queue.Empty:
                assert time.monotonic() < end, f"the cell does not end\n{self._seen}"
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                self._seen += content["text"]
            elif message["msg_type"] == "error":
                self._seen += f"{content['ename']}: {content['evalue']}\n"
            elif (
                message["msg_type"] == "status"
                and content["execution_state"] == "idle"
                and until is None
            ):
                break
        return self._seen

    def run(self, code: str) -> str:
        """Runs a cell to its end, and returns its output."""
        self.start(code)
        return self.output()

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(tmp_path) -> Iterator[Kernel]:
    started = Kernel(tmp_path)
    yield started
    started.close()


def result(output: str) -> str:
    found = re.search(r"^result .*$", output, re.MULTILINE)
    assert found is not None, output
    return found[0]


def test_cells_that_are_run_again(kernel, run):
    assert "Error" not in kernel.run(IMPORTS)
    whole = result(kernel.run(CELL.format(run=str(run.with_name("whole")), secs=0)))

    # Interrupted in the third epoch, and run again as it stands: it makes a new model, a new
    # optimizer, a new callback.
    cell = CELL.format(run=str(run), secs=0.2)
    kernel.start(cell)
    kernel.output(until="epoch 2")
    kernel.interrupt()
    interrupted = kernel.output()
    assert "KeyboardInterrupt" in interrupted
    assert re.search(r"saving step \d+; Ctrl-C again to stop now", interrupted)
    assert "result" not in interrupted
    (preempted,) = journal_events(run, "preempted")
    assert 8 <= preempted.step < 16
    again = kernel.run(cell)
    assert result(again) == whole
    assert re.search(rf"resumed from step {preempted.step}\b", again)

    # Run once more, though it is finished: that is another model object, and not this run's
    # training.
    twice = kernel.run(cell)
    assert "ConfigError: This process has already finished the run" in twice
    assert "fresh='a label'" in twice
    assert "result" not in twice

    # The kernel is as it was: the stop button works, and a fresh label trains anew.
    kernel.start("print('asleep', flush=True); time.sleep(100)")
    kernel.output(until="asleep")
    kernel.interrupt()
    assert "KeyboardInterrupt" in kernel.output()
    assert (
        result(
            kernel.run(
                cell.replace("export=False", "export=False, fresh='again'").replace(
                    "sleep(0.2)", "sleep(0)"
                )
            )
        )
        == whole
    )


def test_a_cell_that_failed_elsewhere_than_in_a_step_is_run_again(kernel, run):
    """The notebook keeps the exception with the frames of `fit`; the run is free all the same."""
    kernel.run(IMPORTS)
    cell = CELL.format(run=str(run), secs=0)
    failing = cell.replace('print("epoch", epoch, flush=True)', "1 / (2 - epoch)")
    assert "ZeroDivisionError" in kernel.run(failing)
    assert "ZeroDivisionError" in kernel.run(failing)
    assert "result 4" in kernel.run(cell)
    assert [event.outcome for event in journal_events(run, "attempt_ended")] == [
        "failed",
        "failed",
        "finished",
    ]
