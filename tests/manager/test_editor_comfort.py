"""What an editor, a notebook and a traceback show to a user."""

from __future__ import annotations

import subprocess
import sys
import traceback

import pytest

import ckptkit
from tests.cli.conftest import DummyRun
from tests.support.processes import ROOT

RIGHT = """
import ckptkit

save: ckptkit.SavePolicy = ckptkit.Adaptive() | ckptkit.EveryNSteps(5)
keep: ckptkit.KeepPolicy = ckptkit.KeepLatest(2)
ckptkit.CheckpointCallback("runs/a", save=save, keep=keep, exact="require")
run: ckptkit.Run = ckptkit.open_run("runs/a")
checkpoint: ckptkit.Checkpoint = run.find("latest")
ckptkit.data.shuffled
ckptkit.testing.FakeClock
"""
WRONG = {
    'ckptkit.CheckpointCalback("runs/a")': "CheckpointCalback",
    'ckptkit.CheckpointCallback("runs/a", kep=None)': '"kep"',
    'ckptkit.CheckpointCallback("runs/a", exact="require it")': '"exact"',
    'ckptkit.CheckpointManager("runs/a", {}, changed={"learning_rate": "new"})': "new",
    'ckptkit.KeepBest("val_loss", mode="smaller")': "mode",
    'ckptkit.open_run("runs/a").chekpoints': "chekpoints",
}
"""Lines that a type checker refuses, and what its message names."""


def test_misspelt_names_are_type_errors(tmp_path, seed):
    lines = RIGHT.count("\n")
    # A new name each time: mypy keeps its messages by the name of a module.
    program = tmp_path / f"train_{seed}.py"
    program.write_text("\n".join([RIGHT, *WRONG, ""]))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--ignore-missing-imports", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {}
    for line in done.stdout.splitlines():
        if line.startswith(f"{program}:"):
            number, kind, message = line.removeprefix(f"{program}:").split(":", 2)
            if kind.strip() == "error":
                found[int(number) - lines - 1] = message
    assert sorted(found) == [*range(1, len(WRONG) + 1)], done.stdout + done.stderr
    for number, word in enumerate(WRONG.values(), start=1):
        assert word in found[number]


def test_objects_say_what_they_are(tmp_path):
    import tensorflow as tf

    manager = ckptkit.CheckpointManager(
        tmp_path / "a", {"weight": tf.Variable(1.0)}, save=ckptkit.EveryNSteps(5)
    )
    shown = f"CheckpointManager('{tmp_path}/a', state: weight, save=EveryNSteps(n=5), keep="
    assert repr(manager).startswith(shown)
    callback = ckptkit.CheckpointCallback(tmp_path / "b", keep=ckptkit.KeepLatest(3))
    assert repr(callback) == f"CheckpointCallback('{tmp_path}/b', keep=KeepLatest(n=3))"
    assert repr(ckptkit.CheckpointCallback(manager)).startswith(f"CheckpointCallback({shown}")


def test_a_run_in_a_notebook(tmp_path):
    run = DummyRun(tmp_path / "<run>")
    run.attempt()
    run.save(100, metrics={"val_loss": 0.25}, trigger="<script>")
    (run.save(200) / "manifest.json").write_text("{")
    opened = ckptkit.open_run(run.root)
    assert repr(opened) == f"Run('{tmp_path}/<run>')"
    shown = opened._repr_html_()
    assert "<td>100</td>" in shown
    assert "val_loss 0.25" in shown
    assert "&lt;run&gt;" in shown
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown
    assert '<tr><td>200</td><td colspan="4">' in shown


@pytest.mark.parametrize(
    "wrong",
    [
        lambda path: ckptkit.CheckpointCallback(path, save=5),
        lambda path: ckptkit.CheckpointManager(path, {}, exact="certainly"),
    ],
    ids=["callback", "manager"],
)
def test_a_wrong_argument_is_reported_at_the_line_that_gives_it(tmp_path, wrong):
    with pytest.raises(ckptkit.ConfigError) as caught:
        wrong(tmp_path)
    frames = traceback.extract_tb(caught.tb)
    assert frames[-2].filename == __file__
    assert len([frame for frame in frames if "/ckptkit/" in frame.filename]) == 1


def test_an_error_of_the_users_code_ends_in_the_users_code(tmp_path):
    import keras
    import numpy as np

    class Failing(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise ZeroDivisionError

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ZeroDivisionError) as in_fit:
        model.fit(
            np.ones((4, 2)),
            np.ones((4, 1)),
            verbose=0,
            callbacks=[ckptkit.CheckpointCallback(tmp_path / "a", export=False), Failing()],
        )
    manager = ckptkit.CheckpointManager(tmp_path / "b", {"model": model})
    with pytest.raises(ZeroDivisionError) as in_loop, manager:
        for _ in manager.steps(3):
            raise ZeroDivisionError
    for caught in (in_fit, in_loop):
        assert traceback.extract_tb(caught.tb)[-1].filename == __file__
