"""Gives forged files to every function that reads them, each time in a process of its own.

Prints how the processes ended, as JSON: {"signal SIGABRT": 3, "CorruptCheckpointError": 40, ...}.
Arguments: an empty directory, the first seed, the number of cases, `unchecked` to leave our own
check out.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from ckptkit.bundle import tensor_bundle
from ckptkit.load import exported_model, formats, model_description, tf_checksums
from tests.support.forged_bundles import forge, reseal, tamper

MEMORY_BYTES = 1 << 36


def model() -> keras.Model:
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    made.compile("adam", "mse")
    return made


def manager(run: Path, made: keras.Model) -> ckptkit.CheckpointManager:
    return ckptkit.CheckpointManager(run, {"model": made}, background=False)


def write_good(good: Path) -> None:
    """Writes a run, a checkpoint of TensorFlow and a SavedModel."""
    made = model()
    made.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    with manager(good / "run", made) as opened:
        opened.save(1)
    tf.train.Checkpoint(model=made).write(str(good / "plain" / "model"))
    made.export(good / "exported", verbose=False)


def restore(run: Path) -> None:
    with manager(run, model()) as opened:
        opened.restore_or_initialize()
    if (run / "quarantine").exists():
        raise ckptkit.CorruptCheckpointError("it was moved to quarantine")


WAYS: dict[str, Callable[[Path], object]] = {
    "load_weights of a run": lambda place: ckptkit.load_weights(model(), place / "run"),
    "load_model of a run": lambda place: ckptkit.load_model(place / "run"),
    "restore of a run": lambda place: restore(place / "run"),
    "load_weights": lambda place: ckptkit.load_weights(model(), place / "plain" / "model"),
    "describe": lambda place: model_description.describe(
        formats.recognise(place / "plain" / "model")
    ),
    "check_sums": lambda place: tf_checksums.check_sums(place / "plain" / "model"),
    "load_exported": lambda place: ckptkit.load_exported(place / "exported"),
}
PREFIXES = {"run": "run/checkpoints/ckpt-1-1/ckpt-1", "exported": "exported/variables/variables"}


def in_a_process(action: Callable[[], str], said: Path) -> str:
    """Run an action in a forked process; return what it returns, or how the process ended."""
    child = os.fork()
    if not child:
        said.write_text("no answer")
        try:
            said.write_text(action())
        finally:
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return said.read_text()


def one_case(good: Path, place: Path, seed: int) -> str:
    chosen = random.Random(seed)
    way = chosen.choice(list(WAYS))
    shutil.copytree(good, place)
    prefix = place / next((PREFIXES[each] for each in PREFIXES if each in way), "plain/model")
    if prefix.parent.name == "plain" and chosen.random() < 0.3:
        forge(prefix, chosen)
    else:
        tamper(prefix, chosen)
    if "run" in way:
        reseal(prefix.parent)
    try:
        WAYS[way](place)
    except ckptkit.CheckpointError as error:
        return type(error).__name__
    except BaseException as error:
        return f"{seed}: {way}: {type(error).__name__}: {error}"
    return "read"


def main() -> None:
    directory, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if "unchecked" in sys.argv:
        for module in (tensor_bundle, tf_checksums, exported_model):
            module.check_bundle = lambda *_: None
    good, place, said = directory / "good", directory / "place", directory / "said"

    def prepare() -> str:
        write_good(good)
        return "written"

    assert in_a_process(prepare, said) == "written"
    ends: Counter[str] = Counter()
    for seed in range(first, first + count):
        # TensorFlow has no threads here yet, so a fork is sound.
        end = in_a_process(lambda seed=seed: one_case(good, place, seed), said)
        if end.startswith("signal"):
            print(seed, end, file=sys.stderr)
        ends[end] += 1
        shutil.rmtree(place)
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
