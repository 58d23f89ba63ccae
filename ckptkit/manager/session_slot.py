"""Opens and closes the session of a manager, which has at most one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ckptkit.compat.tf_coordination import is_lost_worker
from ckptkit.errors import ConfigError, WorkerLost
from ckptkit.log import show_by_default
from ckptkit.session import process_registry
from ckptkit.session.job_opening import start_session
from ckptkit.session.launcher_failure_report import reports_failure
from ckptkit.session.options import RunOptions
from ckptkit.session.session import Session


class SessionSlot:
    """Holds at most one open session of a run.

    Args:
        options: the options of the run.

    Attributes:
        session: the open session, or None.
    """

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self.session: Session | None = None

    def opened(self) -> Session:
        """Return the open session.

        Raises:
            ConfigError: If no session is open.
        """
        if self.session is None:
            raise ConfigError(
                "The run is not open. Use the manager inside `with manager:`, or after "
                "manager.restore_or_initialize()."
            )
        return self.session

    def open(self, owner: Any, extra_state: Mapping[str, Any]) -> Session:
        """Return the session, and open it first if necessary.

        Args:
            owner: the manager; another manager of this process may close it to open the same run.
            extra_state: further state to save; the run must not be open yet.

        Raises:
            ConfigError: If the run is open already, or a name of `extra_state` is in use.
            RunLockedError: If the run is being trained.
            StorageError: If the disk refuses.
        """
        layout = self._options.layout
        if self.session is not None:
            if extra_state:
                raise ConfigError(
                    f"model.fit opens, restores and closes the run in {layout.root} itself, but "
                    f"the manager already has it open. Nothing was trained. Call fit outside of "
                    f"`with manager:`, with "
                    "callbacks=[ckptkit.CheckpointCallback(manager)]."
                )
            return self.session
        show_by_default()
        state = with_extra_state(self._options.state, extra_state)
        process_registry.take_over(layout, owner)
        with reports_failure():
            self.session = start_session(replace(self._options, state=state))
        process_registry.note_open(layout, owner)
        return self.session

    def check_has_run(self) -> None:
        """Check that this process has the run directory.

        Raises:
            ConfigError: On a worker of a job that is not the first one.
        """
        if self.session is not None and (rank := self.session.cluster.rank) != 0:
            raise ConfigError(
                "Expected worker 0 to look at the run, because only it has the run directory. "
                f"Received: a call on worker {rank}. Use manager.position, which is the same on "
                "all workers."
            )

    def loss_behind(self, error: BaseException | None) -> WorkerLost | None:
        """Return the error with which a worker ends if its job has lost another one; else None.

        Args:
            error: what has ended the training.
        """
        in_job = self.session is not None and self.session.team is not None
        if not in_job or not isinstance(error, Exception) or not is_lost_worker(error):
            return None
        return WorkerLost(f"another worker of this job has ended: {error}")

    def close(self, owner: Any, error: BaseException | None) -> None:
        """Close the session, if one is open.

        Args:
            owner: the manager.
            error: what ended training, or None.
        """
        # Cleared before it is closed: an error must not leave a half-closed session here.
        session, self.session = self.session, None
        if session is not None:
            process_registry.note_closed(self._options.layout, owner)
            session.close(error)


def with_extra_state(state: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state with further entries, without objects that it already contains.

    Raises:
        ConfigError: If the state has another object under the same name.
    """
    known = {id(value) for value in state.values()}
    added = {name: value for name, value in extra.items() if id(value) not in known}
    for name, value in added.items():
        if name in state:
            raise ConfigError(
                f"fit keeps the model that it trains as {name!r}, and the manager's state has "
                "another object under that name "
                f"({type(state[name]).__name__}, and fit trains {type(value).__name__} "
                f"{getattr(value, 'name', '')!r}). Name that one otherwise in state={{...}}, "
                "or pass the model itself there."
            )
    return {**state, **added}
