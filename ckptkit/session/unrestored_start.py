"""Continues or begins a run whose values the program has set itself."""

from __future__ import annotations

from ckptkit.errors import ConfigError
from ckptkit.log import logger
from ckptkit.restore.assign import check_compatible
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.session.new_run import named_values
from ckptkit.session.session import Session

_BEGIN_ANEW = ("seeds", "metrics")
"""The roles of variables that TensorFlow never finds in a model, as with its own manager."""

_REMEDY = "Call manager.restore_or_initialize() before training."


def begin_without_restore(session: Session, restored: str | None) -> None:
    """Set the position of a session without assigning anything.

    The program has trained already when this is called, so nothing may be loaded any more.

    Args:
        session: the open session.
        restored: the prefix of the checkpoint that the program has restored by TensorFlow, or None
            if the run has none.

    Raises:
        ConfigError: If the run would begin with other values, or TensorFlow cannot have restored
            everything.
        IncompatibleStateError: If the program has other objects than the checkpoint.
        CorruptCheckpointError, StorageError: As for `Resume.newest`.
    """
    newest = session.resume.newest()
    if newest is None and restored is None:
        named = named_values(session.options)
        if named is not None:
            raise ConfigError(
                f"{named} names values with which the run begins, and the first save is too late "
                f"to load them: it would save them in place of what was trained. {_REMEDY}"
            )
        session.restore_newest()
        return
    if newest is None or str(newest.prefix) != restored:
        raise ConfigError(
            f"{restored} was restored, and the run continues "
            f"{'at step 0' if newest is None else f'from {newest.path}'}: the other one is damaged,"
            f" or was moved away by fresh=. Saving would mix two trainings. {_REMEDY}"
        )
    session.resume.changes.check(newest)
    _check_all_restored(session, newest)
    session.tracked.note_constructed()
    session.start_from(newest)
    logger.info(
        "%s was restored by TensorFlow: random states, metrics of compile and positions in data "
        "begin anew",
        restored,
    )


def _check_all_restored(session: Session, newest: Checkpoint) -> None:
    """Check that TensorFlow's restore finds everything of the program that the run saves."""
    tracked = session.tracked.now()
    check_compatible(newest, tracked, session.options.state)
    found = {node.key for node in tracked.graph.nodes}
    left = [
        leaf.path
        for leaf in session.tracked.tracker.users_leaves
        if leaf.key not in found and leaf.key.split("/")[1] not in _BEGIN_ANEW
    ]
    if left:
        raise ConfigError(
            f"checkpoint.restore does not restore {', '.join(left[:5])}"
            f"{', ...' if len(left) > 5 else ''}: TensorFlow finds only variables in the "
            "checkpoints of a run. The next save would lose what was saved of the others. "
            f"{_REMEDY}"
        )
