"""One attempt at a run: open from the start of training to its end, in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from ckptkit.data.loop_data import LoopData
from ckptkit.errors import ConfigError, CorruptCheckpointError, Preempted
from ckptkit.log import logger
from ckptkit.policies import Moment
from ckptkit.policies.metric_order import Extremes, updated_extremes
from ckptkit.position import RunPosition
from ckptkit.restore.assign import assign_result
from ckptkit.restore.newest_checkpoint import newest_good, restore_one
from ckptkit.run import events
from ckptkit.run.best_effort import try_record
from ckptkit.run.catalog import Checkpoint, list_checkpoints
from ckptkit.run.fresh_start import this_life
from ckptkit.run.journal import read_journal
from ckptkit.run.library_versions import versions
from ckptkit.run.manifest import Manifest, to_number, to_numbers
from ckptkit.run.quarantine import quarantine
from ckptkit.session.audit_pause import hold_of
from ckptkit.session.finished_runs import note_finished
from ckptkit.session.hyperparameter_changes import HyperparameterChanges
from ckptkit.session.loop_turn import LoopTurn, begin, optimizers_of
from ckptkit.session.measured_metrics import Metrics
from ckptkit.session.opening import open_run_to_train
from ckptkit.session.options import RunOptions
from ckptkit.session.remote_control import RemoteControl, may_restart
from ckptkit.session.saver import Saver, Taken
from ckptkit.session.stopping import Stopping
from ckptkit.session.tensorboard_hook import TensorBoardHook
from ckptkit.tracking import hyperparameters, snapshot
from ckptkit.tracking.random_state import ProcessRandom
from ckptkit.tracking.tracker import Tracker


class Session:
    """Opens a run for training.

    Args:
        plan: what it is made of.

    Attributes:
        beats: grows while the run gets on; others only compare it.
        trained: whether this process has made a step.
        stopwatch: what its time goes into.
        changes: hyperparameters, compared and put into effect.
        stopping: requests to stop.

    Raises:
        ConfigError: where a file is in the way, or another program's checkpoints are.
        RunLockedError: where another process trains this run.
        StorageError: where the disk refuses.
    """

    def __init__(self, plan: RunOptions) -> None:
        self.random = ProcessRandom()
        self.data = LoopData(self.inexact)
        self.plan = replace(plan, state={**plan.state, "loop": self.data, "process": self.random})
        self.position = RunPosition()
        self.done = False
        self.total: int | None = None
        self._metrics = Metrics()
        self._extremes: Extremes = {}
        self._last = Moment(position=self.position, time_secs=plan.clock.monotonic())
        self._abandoned: RunPosition | None = None
        self.phase = "starting"
        self.beats = 0
        self.trained = False
        self._turn: LoopTurn | None = None  # the one under way, until it is counted
        self._left: LoopTurn | None = None  # the one that was left in the middle of its body
        self._epoch: RunPosition | None = (
            None  # where the run was when the turn of `epochs` began that is under way
        )
        self._optimizers: list[Any] = []
        self._inexact: set[str] = set()
        self._tracker = Tracker(self.plan.state)
        opened = open_run_to_train(self.plan)
        self.plan, self.journal, self._lock, self.stopwatch = (
            opened.plan,
            opened.journal,
            opened.lock,
            opened.stopwatch,
        )
        try:
            self.changes = HyperparameterChanges(self.plan)
            self._logs = TensorBoardHook(self.plan, self.journal)
            self._saver = Saver(
                self.plan, self.journal, self._tracker, self.stopwatch, self._logs.saved
            )
            self.stopping = Stopping(self, self.plan, self.journal, self._saver)
            self._outside = RemoteControl(self, self.plan, self.journal, self.stopping)
            self._hold = hold_of(self, self.plan.layout, self.stopping)
        except BaseException:
            self._lock.release()
            raise

    # -- where the run goes on

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint whose files are good, or None on a new run; see `newest_good`."""
        with self.stopwatch.during("restoring"):
            return newest_good(self.plan.files, self.plan.layout, self.journal, self.plan.verify)

    def restore_newest(self) -> RunPosition:
        """Restores the newest good checkpoint; falls back to the one before it where TensorFlow
        cannot read it.
        """
        while (checkpoint := self.newest()) is not None:
            self.changes.check(checkpoint)
            try:
                return self.restore(checkpoint)
            except CorruptCheckpointError as error:
                quarantine(self.plan.files, self.plan.layout, self.journal, checkpoint, error)
        self.changes.check(None)
        return self.start_from(None)

    def restore(self, checkpoint: Checkpoint) -> RunPosition:
        """Restores one checkpoint, and puts into effect what was settled of changed
        hyperparameters.
        """
        self._check_versions(checkpoint)
        self.changes.apply()
        try:
            with self.stopwatch.during("restoring"):
                restore_one(self.journal, checkpoint, self._tracker.track_now(), self.plan.state)
        except BaseException:
            self.changes.undo()
            raise
        self.changes.remember(self.journal)
        return self.start_from(checkpoint)

    @contextmanager
    def reading(self, checkpoint: Checkpoint) -> Iterator[None]:
        """The block reads a checkpoint where it is too late to try another one. One that cannot be
        read is moved away for the next start.

        Raises:
            CorruptCheckpointError: where it cannot be read.
        """
        try:
            yield
        except CorruptCheckpointError as error:
            quarantine(self.plan.files, self.plan.layout, self.journal, checkpoint, error)
            raise CorruptCheckpointError(
                f"{error} It was moved to {self.plan.layout.quarantine}, and nothing was "
                "assigned. Start again: the run "
                f"goes on from the checkpoint before it.",
                error.damage,
                error.file,
            ) from error

    def assign_result(self, checkpoint: Checkpoint) -> None:
        """Gives models the weights that training ended with, where they are other than those that
        training would go on from.
        """
        assign_result(checkpoint, self._tracker.track_now())

    def start_from(self, checkpoint: Checkpoint | None) -> RunPosition:
        """Sets the position, and what the save policy compares with."""
        if checkpoint is None:
            logger.info("new run in %s: step 0", self.plan.layout.root)
            self.position = RunPosition()
        else:
            self.position = checkpoint.manifest.position
            self._extremes = {
                name: (float(low), float(high))
                for name, (low, high) in checkpoint.manifest.extremes.items()
            }
        self._last = Moment(position=self.position, time_secs=self.plan.clock.monotonic())
        self._metrics = Metrics()
        self._logs.start_from(checkpoint)
        return self.position

    def inexact(self, reason: str) -> None:
        """The run cannot go on bit for bit after an interruption; what happens then is the user's
        to say.

        Raises:
            ConfigError: with `exact="require"`.
        """
        if self.plan.exact == "require":
            raise ConfigError(
                "exact='require' was asked for, and this run cannot go on bit for bit after an "
                f"interruption: {reason}."
            )
        if self.plan.exact == "warn" and reason not in self._inexact:
            logger.warning(
                "not exact after an interruption: %s. (exact='off' silences this, exact='require' "
                "makes it an error)",
                reason,
            )
            try_record(self.journal, events.Inexact(reason=reason))
        self._inexact.add(reason)

    def _check_versions(self, checkpoint: Checkpoint) -> None:
        then, now = checkpoint.manifest.versions, versions()
        other = [
            f"{name} {then[name]} then, {now[name]} now"
            for name in ("tensorflow", "keras", "numpy")
            if name in then and then[name] != now[name]
        ]
        if other:
            self.inexact(f"other versions compute other bits ({'; '.join(other)})")

    def training_starts(self) -> None:
        """The first step of this attempt is about to run."""
        self.phase = "training"
        self.stopwatch.trains_here()
        self.stopwatch.switch_to("training" if self.trained else "first_step")
        self.journal.record(events.TrainingStarted(step=self.position.step))

    # -- while it goes on

    @contextmanager
    def training(self) -> Iterator[None]:
        """The block is a loop of training."""
        before = self.phase
        if before in ("starting", "between loops"):
            self._optimizers = optimizers_of(self.plan.state)
            self.training_starts()
            before = "between loops"
        try:
            yield
        finally:
            self.phase = before
            if before == "between loops":
                self.stopwatch.switch_to("outside")

    def say_finished(self, what: str, done: int) -> None:
        """A loop has nothing left to do."""
        logger.info(
            "this run has finished: %d %s are done, nothing is trained. To train on, pass a "
            "larger total to manager.%s; for another run, "
            "pass fresh='a label' or name another directory",
            done,
            what,
            what,
        )

    @contextmanager
    def turn(self, position: RunPosition) -> Iterator[LoopTurn]:
        """The block is the body of one turn of a loop, which leads to `position`.

        Several loops may go on together, as in `zip`: the first one's turn is that of all. It is
        done when the first one goes on.

        Raises:
            ConfigError: where another one goes on before the first: then it is not known what a
                turn is.
        """
        mine = self._turn is None
        turn = self._turn = self._turn or begin(position, self._optimizers)
        if mine:
            self._left = None
            self._metrics = Metrics()
        try:
            yield turn
        except GeneratorExit:
            if mine and not turn.counted:
                self._turn, self._left = None, turn
            raise
        if not mine and not turn.counted:
            raise ConfigError(
                "manager.data(...) counts steps, and so does the loop around it, so it is not "
                "known how far the run is. Go over the "
                "inner data without manager.data, with its iterator in state where it goes on "
                "from turn to turn; or go over both "
                "at once, with zip(manager.data(a), manager.data(b))."
            )

    def count_turn(self) -> None:
        """The turn under way is done, for the position and for the data; where it was counted
        already nothing happens.
        """
        if self._turn is not None:
            turn, self._turn = self._turn, None
            turn.counted = True
            self.data.done()
            self.step_done(turn.position, self._metrics.raw)

    def turn_done(self, turn: LoopTurn, *, last: bool = False) -> None:
        """The body of a turn is over; what was logged in it belongs to its position. The state
        after the last one is saved as final.
        """
        if self._turn is turn:
            self.count_turn()
        if self._turn is None and not last:  # else a loop beside this one has begun the next turn
            self.save_if_due()

    @contextmanager
    def epoch(self) -> Iterator[None]:
        """The block is the body of one turn of a loop over epochs."""
        self._epoch, self._metrics = self.position, Metrics()
        try:
            yield
        finally:
            self._epoch = None

    def count_epoch(self, began: RunPosition) -> None:
        """The epoch that began at a position is done. Where nothing in it has counted steps, it
        counts one itself: a position is never that of the epoch before.
        """
        own_data = self.position == began and began.batch == 0 and not self.data.in_use
        self.data.epoch_ended()
        self.step_done(
            RunPosition(step=self.position.step + own_data, epoch=began.epoch + 1, batch=0),
            self._metrics.raw,
        )

    def safe_point(self) -> None:
        """Serves a request to stop inside a turn whose training is done; the turn then counts as
        done.

        Raises:
            Preempted: after a request to stop, with the state saved.
        """
        self.beats += 1
        if self.stopping.requested:
            self.count_turn()
            self._pass_is_over()
            if (
                self._epoch is not None
                and self.position == self._epoch
                and self._epoch.batch == 0
                and not self.data.in_use
            ):
                self.count_epoch(self._epoch)  # an epoch over data of the user's own
        self.stopping.serve()

    def advance_to(self, step: int, metrics: Mapping[str, Any] | None) -> None:
        """The user says that `step` is done; inside a turn that leads to it, the turn is."""
        if self._turn is not None and step >= self._turn.position.step:
            self.count_turn()
        self._pass_is_over()
        self.step_done(replace(self.position, step=step), metrics)

    def _pass_is_over(self) -> None:
        """Inside a loop over epochs, the program has gone on after a pass over data that it broke
        off.
        """
        if self._epoch is not None:
            self.data.end_broken_off_passes()

    def step_done(self, position: RunPosition, metrics: Mapping[str, Any] | None = None) -> None:
        """The run has come to `position`, where `metrics` were measured."""
        if position.step < self.position.step:
            raise ConfigError(
                "step counts the training batches done since the run began, over all attempts, "
                "and never goes back. "
                f"The run is at step {self.position.step}. Received: {position.step}. Begin at "
                "the position that was restored."
            )
        if position != self.position:
            self._metrics = Metrics()
            self.done = False  # a program may train on after it has come to an end
        if not self.trained and position.step > self.position.step:
            self.trained = True
            self.stopwatch.trains_here()
            self.stopwatch.switch_to("training")
        self.beats += 1
        self.position = position
        self.measured(metrics or {})
        self._hold(position.step)

    def measured(self, metrics: Mapping[str, Any]) -> None:
        """Notes what was measured at this position; tensors are converted only when somebody looks."""
        self._metrics = self._metrics.with_more(metrics)

    def save_if_due(self, leave: Callable[[], None] | None = None) -> bool:
        """Saves where the policy says so, and serves a request to stop.

        Args:
            leave: see `Stopping.serve`.

        Raises:
            BackgroundSaveError: what went wrong in an earlier save; after a request to stop, with
                the state saved.
            Preempted: after a request to stop, with the state saved.
        """
        if (
            not self.stopping.requested
        ):  # else this is the last chance to save, and what went wrong is raised after it
            self.check()
        moment = Moment(
            position=self.position,
            time_secs=self.plan.clock.monotonic(),
            metrics=self._metrics,
            extremes=self._extremes,
            save_secs=self._saver.cost_secs,
        )
        self._saver.turn(moment.time_secs)
        reason = self.plan.save.due(moment, self._last)
        must = reason is not None and any(
            policy.insists(moment, self._last) for policy in (self.plan.save, self.plan.keep)
        )
        if (asked := self._outside.save_reason) is not None:
            reason, must = asked, True
        self._extremes = updated_extremes(self._extremes, self._metrics.converted)
        if reason is not None:
            self.save(reason, must=must, periodic=True)
        self.stopping.serve(leave=leave)
        return reason is not None

    def take(self) -> Taken:
        """Takes a snapshot of now."""
        taken = self._saver.take(self.position, dict(self._metrics))
        for reason in self._tracker.iterators_losing_order:
            self.inexact(reason)
        return taken

    def save(
        self,
        trigger: str,
        taken: Taken | None = None,
        *,
        final: bool = False,
        must: bool = True,
        periodic: bool = False,
    ) -> None:
        """Hands a snapshot to the writer.

        Args:
            trigger: why it is saved.
            taken: the snapshot; by default one of now.
            final: whether training is over.
            must: whether it may not be dropped for a newer one while an earlier one is being
                written.
            periodic: whether another one follows by itself, so that training goes on where there is
                no space for this one.
        """
        self._outside.saves((taken.position if taken is not None else self.position).step)
        taken = taken or self.take()
        self._extremes = updated_extremes(self._extremes, taken.metrics)
        manifest = Manifest(
            step=taken.position.step,
            epoch=taken.position.epoch,
            batch=taken.position.batch,
            attempt=self.journal.attempt,
            saved_at=taken.time,
            trigger=trigger,
            states=taken.snapshot.states,
            tensors=(),
            metrics=to_numbers(taken.metrics),
            extremes={
                name: (to_number(low), to_number(high))
                for name, (low, high) in self._extremes.items()
            },
            hyperparameters=dict(self.changes.recorded),
            versions=versions(),
            final=final,
            total=self.total,
        )
        self._saver.save(taken, manifest, must=must, periodic=periodic)
        self._last = Moment(
            position=taken.position, time_secs=self.plan.clock.monotonic(), metrics=taken.metrics
        )

    @property
    def saved_at(self) -> RunPosition:
        """Where the last save was taken, or where this attempt began."""
        return self._last.position

    def check(self) -> None:
        """Raises what went wrong in an earlier save, once.

        Raises:
            BackgroundSaveError: with its cause.
        """
        self._saver.check()

    def wait(self) -> None:
        """Returns when nothing is being written any more."""
        self._saver.wait()

    def confirm(self, timeout_secs: float | None = None) -> None:
        """Returns when everything that was saved is committed.

        Raises:
            BackgroundSaveError: what went wrong, a lack of space at the newest save included.
        """
        self._saver.confirm(timeout_secs)

    def saw_iterations(self, iterations: int) -> bool:
        """Whether an optimizer of the state stands where this process has left it."""
        return hyperparameters.remembers_iterations(self.plan.state, iterations)

    # -- the end

    def finish(self, taken: Taken | None = None) -> None:
        """Training is over: saves the final state, unless it is there already.

        Args:
            taken: the state that training can go on from; by default that of now. Where weights
                were replaced since then, by averages or by the best ones, those are saved beside
                it.

        Raises:
            BackgroundSaveError: what went wrong in this save, or in an earlier one; the final state
                was saved all the same then.
        """
        self._saver.finish()
        newest = list_checkpoints(self.plan.layout)
        if (
            taken is not None
            or not newest
            or newest[-1].step != self.position.step
            or not newest[-1].manifest.final
        ):
            taken = taken or self.take()
            self.save(
                "end of training",
                replace(
                    taken,
                    snapshot=snapshot.with_final_weights(taken.snapshot, self._tracker.track_now()),
                ),
                final=True,
            )
        self._saver.wait()
        self.note_finished()

    def note_finished(self) -> None:
        """Training has come to its end here. The journal says so once: a finished run may be
        started again.
        """
        self.done = True
        life = this_life(read_journal(self.plan.layout).events)
        if not any(
            isinstance(event, events.Finished) and event.step == self.position.step
            for event in life
        ):
            try_record(
                self.journal, events.Finished(step=self.position.step, epoch=self.position.epoch)
            )

    def has_saved_after(self, checkpoint: Checkpoint) -> bool:
        """Whether this attempt has saved at a later step than the checkpoint's."""
        self._saver.wait()
        return any(
            other.attempt == self.journal.attempt and other.step > checkpoint.step
            for other in list_checkpoints(self.plan.layout)
        )

    def abandon(self) -> None:
        """What was done since the last save is not to be saved."""
        self._last = replace(self._last, position=self.position)
        self._abandoned = self.position

    def close(self, error: BaseException | None = None) -> None:
        """Lets go of the run. Saves what a loop that was left by `break` had done, and serves a
        request to stop that no turn has met; saves nothing where an error ended it.

        Args:
            error: what ended training, or None.

        Raises:
            Preempted: after a request to stop, with the state saved; see `Stopping.serve`.
            StorageError: where the disk refuses; earlier checkpoints are untouched.
        """
        ended_by = error
        try:
            if error is None:
                self.stopping.serve()
        except BaseException as caught:
            ended_by = caught
            raise
        finally:
            self._end(ended_by)
        if error is None:
            self.stopping.answer_late()

    def _end(self, error: BaseException | None) -> None:
        """Tells of the end, and lets go of what belongs to the process, whatever fails on the way."""
        with ExitStack() as last:
            for step in (
                self._lock.release,
                self._logs.end,
                self._outside.end,
                self.stopping.end,
                self.changes.left,
            ):
                last.callback(step)  # the first of them is called last
            try:
                self._tell_end(error)
            except BaseException as second:
                if (
                    error is not None
                ):  # a traceback shows the cause of the second, and not what it came after
                    second.add_note(
                        f"The run was being let go of after {type(error).__name__}: {error}"
                    )
                self._saver.abandon()  # nothing is written into a run that is let go of
                raise

    def _tell_end(self, error: BaseException | None) -> None:
        outcome = "finished" if self.done else "stopped"
        if self.stopping.preempted:
            outcome = "preempted"
        elif isinstance(error, Preempted) or (
            isinstance(error, KeyboardInterrupt) and self.stopping.answered_elsewhere
        ):
            # Another run of this process was told to stop, and the program is being left.
            outcome = "preempted"
            if self._between_turns:
                self._save_the_rest("another run was told to stop")
        elif isinstance(error, KeyboardInterrupt):
            self._saver.abandon()  # it is to stop now: nothing went wrong, and nothing is saved
        elif is_orderly_exit(error):
            pass  # nothing went wrong, and the moment is none to save at
        elif error is not None:
            outcome = "failed"
            try_record(
                self.journal,
                events.Failed(
                    error=type(error).__name__,
                    message=str(error),
                    step=self.position.step,
                    restart=may_restart(error),
                ),
            )
        else:
            self._save_the_rest("the loop was left")
        self._saver.wait()
        self._outside.ended(outcome, error)
        if outcome == "finished":
            note_finished(self.plan.layout, self.plan.state)
        try_record(
            self.journal,
            events.AttemptEnded(
                outcome=outcome, step=self.position.step, spent=self.stopwatch.secs
            ),
        )

    @property
    def _between_turns(self) -> bool:
        return (
            self.phase in ("starting", "between loops")
            and self._turn is None
            and self._left is None
        )

    def _save_the_rest(self, trigger: str) -> None:
        if self.done or self.is_saved(self.position):
            return
        self.warn_partial_step()
        self.save(trigger)

    def is_saved(self, at: RunPosition) -> bool:
        """Whether nothing is left to be saved at a position; waits for what is being written. A
        save there may have come to nothing.
        """
        if self.saved_at != at or at == self._abandoned:
            return self.saved_at == at
        self._saver.finish()
        return self._saver.unsaved != at

    def warn_partial_step(self) -> None:
        """Says where a turn is left after it has trained."""
        turn = self._turn or self._left
        if turn is not None and turn.has_trained():
            logger.warning(
                "the loop was left in the middle of step %d, after it had trained: what is saved "
                "as %s has that training in it, and the "
                "next start makes step %d again. To leave without that, call "
                "manager.request_stop(), which waits for the end of the "
                "turn, or break at the top of the body",
                turn.position.step,
                self.position,
                turn.position.step,
            )


def is_orderly_exit(error: BaseException | None) -> bool:
    """Whether the program is left by `sys.exit()` without an error's code."""
    return isinstance(error, SystemExit) and error.code in (0, None)
