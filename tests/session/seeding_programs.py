"""Programs that call `ckptkit.seeded`; each returns what a test compares."""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from ckptkit.layout import RunLayout
from ckptkit.run.audit_settings import ENVIRONMENT, AuditInstructions, write_instructions
from ckptkit.run.seed_file import read_seed


def draws() -> list[float]:
    rows = tf.data.Dataset.range(100).shuffle(100).take(3)
    return [
        random.random(),
        float(np.random.rand()),
        float(keras.random.normal(())),
        float(tf.random.normal(())),
        *(float(row) for row in rows),
        *(float(each) for each in keras.layers.Dropout(0.5)(np.ones(8), training=True)),
    ]


def every_generator(directory: str) -> dict[str, Any]:
    """The draws of two starts on one run, and of a start on another run."""
    one = [(ckptkit.seeded(directory + "/one"), draws()) for _ in range(2)]
    return {"one": one, "other": (ckptkit.seeded(directory + "/other"), draws())}


def devices_afterwards(directory: str) -> int:
    """TensorFlow is not initialized, so the program may still configure it."""
    ckptkit.seeded(directory)
    tf.config.threading.set_inter_op_parallelism_threads(3)
    return int(tf.config.threading.get_inter_op_parallelism_threads())


def errors(directory: str) -> dict[str, str]:
    """What each wrong directory raises."""
    root = Path(directory)
    (root / "file").write_text("")
    (root / "models").mkdir()
    (root / "models" / "best.keras").write_text("")
    (root / "data").mkdir()
    (root / "data" / "photo.png").write_text("")
    (root / "linked").mkdir()
    (root / "linked" / "seed").symlink_to(root)
    found = {}
    for name in ("file", "file/run", "data", "models", "linked", "{trial}", "$NOT_SET/run"):
        try:
            ckptkit.seeded(root / name if name[0] != "$" else name)
        except ckptkit.CheckpointError as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def with_the_run_open(directory: str) -> list[str]:
    """The warnings of `seeded` and of the manager, with the run closed and open."""
    root, said = Path(directory) / "run", Said()
    root.mkdir()
    (root / "notes.txt").write_text("")
    ckptkit.seeded(root)
    with ckptkit.CheckpointManager(root, {"weight": tf.Variable(1.0)}) as manager:
        for _ in manager.steps(1):
            pass
        ckptkit.seeded(root)
    return said.lines


class Said(logging.Handler):
    """The warnings of ckptkit."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        logging.getLogger("ckptkit").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def in_an_audit(directory: str) -> dict[str, Any]:
    """The seeds of one run in two trainings of an audit, of another run, and of the user's run."""
    root, seeds = Path(directory), []
    for training in ("first", "second"):
        home = root / training
        home.mkdir()
        write_instructions(home / "instructions.json", AuditInstructions(home=str(home)))
        os.environ[ENVIRONMENT] = str(home / "instructions.json")
        seeds.append([ckptkit.seeded(root / "runs" / name) for name in ("one", "two")])
    return {"seeds": seeds, "user": read_seed(RunLayout(root / "runs" / "one"))}
