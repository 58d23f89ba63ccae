"""One attempt at a run: open from the start of training to its end, in one process."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from ckptkit.errors import ConfigError, CorruptCheckpointError, IncompatibleStateError, Preempted, RunLockedError
from ckptkit.log import logger
from ckptkit.manager.finished import note_finished
from ckptkit.manager.loop_data import LoopData
from ckptkit.manager.metrics import Metrics
from ckptkit.manager.plan import Plan
from ckptkit.manager.saver import Saver, Taken
from ckptkit.manager.turn import Turn, begin, optimizers_of
from ckptkit.manager.versions import versions
from ckptkit.policies import Moment
from ckptkit.policies.metrics import Extremes, updated_extremes
from ckptkit.position import RunPosition
from ckptkit.preemption.request import StopBox, StopRequest
from ckptkit.preemption.signals import SignalGuard
from ckptkit.resume.assign import assign_result
from ckptkit.resume.hyperparameters import CHECKPOINT, CODE, Change, are_new, recorded, settle, spelled
from ckptkit.resume.newest import newest_good, quarantine, restore_one
from ckptkit.save import hyperparameters, snapshot
from ckptkit.save.process import ProcessRandom
from ckptkit.save.tracked import Tracker
from ckptkit.store import events
from ckptkit.store.catalog import Checkpoint, list_checkpoints
from ckptkit.store.commit import clean_up
from ckptkit.store.files import storage_errors
from ckptkit.store.fresh import set_aside_earlier_lives, this_life
from ckptkit.store.journal import read_journal, start_attempt
from ckptkit.store.layout import RunLayout
from ckptkit.store.lock import RunLock
from ckptkit.store.manifest import Manifest, to_number, to_numbers

NEVER_RESTART = (ConfigError, IncompatibleStateError, RunLockedError)
"""Errors that the next start would meet again."""


class Attempt:
    """Opens a run for training.

    Args:
        plan: what it is made of.

    Attributes:
        reserve: a snapshot that is written where the training thread comes to no safe point before the machine goes away.

    Raises:
        ConfigError: where a file is in the way, or another program's checkpoints are.
        RunLockedError: where another process trains this run.
        StorageError: where the disk refuses.
    """

    def __init__(self, plan: Plan) -> None:
        self.random = ProcessRandom()
        self.data = LoopData()
        self.plan = replace(plan, state={**plan.state, "loop": self.data, "process": self.random})
        self.position = RunPosition()
        self.done = False
        self.total: int | None = None
        self._metrics = Metrics()
        self._extremes: Extremes = {}
        self._last = Moment(position=self.position, time_secs=plan.clock.monotonic())
        self.phase = "starting"
        self._turn: Turn | None = None  # the one under way, until it is counted
        self._left: Turn | None = None  # the one that was left in the middle of its body
        self._epoch: RunPosition | None = None  # where the run was when the turn of `epochs` began that is under way
        self._optimizers: list[Any] = []
        self._changes: list[Change] = []
        self._configured: dict[str, tuple[Any, str, object]] = {}
        self._replaced: list[tuple[Any, str, Any]] = []
        self._hyperparameters: hyperparameters.Hyperparameters = {}
        self._preempted = False
        self._inexact: set[str] = set()
        self._stop = StopBox()
        self._deadline: float | None = None
        self._tracker = Tracker(self.plan.state)
        self.reserve: Taken | None = None
        self._stopping = threading.Lock()
        check_directory(plan.layout)
        plan.files.make_dir(plan.layout.checkpoints)
        self._lock = RunLock(plan.files, plan.layout, plan.clock.now())
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise

    def _open(self) -> None:
        plan = self.plan
        self.journal = start_attempt(plan.files, plan.layout, plan.clock)
        self._saver = Saver(plan, self.journal, self._tracker)
        self.journal.record(events.AttemptStarted(host=socket.gethostname(), pid=os.getpid(), program=Path(sys.argv[0]).name,
                                                  versions=versions(), scheduler=_scheduler()))
        for what in clean_up(plan.files, plan.layout):
            self.journal.record(events.CleanedUp(what=what))
            logger.info("%s", what)
        if plan.fresh is not None:
            set_aside_earlier_lives(plan.files, plan.layout, self.journal, plan.fresh)
        self._signals = SignalGuard(plan.preemption, self._stop, self._signal_arrived)
        self._signals.install()

    # -- where the run goes on

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint whose files are good, or None on a new run; see `newest_good`."""
        return newest_good(self.plan.files, self.plan.layout, self.journal)

    def restore_newest(self) -> RunPosition:
        """Restores the newest good checkpoint; falls back to the one before it where TensorFlow cannot read it."""
        while (checkpoint := self.newest()) is not None:
            self.check_hyperparameters(checkpoint)
            try:
                return self.restore(checkpoint)
            except CorruptCheckpointError as error:
                quarantine(self.plan.files, self.plan.layout, self.journal, checkpoint, str(error))
        self.check_hyperparameters(None)
        return self.goes_on_from(None)

    def check_hyperparameters(self, checkpoint: Checkpoint | None, more: Mapping[str, object] | None = None) -> None:
        """Compares what the code configures with what the run had, before anything is assigned.

        Args:
            checkpoint: where the run goes on, or None.
            more: configured values beside those of the optimizers and the user's own.

        Raises:
            ConfigError: where they differ, and it is not said which counts.
        """
        self._configured = hyperparameters.of_state(self.plan.state)
        now = {**{name: value for name, (_, _, value) in self._configured.items()}, **(more or {})}
        then = checkpoint.manifest.hyperparameters if checkpoint is not None else {}
        settable = frozenset(name for name, (_, _, value) in self._configured.items() if isinstance(value, int | float))
        self._changes = settle(then, now, self.plan.hparams, self.plan.changed, settable)
        self._hyperparameters = recorded(now, self.plan.hparams, self._changes)
        if checkpoint is not None and are_new(then, self.plan.hparams):
            logger.info("hparams are recorded and compared from here on: the run was begun without any, so there is nothing to compare them with")

    def put_settled(self) -> bool:
        """Puts arguments of optimizers into effect whose value of the checkpoint counts and is no part of the state; before a step is traced.

        Returns:
            Whether an argument of an optimizer has changed, so that a step that was traced before has another one in it.
        """
        changes = [change for change in self._changes if change.name in self._configured]
        for change in changes:
            optimizer, argument, _ = self._configured[change.name]
            if change.settled == CHECKPOINT and argument != "learning_rate":
                self._replaced.append((optimizer, argument, getattr(optimizer, argument)))
                setattr(optimizer, argument, change.then)
        return bool(changes)

    def take_back_settled(self) -> None:
        """Gives optimizers their arguments of before `put_settled`, where the checkpoint was not restored after all."""
        for optimizer, argument, value in reversed(self._replaced):
            setattr(optimizer, argument, value)
        self._replaced = []

    def restore(self, checkpoint: Checkpoint) -> RunPosition:
        """Restores one checkpoint, and puts into effect what was settled of changed hyperparameters."""
        self._check_versions(checkpoint)
        self.put_settled()
        try:
            restore_one(self.journal, checkpoint, self._tracker.now(), self.plan.state)
        except BaseException:
            self.take_back_settled()
            raise
        self._replaced = []
        for change in self._changes:
            optimizer, argument, value = self._configured.get(change.name, (None, "", None))
            if change.settled == CODE and argument == "learning_rate" and isinstance(value, int | float):
                optimizer.learning_rate = value
            then, now = spelled(change.then), spelled(change.now)
            self.journal.record(events.HyperparameterChanged(name=change.name, then=then, now=now, settled=change.settled))
            logger.info("%s: the run had %s, the code says %s; the %s counts", change.name, then, now, change.settled)
        return self.goes_on_from(checkpoint)

    def assign_result(self, checkpoint: Checkpoint) -> None:
        """Gives models the weights that training ended with, where they are other than those that training would go on from."""
        assign_result(checkpoint, self._tracker.now())

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

    def inexact(self, reason: str) -> None:
        """The run cannot go on bit for bit after an interruption; what happens then is the user's to say.

        Raises:
            ConfigError: with `exact="require"`.
        """
        if self.plan.exact == "require":
            raise ConfigError(f"exact='require' was asked for, and this run cannot go on bit for bit after an interruption: {reason}.")
        if self.plan.exact == "warn" and reason not in self._inexact:
            logger.warning("not exact after an interruption: %s. (exact='off' silences this, exact='require' makes it an error)", reason)
            self.journal.record(events.Inexact(reason=reason))
        self._inexact.add(reason)

    def _check_versions(self, checkpoint: Checkpoint) -> None:
        then, now = checkpoint.manifest.versions, versions()
        other = [f"{name} {then[name]} then, {now[name]} now" for name in ("tensorflow", "keras", "numpy")
                 if name in then and then[name] != now[name]]
        if other:
            self.inexact(f"other versions compute other bits ({'; '.join(other)})")

    def training_starts(self) -> None:
        """The first step of this attempt is about to run."""
        self.phase = "training"
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

    def say_finished(self, what: str, done: int) -> None:
        """A loop has nothing left to do."""
        logger.info("this run has finished: %d %s are done, nothing is trained. To train on, pass a larger total to manager.%s; for another run, "
                    "pass fresh='a label' or name another directory", done, what, what)

    @contextmanager
    def turn(self, position: RunPosition) -> Iterator[Turn]:
        """The block is the body of one turn of a loop, which leads to `position`.

        Several loops may go on together, as in `zip`: the first one's turn is that of all. It is done when the first one goes on.

        Raises:
            ConfigError: where another one goes on before the first: then it is not known what a turn is.
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
            raise ConfigError("manager.data(...) counts steps, and so does the loop around it, so it is not known how far the run is. Go over the "
                              "inner data without manager.data, with its iterator in state where it goes on from turn to turn; or go over both "
                              "at once, with zip(manager.data(a), manager.data(b)).")

    def count_turn(self) -> None:
        """The turn under way is done, for the position and for the data; where it was counted already nothing happens."""
        if self._turn is not None:
            turn, self._turn = self._turn, None
            turn.counted = True
            self.data.done()
            self.at(turn.position, self._metrics.raw)

    def turn_done(self, turn: Turn, *, last: bool = False) -> None:
        """The body of a turn is over; what was logged in it belongs to its position. The state after the last one is saved as final."""
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
        """The epoch that began at a position is done. Where nothing in it has counted steps, it counts one itself: a position is never that of
        the epoch before.
        """
        own_data = self.position == began and began.batch == 0 and not self.data.in_use
        self.data.epoch_ended()
        self.at(RunPosition(step=self.position.step + own_data, epoch=began.epoch + 1, batch=0), self._metrics.raw)

    def safe_point(self) -> None:
        """Serves a request to stop inside a turn whose training is done; the turn then counts as done.

        Raises:
            Preempted: after a request to stop, with the state saved.
        """
        if self.stop_requested:
            self.count_turn()
            self._pass_is_over()
            if self._epoch is not None and self.position == self._epoch and self._epoch.batch == 0 and not self.data.in_use:
                self.count_epoch(self._epoch)  # an epoch over data of the user's own
        self.serve_stop()

    def come_to(self, step: int, metrics: Mapping[str, Any] | None) -> None:
        """The user says that `step` is done; inside a turn that leads to it, the turn is."""
        if self._turn is not None and step >= self._turn.position.step:
            self.count_turn()
        self._pass_is_over()
        self.at(replace(self.position, step=step), metrics)

    def _pass_is_over(self) -> None:
        """Inside a loop over epochs, the program has gone on after a pass over data that it broke off."""
        if self._epoch is not None:
            self.data.goes_on()

    def at(self, position: RunPosition, metrics: Mapping[str, Any] | None = None) -> None:
        """The run has come to `position`, where `metrics` were measured."""
        if position.step < self.position.step:
            raise ConfigError(f"step counts the training batches done since the run began, over all attempts, and never goes back. "
                              f"The run is at step {self.position.step}. Received: {position.step}. Begin at the position that was restored.")
        if position != self.position:
            self._metrics = Metrics()
        self.position = position
        self.measured(metrics or {})

    def measured(self, metrics: Mapping[str, Any]) -> None:
        """Notes what was measured at this position; tensors are converted only when somebody looks."""
        self._metrics = self._metrics.with_more(metrics)

    def save_if_due(self, leave: Callable[[], None] | None = None) -> bool:
        """Saves where the policy says so, and serves a request to stop.

        Args:
            leave: see `serve_stop`.

        Raises:
            Preempted: after a request to stop, with the state saved.
        """
        moment = Moment(position=self.position, time_secs=self.plan.clock.monotonic(), metrics=self._metrics, extremes=self._extremes,
                        save_secs=self._saver.cost_secs)
        self._saver.turn(moment.time_secs)
        reason = self.plan.save.due(moment, self._last)
        must = reason is not None and any(policy.insists(moment, self._last) for policy in (self.plan.save, self.plan.keep))
        self._extremes = updated_extremes(self._extremes, self._metrics.converted)
        if reason is not None:
            self.save(reason, must=must)
        self.serve_stop(leave=leave)
        return reason is not None

    def take(self) -> Taken:
        """Takes a snapshot of now."""
        return self._saver.take(self.position, dict(self._metrics))

    def save(self, trigger: str, taken: Taken | None = None, *, final: bool = False, must: bool = True) -> None:
        """Hands a snapshot to the writer.

        Args:
            trigger: why it is saved.
            taken: the snapshot; by default one of now.
            final: whether training is over.
            must: whether it may not be dropped for a newer one while an earlier one is being written.
        """
        taken = taken or self.take()
        self._extremes = updated_extremes(self._extremes, taken.metrics)
        manifest = Manifest(
            step=taken.position.step, epoch=taken.position.epoch, batch=taken.position.batch, attempt=self.journal.attempt,
            saved_at=self.plan.clock.now(), trigger=trigger, states=taken.snapshot.states, tensors=(),
            metrics=to_numbers(taken.metrics),
            extremes={name: (to_number(low), to_number(high)) for name, (low, high) in self._extremes.items()},
            hyperparameters=dict(self._hyperparameters), versions=versions(), final=final, total=self.total)
        self._saver.save(taken, manifest, must=must)
        self._last = Moment(position=taken.position, time_secs=self.plan.clock.monotonic(), metrics=taken.metrics)

    def wait(self, timeout_secs: float | None = None) -> None:
        """Returns when everything that was saved is committed."""
        self._saver.wait(timeout_secs)

    def saw_iterations(self, iterations: int) -> bool:
        """Whether an optimizer of the state stands where this process has left it."""
        return hyperparameters.saw_iterations(self.plan.state, iterations)

    def request_stop(self, reason: str) -> None:
        """Asks the run to save and stop at its next safe point; from any thread."""
        self._stop.put(StopRequest(reason, self.plan.preemption.exit_code))

    @property
    def stop_requested(self) -> bool:
        """Whether the run is to stop at its next safe point."""
        return self._stop.get() is not None

    def _signal_arrived(self, name: str) -> None:
        if name == "SIGINT":
            logger.warning("saving step %d; Ctrl-C again to stop now", self.position.step)
        else:
            if self._deadline is None:
                self._deadline = time.monotonic() + self.plan.preemption.grace_secs
                self._call_last_resort()
            logger.warning("received %s while %s: saving at the next safe point, then stopping", name, self.phase)
        self.journal.record(events.SignalReceived(signal=name, phase=self.phase))

    def _call_last_resort(self) -> None:
        """Late enough that training may come to a safe point by itself, and early enough to write."""
        timer = threading.Timer(max(self.plan.preemption.grace_secs - 1.5 * (self._saver.write_secs or 0.0) - 1.0, 0.0), self._last_resort)
        timer.daemon = True
        timer.start()

    def _last_resort(self) -> None:
        """The training thread sits in a long step or evaluation, and the machine goes away: what was held in reserve is saved without it."""
        with self._stopping:
            reserve = self.reserve
            # Not `stop_requested`: Python's handler has to wait for the training thread as well.
            if self._deadline is None or reserve is None or reserve.position == self._last.position:
                return
            reason = f"no safe point within {self.plan.preemption.grace_secs:g} s of grace, while {self.phase}"
            logger.warning("%s: saving %s, from before", reason, reserve.position)
            self.journal.record(events.EmergencyDecided(action="reserve", reason=reason))
            self.save(f"the machine goes away; {reason}", reserve)

    def serve_stop(self, taken: Taken | None = None, leave: Callable[[], None] | None = None) -> None:
        """Stops here where that was asked for.

        Args:
            taken: the snapshot to save; by default one of now.
            leave: called when the state is safe, before the process is left.

        Raises:
            Preempted: with the state saved. After Ctrl-C it is `KeyboardInterrupt` instead, and where a handler was there before ours,
                whatever that raises.
        """
        request = self._stop.get()
        if request is None:
            return
        began = self.plan.clock.monotonic()
        at = taken.position if taken is not None else self.position
        with self._stopping:
            if self._last.position != at and not self.done:
                if taken is None:
                    self._warn_of_half_a_turn()
                at = self._save_before_the_end(request, taken, at)
        self._saver.wait()
        self.journal.record(events.Preempted(step=at.step, reason=request.reason, exit_code=request.exit_code,
                                             secs=self.plan.clock.monotonic() - began))
        logger.info("stopped by %s at %s; the next start goes on from there", request.reason, at)
        self._preempted = True
        self._stop.clear()
        self._deadline = None
        if leave is not None:
            leave()
        _answer(request, at)

    def _save_before_the_end(self, request: StopRequest, taken: Taken | None, at: RunPosition) -> RunPosition:
        """Saves what can be saved in the time that is left, and says where the next start will go on."""
        decision = self._saver.decide(self._deadline)
        if self._deadline is not None:
            self.journal.record(events.EmergencyDecided(action=decision.action, reason=decision.reason))
        if decision.action == "save":
            self.save(request.reason, taken)
            return at
        logger.warning("not saved at %s: %s", at, decision.reason)
        self._saver.wait()
        newest = list_checkpoints(self.plan.layout)
        return newest[-1].manifest.position if newest else RunPosition()

    # -- the end

    def finish(self, taken: Taken | None = None) -> None:
        """Training is over: saves the final state, unless it is there already.

        Args:
            taken: the state that training can go on from; by default that of now. Where weights were replaced since then, by
                averages or by the best ones, those are saved beside it.
        """
        self._saver.wait()
        newest = list_checkpoints(self.plan.layout)
        if taken is not None or not newest or newest[-1].step != self.position.step or not newest[-1].manifest.final:
            taken = taken or self.take()
            self.save("end of training", replace(taken, snapshot=snapshot.with_result(taken.snapshot, self._tracker.now())), final=True)
        self._saver.wait()
        self.note_finished()

    def note_finished(self) -> None:
        """Training has come to its end here. The journal says so once: a finished run may be started again."""
        self.done = True
        life = this_life(read_journal(self.plan.layout).events)
        if not any(isinstance(event, events.Finished) and event.step == self.position.step for event in life):
            self.journal.record(events.Finished(step=self.position.step, epoch=self.position.epoch))

    def has_saved_after(self, checkpoint: Checkpoint) -> bool:
        """Whether this attempt has saved at a later step than the checkpoint's."""
        self._saver.wait()
        return any(other.attempt == self.journal.attempt and other.step > checkpoint.step for other in list_checkpoints(self.plan.layout))

    def abandon(self) -> None:
        """What was done since the last save is not to be saved."""
        self._last = replace(self._last, position=self.position)

    def close(self, error: BaseException | None = None) -> None:
        """Lets go of the run. Saves what a loop that was left by `break` had done, and serves a request to stop that no turn has met; saves
        nothing where an error ended it.

        Args:
            error: what ended training, or None.

        Raises:
            Preempted: after a request to stop, with the state saved; see `serve_stop`.
            StorageError: where the disk refuses; earlier checkpoints are untouched.
        """
        ended_by = error
        try:
            if error is None:
                self.serve_stop()
        except BaseException as caught:
            ended_by = caught
            raise
        finally:
            self._end(ended_by)
        if error is None and (late := self._stop.get()) is not None:  # it came when all was saved already
            _answer(late, self.position)

    def _end(self, error: BaseException | None) -> None:
        """Tells of the end, and lets go of what belongs to the process, whatever fails on the way."""
        try:
            self._tell_end(error)
        finally:
            try:
                hyperparameters.saw(self._configured)
            finally:
                try:
                    self._signals.restore()
                finally:
                    self._lock.release()

    def _tell_end(self, error: BaseException | None) -> None:
        outcome = "finished" if self.done else "stopped"
        if self._preempted:
            outcome = "preempted"
        elif isinstance(error, Preempted) or (isinstance(error, KeyboardInterrupt) and self._stop.answered_elsewhere):
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
            self.journal.record(events.Failed(error=type(error).__name__, message=str(error), step=self.position.step,
                                              restart=not isinstance(error, NEVER_RESTART)))
        else:
            self._save_the_rest("the loop was left")
        self._saver.wait()
        if outcome == "finished":
            note_finished(self.plan.layout, self.plan.state)
        self.journal.record(events.AttemptEnded(outcome=outcome, step=self.position.step))

    @property
    def _between_turns(self) -> bool:
        return self.phase in ("starting", "between loops") and self._turn is None and self._left is None

    def _save_the_rest(self, trigger: str) -> None:
        if self.done or self._last.position == self.position:
            return
        self._warn_of_half_a_turn()
        self.save(trigger)

    def _warn_of_half_a_turn(self) -> None:
        turn = self._turn or self._left
        if turn is not None and turn.has_trained():
            logger.warning("the loop was left in the middle of step %d, after it had trained: what is saved as %s has that training in it, and the "
                           "next start makes step %d again. To leave without that, call manager.request_stop(), which waits for the end of the "
                           "turn, or break at the top of the body", turn.position.step, self.position, turn.position.step)


def is_orderly_exit(error: BaseException | None) -> bool:
    """Whether the program is left by `sys.exit()` without an error's code."""
    return isinstance(error, SystemExit) and error.code in (0, None)


def _answer(request: StopRequest, at: RunPosition) -> NoReturn:
    """Leaves the program as it was asked to; the state is safe."""
    if request.before is not None:
        request.before()
    if request.interrupt:
        raise KeyboardInterrupt
    raise Preempted(request.exit_code, at.step)


def check_directory(layout: RunLayout) -> None:
    """Checks that a run may live in a directory.

    Raises:
        ConfigError: where a file is in the way, or another program's checkpoints are.
    """
    with storage_errors("look at", layout.root):
        for path in (layout.root, layout.checkpoints, layout.journal):
            if path.exists() and not path.is_dir():
                raise ConfigError(f"{path} is a file; a run needs a directory there. Move the file away, or name another directory.")
        anothers = layout.state_file.exists() and not layout.journal.exists() and not list_checkpoints(layout)
    if anothers:
        raise ConfigError(f"{layout.checkpoints} holds checkpoints that another program wrote. Name another directory for this run.")


def _scheduler() -> dict[str, str]:
    """Slurm's own numbers of this job, which say how often it was restarted."""
    names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    return {name.lower(): os.environ[name] for name in names if name in os.environ}
