"""Turns signals into requests to stop: handlers store them, and a thread reports them at once.

Python runs a handler when the main thread returns to Python code. That may take as long as a
training step or a compilation. The C part of the interpreter writes the signal's number into a file
descriptor at once (`signal.set_wakeup_fd`), and the helper thread reads it there.

Handlers and the descriptor belong to the process, which may open several runs and close them in any
order. So there is one `_Dispatcher`. The first run that wants a signal installs its handler, and
the last one removes it. Each run is notified.
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
"""Seconds that the main thread has to handle a second Ctrl-C before it is sent again."""


class SignalGuard:
    """Turns signals into requests to stop one run, from `install` to `restore`.

    Args:
        policy: the signals to handle.
        box: receives the request.
        on_arrival: called at once with the signal's name, on a helper thread.
        on_note: called with the signal's name by the handler, on the main thread; None for no call.
    """

    def __init__(
        self,
        policy: Preemption,
        box: StopBox,
        on_arrival: Callable[[str], None],
        on_note: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.policy = policy
        self.box = box
        self.on_arrival = on_arrival
        self.on_note = on_note
        self.numbers: frozenset[int] = frozenset()

    def install(self) -> None:
        """Install the signal handlers.

        Python allows handlers on the main thread only. On another thread this logs a line and does
        nothing.

        Raises:
            ThreadRefusedError: If the system allows no further thread; no handler stays installed
                then.
        """
        if threading.current_thread() is not threading.main_thread():
            logger.info(
                "training does not run on the main thread, and Python allows signal handlers only "
                "there: a signal saves nothing; manager.request_stop() saves and stops"
            )
            return
        self.numbers = frozenset(
            {*map(int, map(signal.Signals.__getitem__, self.policy.signals)), int(signal.SIGINT)}
        )
        _dispatcher.add(self)

    def restore(self) -> None:
        """Restore the previous handlers, unless another run still needs ckptkit's handlers.

        A handler that other code has set since then stays.
        """
        _dispatcher.remove(self)


class _Dispatcher:
    """Installs one set of signal handlers for all open runs of this process."""

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
        """Install the handlers that one more run needs."""
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
        """Remove a run, and the handlers that no other run needs.

        Handlers can be removed on the main thread only. One that stays without a run calls the
        previous handler.
        """
        if guard not in self._guards:
            return
        on_main_thread = threading.current_thread() is threading.main_thread()
        try:
            if on_main_thread and self._guards == [guard] and self._wakeup is not None:
                wakeup, self._wakeup = self._wakeup, None
                # Before the handlers: a signal that has already arrived still reaches this run.
                wakeup.close()
        finally:
            self._guards.remove(guard)
            if not self._guards:
                self._interrupt_answered()
            if on_main_thread:
                for number in [number for number in self._previous if not self._wanting(number)]:
                    self._uninstall(number)

    def forget_in_child(self) -> None:
        """Give a forked child the handlers that it would have without ckptkit."""
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
            return  # the program has its own handler for this signal
        if number == signal.SIGHUP and present is signal.SIG_IGN:
            return  # ignored as under nohup: the training must survive its terminal
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
                guard.on_note(signal.Signals(number).name)
                guard.box.put(
                    StopRequest(signal.Signals(number).name, guard.policy.exit_code, before)
                )

    def _note_interrupt(self, guards: list[SignalGuard]) -> None:
        # Python calls this handler once for two signals during one long call of C code. The helper
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
        """Forget a Ctrl-C, because one of the runs raises `KeyboardInterrupt` for it."""
        self._interrupt, self._interrupts, self._interrupts_heard = None, 0, 0

    def _as_before(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous[number]
        self._uninstall(number)
        if callable(previous):
            previous(number, frame)
        elif previous is not signal.SIG_IGN:
            os.kill(os.getpid(), number)

    def _heard(self, number: int) -> None:
        """Notify all runs that a signal has arrived; called on the helper thread."""
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
            # The handler stops the run in any case, and this thread must stay alive for the next
            # signal.
            except Exception as error:
                logger.warning("%s arrived, and could not be noted in the journal: %s", name, error)
        if number == signal.SIGINT and self._interrupts_heard > 1:
            self._insist()

    def _insist(self) -> None:
        """Send a second Ctrl-C again if Python called the handler only once for both.

        That happens if both arrive during one call of C code.
        """
        time.sleep(_INSIST_SECS)
        if self._interrupt is not None and self._interrupts == 1:
            self._repeating = True
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class _Wakeup:
    """The file descriptor into which Python writes signal numbers, and the thread that reads it.

    Args:
        heard: called with each signal number, on that thread.
    """

    def __init__(self, heard: Callable[[int], None]) -> None:
        self._heard = heard
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._descriptor = self._writer.fileno()
        self._before = -1
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, and let the interpreter write into the descriptor.

        Raises:
            ThreadRefusedError: If the system allows no further thread; nothing is left behind then.
        """
        # Set before the thread starts, because the thread passes signals on to the previous
        # descriptor.
        self._before = signal.set_wakeup_fd(self._descriptor, warn_on_full_buffer=False)
        try:
            self._thread = start_thread(self._listen, "ckptkit-signals")
        except BaseException:
            signal.set_wakeup_fd(self._before, warn_on_full_buffer=False)
            self._writer.close()
            self._reader.close()
            raise

    def close(self) -> None:
        """Restore the previous descriptor; one that other code has set since then stays."""
        try:
            present = signal.set_wakeup_fd(-1)
            back = self._before if present == self._descriptor else present
            if back >= 0:
                try:
                    signal.set_wakeup_fd(back, warn_on_full_buffer=False)
                except (OSError, ValueError):
                    logger.debug("the previous wake-up descriptor is closed, so none is set now")
        finally:
            self._writer.close()  # the helper thread reads the end of the stream and stops
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join()
            self._reader.close()

    def forget_in_child(self) -> None:
        """Close the sockets in a forked child, which shares them and has no helper thread."""
        signal.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()

    def _listen(self) -> None:
        while data := self._reader.recv(64):
            if self._before >= 0:
                # An event loop may have set a descriptor earlier: it must still receive the
                # signals.
                try:
                    os.write(self._before, data)
                except OSError:
                    self._before = -1
            for number in data:
                self._heard(number)


_dispatcher = _Dispatcher()

after_fork(AfterFork.SIGNALS, _dispatcher.forget_in_child)
