"""Log lines on the screen on which Keras draws its progress bar."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

PROGRAM = """
import sys, time
import keras, numpy as np
import ckptkit

class Slow(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.06)  # the bar is drawn at most every 50 ms

    def get_state(self): return None
    def set_state(self, state): pass

run, verbose, background = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "background"
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
x = np.random.normal(size=(12, 4))
model.fit(
    x, x[:, :1], batch_size=2, epochs=2, verbose=verbose, validation_data=(x, x[:, :1]),
    callbacks=[
        Slow(),
        ckptkit.CheckpointCallback(
            run, save=ckptkit.EveryNSteps(2), background=background, export=False
        ),
    ],
)
"""


def on_terminal(command) -> str:
    master, slave = pty.openpty()
    process = subprocess.Popen(command, cwd=ROOT, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    try:
        while part := os.read(master, 65_536):
            shown += part
    except OSError:  # the terminal's end
        pass
    os.close(master)
    assert process.wait() == 0, shown
    return shown.decode().replace("\r\n", "\n")


def in_pipe(command) -> str:
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("background", ["background", "foreground"])
@pytest.mark.parametrize("screen", [on_terminal, in_pipe], ids=lambda each: each.__name__)
def test_a_log_line_is_a_line_of_its_own(screen, background, tmp_path):
    shown = screen([sys.executable, "-c", PROGRAM, str(tmp_path / "run"), "1", background])
    lines = [line for line in shown.split("\n") if "ckptkit: " in line]
    assert sum("saved step" in line for line in lines) >= 3, shown
    for line in lines:
        assert line.startswith("ckptkit: "), shown
    # The bar continues in a line of its own, and there is no gap between two log lines.
    assert re.search(r"ckptkit: [^\n]*\n+[^\n]*/6", shown), shown
    assert not re.search(r"ckptkit: [^\n]*\n\nckptkit: ", shown), shown


def test_a_log_line_is_a_line_of_its_own_below_the_launcher(tmp_path):
    """There, standard output and standard error are two pipes, and one terminal again behind it."""
    launcher = [sys.executable, "-m", "ckptkit", "run", "--notices", "off", "--"]
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "run"), "1", "background"]
    shown = on_terminal([*launcher, *command])
    lines = [line for line in shown.split("\n") if "ckptkit: " in line]
    assert sum("saved step" in line for line in lines) >= 3, shown
    for line in lines:
        assert line.startswith("ckptkit: "), shown


@pytest.mark.parametrize("verbose", ["0", "2"])
def test_without_a_bar_nothing_is_added(verbose, tmp_path):
    shown = in_pipe([sys.executable, "-c", PROGRAM, str(tmp_path / "run"), verbose, "background"])
    assert "ckptkit: saved step" in shown
    assert "\n\n" not in shown, shown
