"""Count the files and functions of the package that a save, and a resume, pass through.

The fewer there are, the less a reader has to open to follow one save. Three things are traced, each
with all threads that it starts:

- a save in a custom loop, from the call to the end of the write;
- opening a run and restoring its newest checkpoint in a custom loop;
- the same in `fit`, until the first batch after the restored position.

Usage: python scripts/benchmarks/traced_files.py [--functions]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

STEPS, BATCH = 6, 4


class Trace:
    """The functions of the package that were entered, as (file, qualified name)."""

    def __init__(self, package: Path) -> None:
        self._package = f"{package}{os.sep}"
        self.functions: set[tuple[str, str]] = set()

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        # Comprehensions and lambdas belong to the function around them; "<module>" is an import.
        name = code.co_qualname.split(".<locals>.<")[0]
        if event == "call" and code.co_filename.startswith(self._package) and "<" not in name[:1]:
            self.functions.add((code.co_filename.removeprefix(self._package), name))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Trace this thread and each thread that starts inside the block."""
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    @property
    def files(self) -> set[str]:
        return {file for file, _ in self.functions}

    def rooms(self) -> Counter[str]:
        """How many files of each room were entered; a file at the top is a room of its own."""
        return Counter(Path(file).parts[0].removesuffix(".py") for file in self.files)


def trace_loop(package: Path, directory: Path) -> tuple[Trace, Trace]:
    """Trace a save, and then opening and restoring, in a custom loop."""
    import tensorflow as tf

    import ckptkit

    def new_manager() -> Any:
        return ckptkit.CheckpointManager(
            directory, {"weight": tf.Variable(tf.zeros((8, 8)))}, save=ckptkit.EveryNSteps(10**6)
        )

    saving, resuming = Trace(package), Trace(package)
    manager = new_manager()
    manager.restore_or_initialize()
    manager.save(1)
    manager.wait_until_finished()  # the first save is special: it stores what is stored once
    with saving.recording():
        manager.save(2)
        manager.wait_until_finished()
    manager.close()
    with resuming.recording():
        manager = new_manager()
        position = manager.restore_or_initialize()
    manager.close()
    assert position.step == 2, position
    return saving, resuming


def trace_fit(package: Path, directory: Path) -> Trace:
    """Trace opening and restoring in `fit`, up to the first batch that trains."""
    import keras
    import numpy as np

    import ckptkit

    class Stop(keras.callbacks.Callback):
        """Ends training by an exception at one batch, so that the run stays unfinished."""

        def __init__(self, at: int) -> None:
            super().__init__()
            self._left = at

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self._left -= 1
            if self._left == 0:
                sys.setprofile(None)
                raise InterruptedError

    def train(at: int) -> None:
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        x = np.ones((BATCH * STEPS, 2), "float32")
        ours = ckptkit.CheckpointCallback(directory, save=ckptkit.EveryNSteps(2), export=False)
        try:
            model.fit(
                x, x[:, :1], batch_size=BATCH, epochs=2, verbose=0, callbacks=[ours, Stop(at)]
            )
        except InterruptedError:
            return
        raise AssertionError("training was to be stopped")

    train(at=5)
    resuming = Trace(package)
    with resuming.recording():
        train(at=1)
    return resuming


def report(name: str, trace: Trace, functions: bool) -> None:
    print(f"{name}: {len(trace.files)} files, {len(trace.functions)} functions")
    rooms = trace.rooms()
    print("  " + ", ".join(f"{room} {count}" for room, count in sorted(rooms.items())))
    if functions:
        for file, function in sorted(trace.functions):
            print(f"    {file}: {function}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--functions", action="store_true", help="also list every function")
    options = parser.parse_args()
    import ckptkit

    package = Path(ckptkit.__file__).parent
    with tempfile.TemporaryDirectory() as directory:
        saving, resuming = trace_loop(package, Path(directory) / "loop")
        in_fit = trace_fit(package, Path(directory) / "fit")
    report("a save in a loop", saving, options.functions)
    report("opening and restoring in a loop", resuming, options.functions)
    report("opening and restoring in fit", in_fit, options.functions)


if __name__ == "__main__":
    main()
