"""The end of a `fit`, in whatever way it ends: undoes its changes and closes the run."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ckptkit.keras.callback_list import OtherCallbacks
from ckptkit.keras.fit.fit_stage import FitStage, FitStages
from ckptkit.manager import CheckpointManager
from ckptkit.session.session import Session


class FitCleanup:
    """Undoes the changes of one `fit` to the model and the interpreter, and closes its run.

    Args:
        manager: the manager that has the run open.
        session: the session of this `fit`.
        others: the other callbacks.
        stages: the stage that the `fit` is in.
    """

    def __init__(
        self,
        manager: CheckpointManager,
        session: Session,
        others: OtherCallbacks,
        stages: FitStages,
    ) -> None:
        self._manager = manager
        self._session = session
        self._others = others
        self._stages = stages
        self._undo_always: list[Callable[[], object]] = []
        self._undo_on_failure: list[Callable[[], object]] = []
        self._leaving = threading.RLock()

    def add(self, undo: Callable[[], object]) -> None:
        """Adds a function to call when the `fit` ends; it may be called more than once."""
        self._undo_always.append(undo)

    def add_on_failure(self, undo: Callable[[], object]) -> None:
        """Adds a function to call before all others if an error ends the `fit`."""
        self._undo_on_failure.append(undo)

    @property
    def is_open(self) -> bool:
        """Whether the run is open for this `fit`, and not for a later one of the same manager."""
        return self._manager.is_open and self._manager.open_session() is self._session

    def put_back(self) -> None:
        """Undoes the changes to the model and the interpreter."""
        for undo in self._undo_always:
            undo()

    def prepare_exit(self) -> None:
        """Prepares for the end of the process, after which Keras calls no further event."""
        self.put_back()
        self._others.flush()
        self._others.close()

    def fail(self, error: BaseException, *, close_files: bool = True) -> None:
        """Closes the run because of an error.

        Args:
            error: what ended the `fit`.
            close_files: whether the event files of the other callbacks are closed; by default yes.
        """
        for undo in self._undo_on_failure:
            undo()
        self.put_back()
        if close_files:
            self._others.close()
        self.close_run(error)

    def fail_if_open(self, error: BaseException) -> None:
        """Closes the run because an exception is ending `fit`."""
        if self.is_open:
            self.fail(error)

    def abandon(self, *, close_files: bool = True) -> None:
        """Closes the run because an exception that no callback saw has ended `fit`.

        Args:
            close_files: whether the event files of the other callbacks are closed; by default yes.
        """
        # The thread that opens the run next must wait until another thread has closed it here.
        with self._leaving:
            if self.is_open:
                self.fail(
                    RuntimeError(
                        "fit was left before its end, by an exception outside of the training step"
                    ),
                    close_files=close_files,
                )

    def close_run(self, error: BaseException | None) -> None:
        """Closes the run.

        Args:
            error: what ended training, or None.
        """
        self._stages.move(FitStage.CLOSED)
        self._manager.close_session(error)
