"""Signals: a handler only notes; a helper thread knows at once, also while the main thread sits in a long call of C code.

Python runs a handler when the main thread comes back to Python code, which may take as long as a training step or a compilation. The C
part of the interpreter writes a signal's number into a descriptor at once (`signal.set_wakeup_fd`), and the helper thread reads it there.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

from ckptkit.log import logger
from ckptkit.preemption.policy import Preemption
from ckptkit.preemption.request import StopBox, StopRequest

_active: weakref.WeakSet[SignalGuard] = weakref.WeakSet()


class SignalGuard:
    """Handlers that note a request to stop, from `install` to `restore`.

    Args:
        policy: which signals.
        box: where a request is noted.
        on_arrival: told a signal's name at once, on a helper thread.
    """

    def __init__(self, policy: Preemption, box: StopBox, on_arrival: Callable[[str], None]) -> None:
        self._policy = policy
        self._box = box
        self._on_arrival = on_arrival
        self._previous: dict[int, Any] = {}
        self._previous_wakeup = -1
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        self._thread: threading.Thread | None = None
        self._interrupts = 0
        self._interrupts_heard = 0

    def install(self) -> None:
        """Sets the handlers; off the main thread, where Python allows none, says so and does nothing."""
        if threading.current_thread() is not threading.main_thread():
            logger.info("training runs off the main thread, where Python allows no signal handlers: on a signal nothing is saved; "
                        "manager.request_stop() saves and stops")
            return
        for name in self._policy.signals:
            number = signal.Signals[name]
            if name == "SIGUSR1" and signal.getsignal(number) is not signal.SIG_DFL:
                continue
            self._previous[number] = signal.signal(number, self._note)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous[signal.SIGINT] = signal.signal(signal.SIGINT, self._interrupt)
        self._start_thread()
        _active.add(self)

    def restore(self) -> None:
        """Puts back what was there before, but for handlers that somebody else has set since then."""
        _active.discard(self)
        if threading.current_thread() is not threading.main_thread():
            return
        self._restore_handlers()
        if self._sockets is not None:
            signal.set_wakeup_fd(self._previous_wakeup, warn_on_full_buffer=False)
            reader, writer = self._sockets
            self._sockets = None
            writer.close()  # the helper thread reads the end and stops
            if self._thread is not None:
                self._thread.join()
            reader.close()

    def forget_in_child(self) -> None:
        """A forked child is to have the handlers that it would have had without us."""
        self._restore_handlers()
        if self._sockets is not None:
            signal.set_wakeup_fd(-1)
            for end in self._sockets:
                end.close()
            self._sockets = None

    def _restore_handlers(self) -> None:
        ours = (self._note, self._interrupt)
        for number, previous in self._previous.items():
            if signal.getsignal(number) in ours:
                signal.signal(number, previous if previous is not None else signal.SIG_DFL)
        self._previous = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous.get(number)
        before = (lambda: previous(number, frame)) if callable(previous) else None
        self._box.put(StopRequest(signal.Signals(number).name, self._policy.exit_code, before))

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        # Two that come during one long call of C code are one call of this handler; the helper thread has heard both.
        if max(self._interrupts, self._interrupts_heard) > 1:
            raise KeyboardInterrupt
        self._box.put(StopRequest("SIGINT", 128 + number, interrupt=True))

    def _start_thread(self) -> None:
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        self._sockets = (reader, writer)
        self._previous_wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, args=(reader, self._previous_wakeup), name="ckptkit-signals", daemon=True)
        self._thread.start()

    def _listen(self, reader: socket.socket, forward_to: int) -> None:
        ours = {int(number): signal.Signals(number).name for number in self._previous}
        while data := reader.recv(64):
            if forward_to >= 0:
                os.write(forward_to, data)  # whoever listened before us (an event loop) goes on hearing
            self._interrupts_heard += data.count(signal.SIGINT)
            for number in data:
                if number in ours:
                    self._on_arrival(ours[number])


def _after_fork_in_child() -> None:
    for guard in list(_active):
        guard.forget_in_child()
    _active.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
