"""Programs about signal handlers: which are there, who calls them, who inherits them. Each asserts
for itself, and prints what it saw.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import ckptkit
from tests.preemption.holds import samples

NUMBERS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class At(keras.callbacks.Callback):
    """Does something at one moment.

    Args:
        event: name of a callback's method.
        count: at which of its calls, from 1.
        action: what.
    """

    def __init__(self, event: str, count: int, action: Callable[[], Any]) -> None:
        super().__init__()
        self.left = count
        self.action = action
        setattr(self, event, self.happened)

    def get_state(self) -> None:
        """Nothing is to be remembered over a restart."""

    def set_state(self, state: None) -> None:
        """See `get_state`."""

    def happened(self, *args: Any, **options: Any) -> None:
        self.left -= 1
        if self.left == 0:
            self.action()


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def new_model() -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def fit(
    run: str | ckptkit.CheckpointManager,
    *callbacks: Any,
    model: keras.Model | None = None,
    data: Any = None,
    epochs: int = 2,
    **options: Any,
) -> keras.Model:
    """Two epochs of four steps, each with an evaluation."""
    model = model or new_model()
    x, y = samples(32)
    if data is None:
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    if not isinstance(run, ckptkit.CheckpointManager):
        options = {"background": False, **options}
    model.fit(
        data,
        epochs=epochs,
        validation_data=(x, y),
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, ckptkit.CheckpointCallback(run, export=False, **options)],
    )
    return model


def present() -> dict[str, Any]:
    """What we change in an interpreter while a run is open."""
    wakeup = None
    if threading.current_thread() is threading.main_thread():
        wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup)
    return {
        "handlers": [signal.getsignal(number) for number in NUMBERS],
        "wakeup": wakeup,
        "hook": sys.excepthook,
        "threads": [
            thread.name for thread in threading.enumerate() if thread.name.startswith("ckptkit")
        ],
    }


def ends_of(run: str) -> list[str]:
    return [
        event.outcome for event in ckptkit.open_run(run).journal if event.event == "attempt_ended"
    ]


def restored_after(directory: str, ending: str) -> None:
    """After every way in which a run can end, `finished`, `preempted` or `failed`, all is as it was
    before.
    """
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    before = present()
    seen = []

    def fails() -> None:
        seen.append(present())
        raise ValueError("no!")

    def bad_data() -> Any:
        x, y = samples(32)
        for _ in range(5):
            yield x[:8], y[:8]
        raise ValueError("no!")

    class BadStep(keras.Sequential):
        def train_step(self, data: Any) -> Any:
            raise ValueError("no!")

    def bad_model() -> keras.Model:
        model = BadStep([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        return model

    ways: dict[str, Callable[[str], Any]] = {
        "finished": lambda run: fit(
            run, At("on_train_batch_end", 3, lambda: seen.append(present()))
        ),
        "in the training step": lambda run: fit(run, model=bad_model()),
        "in another callback's batch": lambda run: fit(run, At("on_train_batch_end", 3, fails)),
        "in another callback's epoch": lambda run: fit(run, At("on_epoch_end", 1, fails)),
        "in another callback's first event": lambda run: fit(run, At("on_epoch_begin", 1, fails)),
        "in another callback's last event": lambda run: fit(run, At("on_train_end", 1, fails)),
        "in an evaluation": lambda run: fit(run, At("on_test_batch_end", 1, fails)),
        "in the data": lambda run: fit(run, data=bad_data()),
        "in a loop": lambda run: loop(run, lambda step: fails() if step == 3 else None),
        "preempted": lambda run: fit(run, At("on_train_batch_end", 3, send(signal.SIGTERM))),
        "preempted in an evaluation": lambda run: fit(
            run, At("on_test_batch_end", 1, send(signal.SIGTERM))
        ),
        "preempted at the end": lambda run: fit(run, At("on_train_end", 1, send(signal.SIGTERM))),
        "preempted loop": lambda run: loop(
            run, lambda step: send(signal.SIGTERM)() if step >= 3 else None
        ),
        "interrupted": lambda run: fit(run, At("on_train_batch_end", 3, send(signal.SIGINT))),
        "finished loop": lambda run: loop(
            run, lambda step: seen.append(present()) if step == 3 else None
        ),
    }
    for number, (name, way) in enumerate(ways.items()):
        run = f"{directory}/{number}"
        expected = (
            "finished"
            if name.startswith("finished")
            else "preempted"
            if name.startswith(("preempted", "interrupted"))
            else "failed"
        )
        if expected != ending:
            continue
        # The lock is free at once, and a second start meets the same end.
        for start in (1,) if expected == "finished" else (1, 2):
            seen.clear()
            raised: BaseException | None = None
            try:
                way(run)
            except (ckptkit.Preempted, KeyboardInterrupt, Exception) as error:
                raised = error  # with its traceback, in which the frames of fit are alive
            after = present()
            assert isinstance(raised, ckptkit.Preempted | KeyboardInterrupt) == (
                expected == "preempted"
            ), (name, raised)
            assert ("no!" in str(raised)) == (expected == "failed"), (name, raised)
            ends = ends_of(run)
            assert after == before, (name, start, after)
            assert ends == [expected] * start, (name, start, ends)
            for during in seen:
                assert during["handlers"] != before["handlers"], name
                assert "ckptkit-signals" in during["threads"], name
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN


def loop(run: str, body: Callable[[int], Any], total: int = 5) -> None:
    weight = tf.Variable(0.0)
    with ckptkit.CheckpointManager(run, {"weight": weight}) as manager:
        for step in manager.steps(total):
            weight.assign_add(1.0)
            body(step)


def off_the_main_thread(directory: str) -> None:
    """Training in a thread: no handlers, no error, one line, and request_stop()."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("ckptkit").addHandler(handler)
    logging.getLogger("ckptkit").setLevel(logging.INFO)
    before = present()
    during: list[Any] = []
    ended: list[Any] = []

    def in_thread(what: Callable[[], Any]) -> None:
        def target() -> None:
            try:
                what()
                ended.append("finished")
            except BaseException as error:
                ended.append(error)

        thread = threading.Thread(target=target)
        thread.start()
        thread.join()

    run = f"{directory}/plain"
    in_thread(lambda: fit(run, At("on_train_batch_end", 3, lambda: during.append(present()))))
    assert ended == ["finished"], ended
    assert [(each["handlers"], each["threads"]) for each in during] == [
        (before["handlers"], ["ckptkit-lock", "ckptkit-control"])
    ]
    assert sum("does not run on the main thread" in line for line in lines) == 1, lines
    assert ends_of(run) == ["finished"]

    run = f"{directory}/stopped"
    model = new_model()
    manager = ckptkit.CheckpointManager(run, {"model": model})
    in_thread(
        lambda: fit(
            manager,
            At("on_train_batch_end", 3, lambda: manager.request_stop("a button")),
            model=model,
        )
    )
    assert isinstance(ended[1], ckptkit.Preempted), ended
    assert (ended[1].code, ended[1].step) == (75, 3)
    assert ends_of(run) == ["preempted"]
    in_thread(lambda: fit(run))
    assert ended[2:] == ["finished"]
    assert ends_of(run) == ["preempted", "finished"]
    assert present() == before


def square(number: int) -> int:
    return number * number


def keep_busy(sign: Path) -> None:
    sign.touch()
    time.sleep(100)


def pool_inside(directory: str) -> None:
    """A pool of forked processes inside training, ended by terminate(), which sends SIGTERM and
    waits.
    """
    seen: list[Any] = []

    def use_a_pool() -> None:
        context = multiprocessing.get_context("fork")
        with context.Pool(2) as pool:
            seen.append(pool.map(square, range(4)))
            busy = [Path(directory) / f"busy-{number}" for number in range(2)]
            pool.map_async(keep_busy, busy, chunksize=1)
            while not all(path.exists() for path in busy):
                time.sleep(0.01)
            children = pool._pool  # type: ignore[attr-defined]
            began = time.monotonic()
            pool.terminate()
            pool.join()
            seen.append(time.monotonic() - began)
            assert all(child.exitcode == -signal.SIGTERM for child in children), [
                child.exitcode for child in children
            ]

    fit(f"{directory}/run", At("on_train_batch_end", 3, use_a_pool))
    assert seen[0] == [0, 1, 4, 9]
    assert seen[1] < 5, seen
    assert ends_of(f"{directory}/run") == ["finished"]


def child_handlers(directory: str) -> None:
    """A forked child has the handlers that it would have had without us, and its parent keeps its
    own.
    """

    def handler(*args: Any) -> None:
        pass

    signal.signal(signal.SIGTERM, handler)
    outside = present()

    def fork() -> None:
        during = present()
        assert during["handlers"] != outside["handlers"]
        pid = os.fork()
        if pid == 0:
            wakeup = signal.set_wakeup_fd(-1)
            same = [signal.getsignal(number) for number in NUMBERS] == outside[
                "handlers"
            ] and wakeup == -1
            os._exit(0 if same else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert present() == during, "the parent's own are untouched"

    fit(f"{directory}/run", At("on_train_batch_end", 3, fork))


def leaves_an_orphan(run: str) -> None:
    """Forks a child that outlives it, and waits to be killed."""

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            time.sleep(100)
            os._exit(0)
        print("child", pid, flush=True)
        time.sleep(100)

    fit(run, At("on_train_batch_end", 3, fork), save=ckptkit.EveryNSteps(1))


def saves(run: str) -> list[int]:
    return [event.step for event in ckptkit.open_run(run).journal if event.event == "saved"]


def handler_from_before(run: str, number: str, then: str, *callbacks: Any) -> None:
    """A handler that was there before ours, as a job library sets one: it looks whether a
    checkpoint is there, and leaves in its own way.
    """

    def requeue(signum: int, frame: Any) -> None:
        assert signum == signal.Signals[number]
        print("handler", saves(run), ends_of(run), flush=True)
        if then == "exit":
            sys.exit(42)
        if then == "_exit":
            os._exit(43)

    signal.signal(signal.Signals[number], requeue)
    fit(run, *callbacks, At("on_train_batch_end", 7, send(signal.Signals[number])))
    print("went on", flush=True)


def ignored(run: str) -> None:
    """SIGUSR1 that is ignored stays ignored."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    fit(run, At("on_train_batch_end", 3, send(signal.SIGUSR1)))
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN


def stopped_by_request(run: str) -> None:
    """request_stop() in a loop."""
    weight = tf.Variable(0.0)
    with ckptkit.CheckpointManager(run, {"weight": weight}) as manager:
        for step in manager.steps(10):
            weight.assign_add(1.0)
            if step == 4:
                manager.request_stop("enough")
    print("weight", float(weight))


def other_signals(run: str) -> None:
    """Signals and an exit code of the user's own choice."""
    fit(
        run,
        At("on_train_batch_end", 3, send(signal.SIGUSR2)),
        preemption=ckptkit.Preemption(signals=("SIGUSR2",), exit_code=7),
    )


class Lines(keras.callbacks.Callback):
    """Writes a line for each batch to a file that Python buffers."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.file = open(path, "w")  # noqa: SIM115

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.file.write(f"{batch}\n")


def flushes(run: str) -> None:
    """Preempted in the second epoch, with files of other callbacks open; leaves through os._exit,
    where Python flushes nothing.
    """
    handler_from_before(
        run,
        "SIGTERM",
        "_exit",
        Lines(f"{run}.lines"),
        keras.callbacks.CSVLogger(f"{run}.csv"),
        keras.callbacks.TensorBoard(f"{run}-events", update_freq=1),
    )
