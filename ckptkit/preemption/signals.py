"""Signals: the handler only stores a request, and a helper thread reports it without delay.

Python runs a handler when the main thread returns to Python code. That may take as long as a
training step or a compilation. The C part of the interpreter writes a signal's number into a
descriptor at once (`signal.set_wakeup_fd`), and the helper thread reads it there.

Handlers and the descriptor belong to the process. Several runs may be open in it, and they are
closed in any order. So there is one `_Dispatcher`: the first run that wants a signal installs its
handler, the last one removes it, and each run is notified.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from ckptkit.log import logger
from ckptkit.preemption.policy import Preemption
from ckptkit.preemption.request import StopBox, StopRequest
from ckptkit.process_hooks import AfterFork, after_fork
from ckptkit.threads import start_thread

_INSIST_SECS = 0.2
"""How long the main thread has to handle a second Ctrl-C before it is sent again."""


class SignalGuard:
    """Stores requests to stop for one run, from `install` to `restore`.

    Args:
        policy: which signals.
        box: receives the request.
        on_arrival: called at once with the signal's name, on a helper thread.
    """

    def __init__(self, policy: Preemption, box: StopBox, on_arrival: Callable[[str], None]) -> None:
        self.policy = policy
        self.box = box
        self.on_arrival = on_arrival
        self.numbers: frozenset[int] = frozenset()

    def install(self) -> None:
        """Installs the handlers.

        Off the main thread, Python allows no handlers. Then this logs a line and does nothing.

        Raises:
            ThreadRefusedError: If the system allows no further thread; no handler is left then.
        """
        if threading.current_thread() is not threading.main_thread():
            logger.info(
                "training runs off the main thread, where Python allows no signal handlers: on a "
                "signal nothing is saved; "
                "manager.request_stop() saves and stops"
            )
            return
        self.numbers = frozenset(
            {*map(int, map(signal.Signals.__getitem__, self.policy.signals)), int(signal.SIGINT)}
        )
        _dispatcher.add(self)

    def restore(self) -> None:
        """Restores the previous handlers if no other run needs ours.

        A handler that other code has set since then stays.
        """
        _dispatcher.remove(self)


class _Dispatcher:
    """The handlers of this process, for all runs that are open in it."""

    def __init__(self) -> None:
        self._guards: list[SignalGuard] = []
        self._previous: dict[int, Any] = {}
        self._wakeup: _Wakeup | None = None
        # A Ctrl-C that has not been answered yet, how often the handler ran for it, and how many
        # signals the helper thread received for it.
        self._interrupt: StopRequest | None = None
        self._interrupts = 0
        self._interrupts_heard = 0
        self._repeating = False

    def add(self, guard: SignalGuard) -> None:
        """Installs the handlers for one more run."""
        self._guards.append(guard)
        try:
            for number in sorted(guard.numbers):
                self._install(number)
            if self._wakeup is None:
                wakeup = _Wakeup(self._heard)
                wakeup.start()
                self._wakeup = wakeup
        except BaseException:
            self.remove(guard)
            raise

    def remove(self, guard: SignalGuard) -> None:
        """Removes a run.

        Off the main thread no handler can be removed. One that no run needs calls the previous one.
        """
        if guard not in self._guards:
            return
        on_main_thread = threading.current_thread() is threading.main_thread()
        try:
            if on_main_thread and self._guards == [guard] and self._wakeup is not None:
                wakeup, self._wakeup = self._wakeup, None
                wakeup.close()  # first: a signal that has arrived still reaches this run
        finally:
            self._guards.remove(guard)
            if not self._guards:
                self._interrupt_answered()
            if on_main_thread:
                for number in [number for number in self._previous if not self._wanting(number)]:
                    self._uninstall(number)

    def forget_in_child(self) -> None:
        """Gives a forked child the handlers that it would have had without ckptkit."""
        for number in list(self._previous):
            self._uninstall(number)
        if self._wakeup is not None:
            self._wakeup.forget_in_child()
        self._guards, self._wakeup = [], None
        self._interrupt_answered()

    def _wanting(self, number: int) -> list[SignalGuard]:
        return [guard for guard in self._guards if number in guard.numbers]

    def _install(self, number: int) -> None:
        present = signal.getsignal(number)
        if present == self._note:
            return
        if number == signal.SIGUSR1 and present is not signal.SIG_DFL:
            return  # the program, or its scheduler, uses it for something else
        if number == signal.SIGINT and present is not signal.default_int_handler:
            return
        self._previous[number] = signal.signal(number, self._note)

    def _uninstall(self, number: int) -> None:
        previous = self._previous.pop(number)
        if signal.getsignal(number) == self._note:
            signal.signal(number, signal.SIG_DFL if previous is None else previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous.get(number)
        guards = self._wanting(number)
        if not guards:
            self._as_before(number, frame)
        elif number == signal.SIGINT:
            self._note_interrupt(guards)
        else:
            before = (lambda: previous(number, frame)) if callable(previous) else None
            for guard in guards:
                guard.box.put(
                    StopRequest(signal.Signals(number).name, guard.policy.exit_code, before)
                )

    def _note_interrupt(self, guards: list[SignalGuard]) -> None:
        # Two that arrive during one long call of C code are one call of this handler. The helper
        # thread has received both.
        self._interrupts += 1
        if self._interrupt is not None or self._interrupts_heard > 1:
            raise KeyboardInterrupt
        request = self._interrupt = StopRequest(
            "SIGINT",
            128 + signal.SIGINT,
            self._interrupt_answered,
            interrupt=True,
            stands=lambda: self._interrupt is request,
        )
        for guard in guards:
            guard.box.put(request)

    def _interrupt_answered(self) -> None:
        """Forgets a Ctrl-C: one of the runs raises the one `KeyboardInterrupt` for it."""
        self._interrupt, self._interrupts, self._interrupts_heard = None, 0, 0

    def _as_before(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous[number]
        self._uninstall(number)
        if callable(previous):
            previous(number, frame)
        elif previous is not signal.SIG_IGN:
            os.kill(os.getpid(), number)

    def _heard(self, number: int) -> None:
        """Notifies the runs that a signal has arrived; called on the helper thread."""
        if number not in self._previous:
            return
        if number == signal.SIGINT:
            if self._repeating:
                self._repeating = False
                return
            self._interrupts_heard += 1
        name = signal.Signals(number).name
        for guard in self._wanting(number):
            try:
                guard.on_arrival(name)
            # The handler stops the run all the same, and this thread has to hear the next signal.
            except Exception as error:
                logger.warning("%s arrived, and could not be noted in the journal: %s", name, error)
        if number == signal.SIGINT and self._interrupts_heard > 1:
            self._insist()

    def _insist(self) -> None:
        """Sends a second Ctrl-C again if the handler has taken the two for one.

        It does so if both arrived during one call of C code, before the second was heard here.
        """
        time.sleep(_INSIST_SECS)
        if self._interrupt is not None and self._interrupts == 1:
            self._repeating = True
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class _Wakeup:
    """The descriptor that receives signals' numbers, and the thread that reads them.

    Args:
        heard: called with each number, on that thread.
    """

    def __init__(self, heard: Callable[[int], None]) -> None:
        self._heard = heard
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._descriptor = self._writer.fileno()
        self._before = -1
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, and have the interpreter write into the descriptor.

        Raises:
            ThreadRefusedError: If the system allows no further thread; nothing is left behind then.
        """
        # Before the thread: it passes on what it reads to the descriptor that was there before.
        self._before = signal.set_wakeup_fd(self._descriptor, warn_on_full_buffer=False)
        try:
            self._thread = start_thread(self._listen, "ckptkit-signals")
        except BaseException:
            signal.set_wakeup_fd(self._before, warn_on_full_buffer=False)
            self._writer.close()
            self._reader.close()
            raise

    def close(self) -> None:
        """Restores the previous descriptor; one that other code has set since then stays."""
        try:
            present = signal.set_wakeup_fd(-1)
            back = self._before if present == self._descriptor else present
            if back >= 0:
                try:
                    signal.set_wakeup_fd(back, warn_on_full_buffer=False)
                except (OSError, ValueError):
                    logger.debug("the previous wake-up descriptor is closed: there is none now")
        finally:
            self._writer.close()  # the helper thread reads the end and stops
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join()
            self._reader.close()

    def forget_in_child(self) -> None:
        """Closes the sockets in a child, which has no helper thread and shares them."""
        signal.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()

    def _listen(self) -> None:
        while data := self._reader.recv(64):
            if self._before >= 0:
                # An event loop may have set a descriptor before us: it keeps hearing the signals.
                try:
                    os.write(self._before, data)
                except OSError:
                    self._before = -1
            for number in data:
                self._heard(number)


_dispatcher = _Dispatcher()

after_fork(AfterFork.SIGNALS, _dispatcher.forget_in_child)
