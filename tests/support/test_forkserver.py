"""The fork server's children are what `python script.py` is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import ROOT, ForkServer

if TYPE_CHECKING:
    from tests.conftest import Start

# What a program can see of itself, in a form that a child and a new process must agree on.
LOOK = """
    import atexit, os, signal, sys, threading, inspect
    atexit.register(print, "at exit")
    class Here: pass
    main = sys.modules["__main__"]
    print(sys.argv[1:], __name__, Here.__module__, main.Here is Here, __file__ == sys.argv[0])
    print(sys.path[0] == os.path.dirname(os.path.abspath(__file__)))
    print("tests/support" in " ".join(sys.path))
    print(os.getcwd(), os.environ.get("COLOUR"), os.environ.get("TF_CPP_MIN_LOG_LEVEL"))
    print(sys.stdin.read() == "")
    print({s.name: str(signal.getsignal(s)) for s in signal.Signals})
    print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    print(threading.current_thread() is threading.main_thread(), threading.active_count())
    print(os.getsid(0) == os.getpid() == os.getpgid(0))
    print(sorted(os.listdir("/proc/self/fd"), key=int)[:4])
    print(sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors)
    print(inspect.getsource(Here))
    print("to stderr", file=sys.stderr)
    sys.exit(7)
"""


def test_a_child_sees_what_a_new_process_sees(
    tf_process: Start, fresh_process: Start, tmp_path: Path
) -> None:
    script = tmp_path / "look.py"
    script.write_text(textwrap.dedent(LOOK))
    seen = []
    for start in (tf_process, fresh_process):
        process = start(script, "a b", "--c", cwd=tmp_path, env={"COLOUR": "red"}).check(code=7)
        seen.append((process.stdout, process.stderr))
    assert seen[0] == seen[1]
    assert "at exit" in seen[0][0]


@pytest.mark.parametrize(
    ("ending", "code", "says"),
    [
        ("pass", 0, ""),
        ("raise SystemExit('no')", 1, "no\n"),
        ("import sys; sys.exit(75)", 75, ""),
        ("raise ValueError('bad')", 1, "ValueError: bad\n"),
        ("def f(:", 1, "SyntaxError: invalid syntax\n"),
        ("import os; os._exit(9)", 9, ""),
        ("import os; os.abort()", -signal.SIGABRT, ""),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
            -signal.SIGINT,
            "KeyboardInterrupt\n",
        ),
        ("import threading; threading.Thread(target=lambda: print('done')).start()", 0, ""),
    ],
)
def test_it_ends_as_a_new_process_ends(
    tf_process: Start, ending: str, code: int, says: str
) -> None:
    process = tf_process(ending).check(code=code)
    assert process.stderr.endswith(says) if says else not process.stderr
    assert ("done" in process.stdout) == ("done" in ending)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP]
)
def test_signals_end_a_child_as_they_end_a_new_process(
    tf_process: Start, number: signal.Signals
) -> None:
    process = tf_process("import time; print('ready'); time.sleep(60)")
    process.wait_for_output("ready")
    assert process.poll() is None
    process.send_signal(number)
    assert process.wait(20) == -number
    assert ("KeyboardInterrupt" in process.stderr) == (number == signal.SIGINT)


def test_a_handler_of_the_script_is_called(tf_process: Start) -> None:
    process = tf_process("""
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
        print("ready")
        time.sleep(60)
    """)
    process.wait_for_output("ready")
    process.send_signal(signal.SIGTERM)
    process.check(code=3)


TRAIN = """
    import random
    import keras, numpy as np, tensorflow as tf
    drawn = tf.random.uniform(()).numpy(), keras.random.uniform(()).numpy()
    print("random", random.random(), np.random.random(), *drawn)
    layers = [keras.layers.Dense(8), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", "mse")
    data = tf.data.Dataset.range(512).shuffle(64)
    data = data.map(lambda i: (tf.ones(4), [0.0]), num_parallel_calls=4).batch(8).prefetch(4)
    model.fit(data.repeat(2), verbose=0)
    a = tf.random.normal((600, 600))
    devices = len(tf.config.list_physical_devices())
    print([layer.name for layer in model.layers], float(tf.reduce_sum(a @ a)) != 0, devices)
"""


def test_children_train_side_by_side_and_share_no_random_state_and_no_names(
    tf_process: Start,
) -> None:
    processes = [tf_process(TRAIN) for _ in range(6)]
    texts = [process.check().stdout.splitlines() for process in processes]
    numbers = [number for line, _ in texts for number in line.split()[1:]]
    assert len(set(numbers)) == len(numbers) == 24
    assert {line for _, line in texts} == {"['dense', 'dropout', 'dense_1'] True 1"}


def test_a_function_returns_its_result(tf_call: Start) -> None:
    assert tf_call("json:loads", '{"a": [1, 2]}').check().result == {"a": [1, 2]}
    failed = tf_call("json:loads", "nonsense")
    failed.check(code=1)
    assert "JSONDecodeError" in failed.stderr


def test_a_hang_is_an_error_with_what_was_written(tf_process: Start) -> None:
    process = tf_process("import time; print('got here'); time.sleep(60)")
    process.wait_for_output("got here")
    with pytest.raises(TimeoutError, match="got here"):
        process.wait(0.1)
    with pytest.raises(AssertionError, match="got here"):
        process.wait_for_output("and there", timeout=0.1)
    assert process.kill() == -signal.SIGKILL
    with pytest.raises(AssertionError, match="expected exit code 0"):
        process.check()


def test_a_request_that_cannot_be_served_leaves_the_server_as_it_was(tf_process: Start) -> None:
    process = tf_process("pass", env={"BAD": "a\0b"})
    process.check(code=1)
    assert "embedded null byte" in process.stderr
    tf_process("pass").check()


def test_the_server_takes_its_children_with_it_and_ends_with_its_parent() -> None:
    # The parent is killed, so nothing can tidy up; sleeping is what its child does, in a process
    # group of its own.
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""
        import time
        from tests.support.processes import ForkServer
        server = ForkServer()
        process = server.fresh("import time; print('ready'); time.sleep(300)")
        process.wait_for_output("ready")
        print(server.pid, process.pid, process.directory, flush=True)
        time.sleep(300)
    """),
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert parent.stdout is not None
    *numbers, directory = parent.stdout.readline().split()
    pids = [int(text) for text in numbers]
    assert len(pids) == 2
    assert all(_runs(pid) for pid in pids)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 20
    while any(_runs(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.02)
    assert [pid for pid in pids if _runs(pid)] == []
    assert not Path(directory).exists()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_closed_server_leaves_nothing_behind() -> None:
    server = ForkServer()
    process = server.fresh("import time; print('ready'); time.sleep(300)")
    process.wait_for_output("ready")
    server.close()
    assert not _runs(process.pid)
    assert not _runs(server.pid)
    assert not process.directory.exists()
