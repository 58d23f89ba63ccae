"""One attempt at a run: open from the start of training to its end, in one process."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ckptkit.clock import Clock
from ckptkit.errors import ConfigError, Preempted
from ckptkit.log import logger, size
from ckptkit.manager.metrics import Metrics
from ckptkit.manager.versions import versions
from ckptkit.policies import KeepPolicy, Moment, SavePolicy
from ckptkit.policies.metrics import Extremes, updated_extremes
from ckptkit.position import RunPosition
from ckptkit.resume.assign import assign_result
from ckptkit.resume.newest import newest_good, restore_newest, restore_one
from ckptkit.save import snapshot
from ckptkit.save.build import build
from ckptkit.save.tracked import track
from ckptkit.save.writer import ForegroundWriter, Target, Writer, write_checkpoint
from ckptkit.store import events
from ckptkit.store.catalog import Checkpoint, list_checkpoints
from ckptkit.store.commit import clean_up
from ckptkit.store.files import FileSystem
from ckptkit.store.journal import start_attempt
from ckptkit.store.layout import RunLayout
from ckptkit.store.manifest import Manifest, to_number, to_numbers

PREEMPTED_EXIT_CODE = 75


@dataclass(frozen=True)
class Plan:
    """What an attempt is made of; nothing is open yet.

    Args:
        layout: where the run lies.
        state: what is saved, by name.
        save: when to save.
        keep: which checkpoints stay.
        clock: where the time comes from.
        files: how the disk is changed.
    """

    layout: RunLayout
    state: Mapping[str, Any]
    save: SavePolicy
    keep: KeepPolicy
    clock: Clock
    files: FileSystem


@dataclass(frozen=True)
class Taken:
    """A snapshot, where the run was, what was measured there, and how long training stood still for it."""

    snapshot: snapshot.Snapshot
    position: RunPosition
    metrics: dict[str, float]
    secs: float


class Attempt:
    """Opens a run for training.

    Args:
        plan: what it is made of.

    Raises:
        ConfigError: where a file is in the way, or another program's checkpoints are.
        StorageError: where the disk refuses.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.position = RunPosition()
        self.done = False
        self.total: int | None = None
        self._metrics = Metrics()
        self._extremes: Extremes = {}
        self._last = Moment(position=self.position, time_secs=plan.clock.monotonic())
        self._stop_reason: str | None = None
        self._size_said = False
        check_directory(plan.layout)
        plan.files.make_dir(plan.layout.checkpoints)
        self.journal = start_attempt(plan.files, plan.layout, plan.clock)
        self._target = Target(plan.files, plan.layout, self.journal, plan.keep)
        self.writer: Writer = ForegroundWriter()
        self.journal.record(events.AttemptStarted(host=socket.gethostname(), pid=os.getpid(), program=Path(sys.argv[0]).name,
                                                  versions=versions(), scheduler=_scheduler()))
        for what in clean_up(plan.files, plan.layout):
            self.journal.record(events.CleanedUp(what=what))
            logger.info("%s", what)

    # -- where the run goes on

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint whose files are good, or None on a new run; see `newest_good`."""
        return newest_good(self.plan.files, self.plan.layout, self.journal)

    def restore_newest(self) -> RunPosition:
        """Restores the newest good checkpoint; falls back where it cannot be read."""
        build(self.plan.state)
        checkpoint = restore_newest(self.plan.files, self.plan.layout, self.journal, track(self.plan.state), self.plan.state)
        return self.goes_on_from(checkpoint)

    def restore(self, checkpoint: Checkpoint) -> RunPosition:
        """Restores one checkpoint."""
        restore_one(self.journal, checkpoint, track(self.plan.state), self.plan.state)
        return self.goes_on_from(checkpoint)

    def assign_result(self, checkpoint: Checkpoint) -> None:
        """Gives models the weights that training ended with, where they are other than those that training would go on from."""
        assign_result(checkpoint, track(self.plan.state))

    def goes_on_from(self, checkpoint: Checkpoint | None) -> RunPosition:
        """Sets the position, and what the save policy compares with."""
        if checkpoint is None:
            logger.info("new run in %s: step 0", self.plan.layout.root)
            self.position = RunPosition()
        else:
            self.position = checkpoint.manifest.position
            self._extremes = {name: (float(low), float(high)) for name, (low, high) in checkpoint.manifest.extremes.items()}
        self._last = Moment(position=self.position, time_secs=self.plan.clock.monotonic())
        self._metrics = Metrics()
        return self.position

    def epoch_restarted(self) -> None:
        """An epoch that had begun begins again from its first batch."""
        at = self.position
        self.journal.record(events.EpochRestarted(epoch=at.epoch, batches=at.batch))
        logger.warning("epoch %d had done %d batches; it is begun again, so they are trained a second time", at.epoch, at.batch)
        self.position = RunPosition(at.step, at.epoch, 0)

    def training_starts(self) -> None:
        """The first step of this attempt is about to run."""
        self.journal.record(events.TrainingStarted(step=self.position.step))

    # -- while it goes on

    def at(self, position: RunPosition, metrics: Mapping[str, Any] | None = None) -> None:
        """The run has come to `position`, where `metrics` were measured."""
        if position.step < self.position.step:
            raise ConfigError(f"step counts the training batches done since the run began, over all attempts, and never goes back. The run is at "
                              f"step {self.position.step}. Received: {position.step}. Begin at the position that was restored.")
        if position.step != self.position.step:
            self._metrics = Metrics()
        self.position = position
        self.measured(metrics or {})

    def measured(self, metrics: Mapping[str, Any]) -> None:
        """Notes what was measured at this position; tensors are converted only when somebody looks."""
        self._metrics = self._metrics.with_more(metrics)

    def save_if_due(self) -> bool:
        """Saves where the policy says so, and serves a request to stop.

        Raises:
            Preempted: after a request to stop, with the state saved.
        """
        moment = Moment(position=self.position, time_secs=self.plan.clock.monotonic(), metrics=self._metrics, extremes=self._extremes)
        reason = self.plan.save.due(moment, self._last)
        self._extremes = updated_extremes(self._extremes, self._metrics.converted)
        if reason is not None:
            self.save(reason)
        self.serve_stop()
        return reason is not None

    def turn_done(self, position: RunPosition) -> None:
        """A turn of a loop is complete; what was logged in it belongs to `position`."""
        metrics = self._metrics
        self.at(position, metrics.raw)
        self.save_if_due()
        self._metrics = Metrics()

    def take(self) -> Taken:
        """Takes a snapshot of now."""
        began = time.monotonic()
        taken = snapshot.take(track(self.plan.state))
        return Taken(taken, self.position, dict(self._metrics), time.monotonic() - began)

    def save(self, trigger: str, taken: Taken | None = None, *, final: bool = False) -> None:
        """Hands a snapshot to the writer.

        Args:
            trigger: why it is saved.
            taken: the snapshot; by default one of now.
            final: whether training is over.
        """
        taken = taken or self.take()
        self._extremes = updated_extremes(self._extremes, taken.metrics)
        manifest = Manifest(
            step=taken.position.step, epoch=taken.position.epoch, batch=taken.position.batch, attempt=self.journal.attempt,
            saved_at=self.plan.clock.now(), trigger=trigger, states=taken.snapshot.states, tensors=taken.snapshot.entries,
            metrics=to_numbers(taken.metrics),
            extremes={name: (to_number(low), to_number(high)) for name, (low, high) in self._extremes.items()},
            versions=versions(), final=final, total=self.total)
        self.writer.submit(lambda: self._write(taken, manifest))
        self._last = Moment(position=taken.position, time_secs=self.plan.clock.monotonic(), metrics=taken.metrics)

    def _write(self, taken: Taken, manifest: Manifest) -> None:
        written = write_checkpoint(self._target, taken.snapshot, manifest, taken.secs)
        if not self._size_said:
            self._size_said = True
            most = self.plan.keep.most()
            total = "more and more, as the run goes on" if most is None else f"at most {size(written.size_bytes * (most + 1))}"
            logger.info("one checkpoint takes %s; with %r all of them take %s", size(written.size_bytes), self.plan.keep, total)

    def request_stop(self, reason: str) -> None:
        """Asks the run to save and stop at its next safe point."""
        self._stop_reason = reason

    def serve_stop(self) -> None:
        """Stops here where that was asked for.

        Raises:
            Preempted: with the state saved.
        """
        if self._stop_reason is None:
            return
        began = self.plan.clock.monotonic()
        if self._last.position != self.position:
            self.save(self._stop_reason)
        self.writer.wait()
        self.journal.record(events.Preempted(step=self.position.step, reason=self._stop_reason, exit_code=PREEMPTED_EXIT_CODE,
                                             secs=self.plan.clock.monotonic() - began))
        logger.info("stopped by %s at %s; the next start goes on from there", self._stop_reason, self.position)
        raise Preempted(PREEMPTED_EXIT_CODE, self.position.step)

    # -- the end

    def finish(self, taken: Taken | None = None) -> None:
        """Training is over: saves the final state, unless it is there already.

        Args:
            taken: the state that training can go on from; by default that of now. Where weights were replaced since then, by averages or by the
                best ones, those are saved beside it.
        """
        newest = list_checkpoints(self.plan.layout)
        if taken is not None or not newest or newest[-1].step != self.position.step or not newest[-1].manifest.final:
            taken = taken or self.take()
            self.save("end of training", replace(taken, snapshot=snapshot.with_result(taken.snapshot, track(self.plan.state))), final=True)
        self.writer.wait()
        if not self.done:
            self.journal.record(events.Finished(step=self.position.step, epoch=self.position.epoch))
            self.done = True

    def close(self, error: BaseException | None = None) -> None:
        """Lets go of the run. Saves what a loop that was left by `break` had done; saves nothing where an error ended it."""
        outcome = "finished" if self.done else "stopped"
        if isinstance(error, Preempted):
            outcome = "preempted"
        elif error is not None:
            outcome = "failed"
            self.journal.record(events.Failed(error=type(error).__name__, message=str(error), step=self.position.step, restart=True))
        elif not self.done and self._last.position != self.position:
            self.save("the loop was left")
        self.writer.close()
        self.journal.record(events.AttemptEnded(outcome=outcome, step=self.position.step))


def check_directory(layout: RunLayout) -> None:
    """Checks that a run may live in a directory.

    Raises:
        ConfigError: where a file is in the way, or another program's checkpoints are.
    """
    for path in (layout.root, layout.checkpoints, layout.journal):
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is a file; a run needs a directory there. Move the file away, or name another directory.")
    if layout.state_file.exists() and not layout.journal.exists() and not list_checkpoints(layout):
        raise ConfigError(f"{layout.checkpoints} holds checkpoints that another program wrote. Name another directory for this run.")


def _scheduler() -> dict[str, str]:
    """Slurm's own numbers of this job, which say how often it was restarted."""
    names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    return {name.lower(): os.environ[name] for name in names if name in os.environ}
