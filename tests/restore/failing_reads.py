"""Opens, verifies, restores and loads a run while the system refuses calls on its files.

Each case has a process of its own, in which one call, some calls or all later ones fail with one
error number: those of Python and those of TensorFlow's C++ (see `failing_calls.c`). Prints how many
cases ended how, as JSON. Arguments: an empty directory, the first seed, then `errno COUNT` for
COUNT cases of each error number and each way, `memory COUNT` or `files COUNT` for limits.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import resource
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from ckptkit.run.verify import verify
from tests.load.forged_sources import in_a_process

MISSING = {errno.ENOENT, errno.ENOTDIR}
"""A call that always says so looks like a file that is missing in truth."""


def model() -> keras.Model:
    made = keras.Sequential([keras.Input((40,)), keras.layers.Dense(30), keras.layers.Dense(2)])
    made.compile("adam", "mse")
    return made


def manager(run: Path, made: keras.Model) -> ckptkit.CheckpointManager:
    return ckptkit.CheckpointManager(
        run, {"model": made}, keep=ckptkit.KeepLatest(9), background=False
    )


def write(run: Path) -> None:
    made = model()
    made.fit(np.ones((4, 40)), np.ones((4, 2)), verbose=0)
    with manager(run, made) as opened:
        for step in (1, 2):
            made.variables[0].assign(tf.fill(made.variables[0].shape, float(step)))
            opened.save(step)


def check_values(made: keras.Model, step: int) -> str:
    assert (np.asarray(made.weights[0]) == step).all(), f"wrong values for step {step}"
    return f"step {step}"


def opening(run: Path, made: keras.Model) -> str:
    with manager(run, made) as opened:
        step = opened.restore_or_initialize().step
        assert step, "a new run was begun over an older one"
        return check_values(made, step)


def restoring(run: Path, made: keras.Model) -> str:
    with manager(run, made) as opened:
        opened.restore(2)
    return check_values(made, 2)


def loading(run: Path, made: keras.Model) -> str:
    ckptkit.load_weights(made, run, step=2)
    return check_values(made, 2)


def verifying(run: Path, made: keras.Model) -> str:
    found = ckptkit.open_run(run).checkpoints
    for checkpoint in found:
        verify(checkpoint)
    return f"{len(found)} verified"


WAYS: dict[str, Callable[[Path, keras.Model], str]] = {
    way.__name__: way for way in (opening, restoring, loading, verifying)
}


def tried(way: str, run: Path, limit: Callable[[], Callable[[], object]]) -> str:
    made = model()
    if way in ("opening", "restoring", "loading"):
        made.optimizer.build(made.trainable_variables)
    end = limit()
    try:
        outcome = WAYS[way](run, made)
    except (ckptkit.CheckpointError, OSError, MemoryError) as error:
        outcome = type(error).__name__
        if isinstance(error, ckptkit.CorruptCheckpointError | ckptkit.CheckpointNotFoundError):
            outcome = f"WRONG {outcome}: {error}"
    except BaseException as error:
        outcome = f"WRONG {type(error).__name__}: {error}"
    end()
    return outcome


def kept(run: Path) -> bool:
    """Whether both checkpoints are good, and in their places."""
    names = sorted(path.name for path in (run / "checkpoints").glob("ckpt-*"))
    if names != ["ckpt-1-1", "ckpt-2-1"] or (run / "quarantine").exists():
        return False
    for checkpoint in ckptkit.open_run(run).checkpoints:
        verify(checkpoint)
    return True


class Calls:
    """The library that lets calls fail."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        for name in ("begin_failing", "calls_seen"):
            getattr(self.library, name).restype = ctypes.c_long
        self.library.begin_failing.argtypes = [
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_long,
            ctypes.c_long,
        ]

    def fail(self, run: Path, number: int, at: int, times: int) -> Callable[[], object]:
        self.library.begin_failing(bytes(run), number, at, times)
        return self.library.end_failing


def few_files(free: int) -> Callable[[], object]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        for descriptor in taken[:free]:
            os.close(descriptor)
    return lambda: [os.close(each) for each in taken[free:]]


def little_memory(spare_bytes: int) -> Callable[[], object]:
    tf.zeros([10]).numpy()
    status = Path("/proc/self/status").read_text()
    limit = (int(status.partition("VmSize:")[2].split()[0]) << 10) + spare_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return lambda: None


def main() -> None:
    directory, seed, kind, count = Path(sys.argv[1]), *map(str, sys.argv[2:4]), int(sys.argv[4])
    good, run, said = directory / "good", directory / "run", directory / "said"
    chosen = random.Random(int(seed))

    def prepare() -> str:
        write(good)
        return "written"

    assert in_a_process(prepare, said) == "written"
    ends: Counter[str] = Counter()

    def case(way: str, limit: Callable[[], Callable[[], object]], shown: str) -> str:
        shutil.copytree(good, run)
        outcome = in_a_process(lambda: tried(way, run, limit), said)
        if not kept(run):
            outcome = f"WRONG moved, {outcome}"
        shutil.rmtree(run)
        ends[f"{way}: {outcome}" + (f" {shown}" if "WRONG" in outcome else "")] += 1
        return outcome

    if kind == "errno":
        calls, totals = Calls(), {}
        for way in WAYS:

            def counted(way: str = way) -> str:
                tried(way, run, lambda: calls.fail(run, 0, 1, 0))
                return str(calls.library.calls_seen())

            shutil.copytree(good, run)
            totals[way] = int(in_a_process(counted, said))
            shutil.rmtree(run)
        print("calls", json.dumps(totals), flush=True)
        numbers = sorted(errno.errorcode)
        for number in chosen.sample(numbers, len(numbers) if count else 20) * max(count, 1):
            # Without a count it is a short look: one way for each of a few numbers.
            for way in WAYS if count else [chosen.choice(list(WAYS))]:
                at = chosen.randint(1, totals[way])
                times = chosen.choice([1, 2, 5] if number in MISSING else [1, 2, 5, 0])
                case(
                    way,
                    lambda way=way, at=at, times=times, number=number: calls.fail(
                        run, number, at, times
                    ),
                    f"{errno.errorcode[number]} at {at}, {times} times",
                )
            print("so far", json.dumps(ends), flush=True)
    for way in WAYS if kind != "errno" else ():
        for number in range(count):
            if kind == "files":
                case(way, lambda number=number: few_files(number), f"{number} free")
            else:
                spare = chosen.randrange(64 << 20)
                case(way, lambda spare=spare: little_memory(spare), f"{spare} bytes free")
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
