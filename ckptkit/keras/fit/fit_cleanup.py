"""Cleans up at the end of a `fit`: undoes its changes and closes the run."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ckptkit.keras.callback_list import OtherCallbacks
from ckptkit.keras.fit.fit_stage import FitStage, FitStages
from ckptkit.manager import CheckpointManager
from ckptkit.session.session import Session


class FitCleanup:
    """Undoes all changes of one `fit` to the model and the interpreter, and closes its run.

    Args:
        manager: the manager that has the run open.
        session: the session of this `fit`.
        others: the other callbacks.
        stages: the stage of the `fit`.
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
        """Add a function to call when the `fit` ends; it may be called more than once."""
        self._undo_always.append(undo)

    def add_on_failure(self, undo: Callable[[], object]) -> None:
        """Add a function that is called first if an error ends the `fit`."""
        self._undo_on_failure.append(undo)

    @property
    def is_open(self) -> bool:
        """Whether the run is open for this `fit`, and not for a later one with the same manager."""
        return self._manager.is_open and self._manager.open_session() is self._session

    def put_back(self) -> None:
        """Undo the changes to the model and the interpreter."""
        for undo in self._undo_always:
            undo()

    def prepare_exit(self) -> None:
        """Undo all changes before the process ends, because Keras calls no further event."""
        self.put_back()
        self._others.flush()
        self._others.close()

    def fail(self, error: BaseException, *, close_files: bool = True) -> None:
        """Close the run because of an error.

        Args:
            error: the error that ended the `fit`.
            close_files: whether to close the event files of the other callbacks; by default yes.
        """
        for undo in self._undo_on_failure:
            undo()
        self.put_back()
        if close_files:
            self._others.close()
        self.close_run(error)

    def fail_if_open(self, error: BaseException) -> None:
        """Close the run because an exception is ending `fit`."""
        if self.is_open:
            self.fail(error)

    def abandon(self, *, close_files: bool = True) -> None:
        """Close the run of a `fit` that an exception ended without any further event.

        Args:
            close_files: whether to close the event files of the other callbacks; by default yes.
        """
        # The thread that opens the run next must wait until this thread has closed it.
        with self._leaving:
            if self.is_open:
                self.fail(
                    RuntimeError("an exception outside of the training step ended fit early"),
                    close_files=close_files,
                )

    def close_run(self, error: BaseException | None) -> None:
        """Close the run.

        Args:
            error: the error that ended training, or None.
        """
        self._stages.move(FitStage.CLOSED)
        self._manager.close_session(error)
