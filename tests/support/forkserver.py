"""A process that has imported TensorFlow and run nothing, and forks a fresh child for each request.

Importing TensorFlow takes four seconds, a fork of a process that has done so some milliseconds.
That is sound because an import starts no thread (OpenBLAS would start one: it is told not to) and
runs no operation; the children make their own threads, devices, kernels and random states.

This file is the server's program. It reads one request a connection from a Unix socket, answers
`{"pid": ...}`, and says `{"code": ...}` over the same connection when that process has ended; a
death by a signal is the negative number of the signal. It ends when its standard input does, that
is with the process that started it, and takes all its children with it.

A child is as near to `python script.py` as it can be: `__main__` is a module of its own made from
the script, `sys.argv` and `sys.path[0]` are the script's, the working directory, environment,
session and output files are its own, standard input is empty, all signals have the dispositions of
a new process, random states are seeded anew, and it ends through the interpreter's own
finalisation: uncaught exceptions, `SystemExit`, `KeyboardInterrupt`, `atexit` and threads are
treated as always. With `dies_with_asker` it is killed if the connection is closed before it has
ended.

What differs from a new process:

- What TensorFlow and Python read from the environment when they start (`TF_ENABLE_ONEDNN_OPTS`,
  `TF_CPP_MIN_LOG_LEVEL`, `PYTHONPATH`, `PYTHONHASHSEED`, `LD_PRELOAD`...) is the server's; a
  child's environment comes too late for it. All children hash strings alike, so an order that
  depends on hashes does not show between two of them.
- TensorFlow, Keras, NumPy and ckptkit are in `sys.modules` from the start, so nothing about imports
  can be shown.
- NumPy's OpenBLAS has one thread.
- Objects of the imports are not among `gc.get_objects()`.
- A traceback begins with one line of this file.

Where one of these matters, ask for a new Python: a request with `fresh` is executed by the server
in the same way, and shares nothing.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import importlib.machinery
import io
import json
import os
import random
import selectors
import shutil
import signal
import socket
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MAX_REQUEST_BYTES = 1 << 24


class Server:
    """Takes requests until standard input ends.

    Args:
        address: the Unix socket to listen on. Its directory is removed in the end.
    """

    def __init__(self, address: str) -> None:
        self._directory = Path(address).parent
        self._children: dict[int, socket.socket] = {}
        self._imported = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen(16)
        self._wake_reader, self._wake_writer = socket.socketpair()
        for end in (self._wake_reader, self._wake_writer):
            end.setblocking(False)
        self._selector = selectors.DefaultSelector()
        for source in (self._listener, self._wake_reader, sys.stdin):
            self._selector.register(source, selectors.EVENT_READ)

    def serve(self) -> dict[str, Any] | None:
        """Returns None when the server is to end, and, in each child, the request that it is to
        run.
        """
        signal.signal(signal.SIGCHLD, lambda signum, frame: None)  # only to wake the selector
        signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        while True:
            ready = {key.fileobj for key, _ in self._selector.select()}
            if self._wake_reader in ready:
                with contextlib.suppress(BlockingIOError):
                    self._wake_reader.recv(4096)
                self._reap()
            if self._listener in ready:
                request = self._accept()
                if request is not None:
                    return request
            for pid in [pid for pid, connection in self._children.items() if connection in ready]:
                self._selector.unregister(self._children[pid])
                for end in (
                    os.killpg,
                    os.kill,
                ):  # the asker has gone; the child may not lead its group yet
                    with contextlib.suppress(OSError):
                        end(pid, signal.SIGKILL)
            if sys.stdin in ready and not os.read(0, 1):
                self._end()
                return None

    def _accept(self) -> dict[str, Any] | None:
        connection, _ = self._listener.accept()
        try:
            request = self._receive(connection)
            if not request["fresh"]:
                self._import()
            pid = os.fork()
        except Exception as error:
            self._send(connection, {"error": f"{type(error).__name__}: {error}"})
            connection.close()
            return None
        if pid == 0:
            self._become_child(connection)
            return request
        self._children[pid] = connection
        if request.get("dies_with_asker"):
            self._selector.register(connection, selectors.EVENT_READ)
        self._send(connection, {"pid": pid})
        return None

    @staticmethod
    def _receive(connection: socket.socket) -> dict[str, Any]:
        connection.settimeout(10)
        data = b""
        while not data.endswith(b"\n"):
            chunk = connection.recv(65536)
            if not chunk or len(data) > _MAX_REQUEST_BYTES:
                raise ValueError("the request is not whole")
            data += chunk
        request: dict[str, Any] = json.loads(data)
        return request

    def _import(self) -> None:
        if self._imported:
            return
        threads = os.environ.get("OPENBLAS_NUM_THREADS")
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        import keras
        import numpy
        import tensorflow

        import ckptkit

        # What a run imports on a thread of its own after its first save is there already, too.
        for module in (
            "ckptkit.manager",
            "ckptkit.keras",
            "tensorboard.compat.proto.event_pb2",
            "tensorboard.plugins.scalar.summary_v2",
            "tensorboard.plugins.text.summary_v2",
            "tensorboard.summary.writer.record_writer",
        ):
            importlib.import_module(module)
        _ = (keras.Model, numpy.ndarray, tensorflow.Variable, ckptkit.CheckpointManager)
        if threads is None:
            del os.environ["OPENBLAS_NUM_THREADS"]
        else:
            os.environ["OPENBLAS_NUM_THREADS"] = threads
        running = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 1
        if running != 1:
            raise RuntimeError(
                f"the imports have started {running - 1} threads: a fork would not be sound"
            )
        gc.collect()
        gc.freeze()  # children then share these pages, and collect their own objects only
        self._imported = True

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            connection = self._children.pop(pid)
            if connection in self._selector.get_map():
                self._selector.unregister(connection)
            self._send(connection, {"code": os.waitstatus_to_exitcode(status)})
            connection.close()

    def _end(self) -> None:
        for pid in self._children:
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)  # each leads a session of its own
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for pid in list(self._children):
            os.waitpid(pid, 0)
        shutil.rmtree(self._directory, ignore_errors=True)

    @staticmethod
    def _send(connection: socket.socket, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # nobody may be waiting for it
            connection.sendall(json.dumps(message).encode() + b"\n")

    def _become_child(self, connection: socket.socket) -> None:
        signal.set_wakeup_fd(-1)
        self._selector.close()
        for end in (
            connection,
            self._listener,
            self._wake_reader,
            self._wake_writer,
            *self._children.values(),
        ):
            end.close()
        self._children.clear()


def _settle(request: dict[str, Any]) -> None:
    """Session, signals, directory, environment and files of the request's own."""
    os.setsid()
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.chdir(request["cwd"])
    for descriptor, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(name, flags, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(request["env"])


def _look_new() -> None:
    """What a new interpreter sets up when it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        unbuffered = bool(descriptor and os.environ.get("PYTHONUNBUFFERED"))
        binary = open(  # noqa: SIM115 (standard streams live as long as the process)
            descriptor,
            "wb" if descriptor else "rb",
            buffering=0 if unbuffered else -1,
            closefd=False,
        )
        new = io.TextIOWrapper(
            binary,
            encoding=old.encoding,
            errors=old.errors,
            line_buffering=descriptor == 2,
            write_through=unbuffered,
        )
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def _prepare(request: dict[str, Any]) -> Callable[[], None]:
    """Makes this process look as if it had just been started for the request, and returns what is
    left to do.
    """
    _settle(request)
    if request["fresh"]:
        os.execve(sys.executable, [sys.executable, *request["argv"]], os.environ)
    _look_new()
    # Where this file lies is no place that a program would import from.
    del sys.path[0]
    if request["function"] is not None:
        sys.argv = [request["function"]]
        sys.path.insert(0, request["root"])
        return lambda: _call(request)
    script, *_ = sys.argv = list(request["argv"])
    sys.path.insert(0, str(Path(script).absolute().parent))
    main = types.ModuleType("__main__")
    main.__dict__.update(
        __file__=script,
        __builtins__=builtins,
        __spec__=None,
        __cached__=None,
        __annotations__={},
        __loader__=importlib.machinery.SourceFileLoader("__main__", script),
    )
    sys.modules["__main__"] = main
    source = Path(script).read_bytes()
    return lambda: exec(compile(source, script, "exec", dont_inherit=True), main.__dict__)


def _call(request: dict[str, Any]) -> None:
    module, _, name = request["function"].partition(":")
    result = getattr(importlib.import_module(module), name)(*request["args"])
    partial = Path(request["result"] + ".tmp")
    partial.write_text(json.dumps(result))
    partial.rename(request["result"])


if __name__ == "__main__":
    _server = Server(sys.argv[1])
    _request = _server.serve()
    if _request is None:
        os._exit(0)
    _run = _prepare(_request)
    del _server, _request
    _run()
