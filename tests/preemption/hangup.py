"""A training whose terminal is closed."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
import traceback
from pathlib import Path
from typing import Any

import keras

import ckptkit
from ckptkit.preemption.policy import Preemption
from ckptkit.preemption.request import StopBox
from ckptkit.preemption.signals import SignalGuard
from tests.keras import trainings


class Steps(keras.callbacks.Callback):
    """Leaves a mark at step 20, and makes each step take a little time."""

    def __init__(self, mark: Path) -> None:
        super().__init__()
        self._mark, self._steps = mark, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._steps += 1
        if self._steps == 20:
            self._mark.touch()
        time.sleep(0.01)


def close_terminal(run: str, mark: str) -> int:
    """Trains on a terminal of its own, which is closed at step 20.

    Returns:
        The exit code of the training, as `os.waitstatus_to_exitcode` gives it.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        _train(run, Path(mark))
    while not Path(mark).exists():
        # Read, or the training would wait for space on its terminal.
        if select.select([terminal], [], [], 0.01)[0]:
            os.read(terminal, 65_536)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _train(run: str, mark: Path) -> None:
    code: Any = 1
    try:
        made = trainings.model()
        made.fit(
            trainings.data(),
            epochs=5000,
            shuffle=False,
            callbacks=[
                Steps(mark),
                ckptkit.CheckpointCallback(run, save=ckptkit.EveryNSteps(10**6), export=False),
            ],
        )
    except SystemExit as end:
        code = end.code
    except BaseException:
        mark.with_suffix(".error").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def ignored() -> None:
    """SIGHUP stays ignored if it is, as under `nohup`; else it is taken, and given back."""
    guard = SignalGuard(Preemption(), StopBox(), lambda name: None)
    for before in (signal.SIG_IGN, signal.SIG_DFL):
        signal.signal(signal.SIGHUP, before)
        guard.install()
        assert (signal.getsignal(signal.SIGHUP) is before) == (before is signal.SIG_IGN)
        guard.restore()
        assert signal.getsignal(signal.SIGHUP) is before
    explicit = SignalGuard(Preemption(signals=("SIGTERM",)), StopBox(), lambda name: None)
    explicit.install()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    explicit.restore()
