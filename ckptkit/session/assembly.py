"""Creates the parts of a session, after its run was opened."""

from __future__ import annotations

from ckptkit.run.checkpoint_catalog import CheckpointIndex
from ckptkit.run.disk_space import Target
from ckptkit.session.exactness import Exactness
from ckptkit.session.hyperparameter_changes import HyperparameterChanges
from ckptkit.session.opening import OpenedRun
from ckptkit.session.progress import LoopProgress, RunProgress
from ckptkit.session.resume import Resume
from ckptkit.session.save_schedule import SaveSchedule
from ckptkit.session.saver import Saver
from ckptkit.session.session_parts import SessionParts
from ckptkit.session.stopping import Stopping
from ckptkit.session.tensorboard_hook import TensorBoardHook


def assemble(session: SessionParts, opened: OpenedRun, logs: TensorBoardHook) -> None:
    """Create the parts of a session; none of them starts a thread or opens a file.

    Args:
        session: the session to which the parts are assigned. Its `tracked` is already set.
        opened: the opened run.
        logs: the TensorBoard hook, which adds a point for each save.
    """
    options, journal, phases = opened.options, opened.journal, opened.phases
    tracked, stopwatch = session.tracked, phases.stopwatch
    session.options, session.journal, session.phases = options, journal, phases
    session.progress = RunProgress(phases)
    session.exactness = Exactness(options.exact, journal)
    changes = HyperparameterChanges(options)
    session.resume = Resume(options, journal, tracked, changes, session.exactness, stopwatch)
    index = CheckpointIndex(options.layout, journal.attempt)
    target = Target(options.files, index, journal, options.keep)
    saver = Saver(options, target, tracked.tracker, stopwatch, logs.summaries.saved)
    session.saves = SaveSchedule(
        options,
        journal,
        saver,
        session.progress,
        session.exactness.inexact,
        changes.recorded,
    )
    session.stopping = Stopping(session, options, journal, saver)
    session.loop = LoopProgress(
        options.state,
        tracked.data,
        session.progress,
        phases,
        journal,
        session.save_if_due,
        session.exactness.inexact,
    )
