"""Decides when a session saves, and starts the saves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ckptkit.errors import ConfigError
from ckptkit.policies import Moment
from ckptkit.policies.metric_order import Extremes, updated_extremes
from ckptkit.position import RunPosition
from ckptkit.run.checkpoint_catalog import Checkpoint, list_checkpoints
from ckptkit.run.journal import Journal
from ckptkit.run.library_versions import versions
from ckptkit.run.manifest import Manifest, to_number, to_numbers
from ckptkit.session.missing_monitors import MonitorWatch
from ckptkit.session.options import RunOptions
from ckptkit.session.position_and_metrics import RunProgress
from ckptkit.session.save_requests import SaveRequests
from ckptkit.session.saver import Saver
from ckptkit.session.snapshot_writer import Taken
from ckptkit.tracking import snapshot


class SaveCoordinator:
    """Decides when to save, and starts the saves.

    Args:
        options: the options of the run.
        journal: the journal of the attempt.
        saver: takes the snapshots and writes them.
        progress: the position of the run.
        inexact: called with a reason why the run cannot continue bit for bit.
        hyperparameters: the configuration that checkpoints record.
        fresh_labels: the labels of fresh starts that checkpoints record.

    Attributes:
        requests: requests of other processes to save.
        saver: see above.
        monitors: the metrics that the policies compare.
    """

    def __init__(
        self,
        options: RunOptions,
        journal: Journal,
        saver: Saver,
        progress: RunProgress,
        inexact: Callable[[str], None],
        hyperparameters: Mapping[str, object],
        fresh_labels: tuple[str, ...] | None,
    ) -> None:
        self._options, self._journal, self._progress = options, journal, progress
        self._inexact, self._hyperparameters = inexact, hyperparameters
        self._versions = versions()
        self._fresh_labels = fresh_labels
        self.saver = saver
        self.requests = SaveRequests(journal)
        self.monitors = MonitorWatch(options.save, options.keep)
        self._extremes: Extremes = {}
        self._start_clock()
        self._discarded: RunPosition | None = None
        self._evaluated: tuple[int, dict[str, Any]] | None = None

    def _now(self) -> Moment:
        return Moment(position=self._progress.position, time_secs=self._options.clock.monotonic())

    def start_from(self, checkpoint: Checkpoint | None) -> None:
        """Set the last save to the restored checkpoint, or to the beginning of the run."""
        if checkpoint is not None:
            self._extremes = {
                name: (float(low), float(high))
                for name, (low, high) in checkpoint.manifest.extremes.items()
            }
            # An earlier attempt has already reported these metrics.
            self.monitors.saw(
                {name: low for name, (low, _) in self._extremes.items()}, self._extremes
            )
        self._start_clock()

    def _start_clock(self) -> None:
        now = self._now()
        self._last = self._began = replace(now, epoch_end_secs=now.time_secs)
        self._first_step_secs: float | None = None

    # -- saving

    def save_if_due(self, decide: Callable[[str | None], str | None] | None = None) -> bool:
        """Save if the policy says so, or if another process has requested it.

        Args:
            decide: takes the reason why a save is due here, or None, and returns the reason that
                counts: the workers of a job save together.

        Returns:
            Whether a save was due. If it fails, that may be only a warning, and the next save tries
                again; see `SnapshotWriter.job`.
        """
        # Each turn is timed, to measure how much a save slows down training.
        position, now_secs = self._progress.position, self._options.clock.monotonic()
        self.saver.turn(now_secs)
        if self._first_step_secs is None and position.step > self._began.position.step:
            self._first_step_secs = now_secs
        moment = self.saver.measured(
            position=position,
            time_secs=now_secs,
            metrics=self._progress.metrics,
            running_averages=self._progress.running_averages,
            extremes=self._extremes,
            first_step_secs=self._first_step_secs,
        )
        self._evaluated_here()  # releases those of an earlier step
        policies = (self._options.save, self._options.keep)
        reason = self._options.save.due(moment, self._last)
        must = reason is not None and any(each.insists(moment, self._last) for each in policies)
        if (asked := self.requests.reason) is not None:
            reason, must = asked, True
        if decide is not None:
            reason, must = decide(reason), True
        # Updated after the policy has decided, because it compares with earlier extremes. Only
        # metrics that it has converted are used, because a conversion waits for the device.
        if not moment.running_averages:
            self._extremes = updated_extremes(self._extremes, self._progress.metrics.converted)
        if reason is not None:
            self.save(reason, must=must, periodic=True)
        self._check_monitors(moment)
        return reason is not None

    def due_ahead(self) -> str | None:
        """Return why a save will be due after one more step if nothing is measured there; or None.

        The workers of a job have to know that one step before. None while one save is being written
        and another one waits, because each save of a job has to be written.
        """
        if self.saver.is_full:
            return None
        if (asked := self.requests.reason) is not None:
            return asked
        now = self._now()
        at = now.position
        # Inside of an epoch every batch counts; between two epochs, the next step begins one.
        batch = at.batch + 1 if at.batch or at.epoch else 0
        moment = self.saver.measured(
            position=replace(at, step=at.step + 1, batch=batch),
            time_secs=now.time_secs,
            metrics=now.metrics,
            extremes=self._extremes,
            first_step_secs=self._first_step_secs,
        )
        return self._options.save.due(moment, self._last)

    def _check_monitors(self, moment: Moment) -> None:
        """Report monitored metrics that are missing, at the end of the first epoch.

        A loop that counts no epochs is judged after its first turns.

        Raises:
            ConfigError: If nothing would ever be saved without them.
        """
        metrics = self._progress.metrics
        self.monitors.saw(metrics, metrics.raw)
        position, began = moment.position, self._began.position
        # Steps are compared too: a `fit` with `initial_epoch` begins with a larger epoch number.
        at_end_of_epoch = (
            position.batch == 0 and position.epoch > began.epoch and position.step > began.step
        )
        has_no_epochs = position.batch == position.epoch == 0 and position.step > began.step
        since = "the first epoch" if at_end_of_epoch else "the loop"
        missing = (
            self.monitors.missing()
            if at_end_of_epoch
            else self.monitors.missing_in_steps(metrics.raw)
            if has_no_epochs
            else []
        )
        if not missing:
            return
        try:
            self.monitors.report(missing, metrics, training=True, since=since)
        except ConfigError:
            # Saved first, so that the epoch is not lost. The workers of a job save together only.
            if not self.saver.is_shared and not self.is_saved(moment.position):
                self.save("a metric that save waits for is missing")
                self.saver.finish()
            raise

    def take(self) -> Taken:
        """Take a snapshot of the current state."""
        taken = self.saver.take(
            self._progress.position,
            dict(self._progress.metrics),
            running_averages=self._progress.running_averages,
        )
        for reason in self.saver.iterators_losing_order:
            self._inexact(reason)
        evaluated = self._evaluated_here()
        if not evaluated:
            # `weights` would put all values into order and encode them, while training waits.
            return taken
        now = taken.snapshot.weights
        known = {key: value for key, value in evaluated.items() if key in now}
        return replace(taken, snapshot=replace(taken.snapshot, evaluated=known))

    def note_evaluated(self, taken: Taken) -> None:
        """Note the weights that an evaluation has used, whose metrics the next save records.

        Args:
            taken: a snapshot from the beginning of the evaluation.
        """
        self._evaluated = (taken.position.step, taken.snapshot.weights)

    def _evaluated_here(self) -> dict[str, Any]:
        """Return the weights that an evaluation at this step has used, by key."""
        at, weights = self._evaluated or (None, {})
        if at == self._progress.position.step:
            return weights
        # Metrics of later steps do not belong to them, and they take memory.
        self._evaluated = None
        return {}

    def take_if_idle(self) -> Taken | None:
        """Take a snapshot that may never be saved; None while another one is being written.

        Metrics are converted when it is saved, because that may wait for the device.
        """
        if self.saver.is_writing:
            return None
        return self.saver.take(
            self._progress.position,
            self._progress.metrics,
            running_averages=self._progress.running_averages,
        )

    def state_bytes(self) -> int:
        """Return how much memory the variables of the state take, in bytes."""
        return self.saver.state_bytes()

    def save(
        self,
        trigger: str,
        taken: Taken | None = None,
        *,
        final: bool = False,
        must: bool = True,
        periodic: bool = False,
    ) -> None:
        """Pass a snapshot to the writer, which saves it.

        Args:
            trigger: the reason for the save.
            taken: the snapshot; by default one of the current state.
            final: whether training is over.
            must: whether the snapshot must be written even if a newer one follows before the writer
                is free.
            periodic: whether another save follows by itself; if so, training may continue if this
                one fails.
        """
        # Read before the snapshot is taken: a request that arrives later may want a later state.
        self.requests.served((taken.position if taken else self._progress.position).step)
        taken = taken or self.take()
        if not taken.running_averages:
            self._extremes = updated_extremes(self._extremes, taken.metrics)
        manifest = self._manifest(trigger, taken, final=final)
        self.saver.save(taken, manifest, must=must, periodic=periodic)
        # The time of the save, not of the snapshot: a reserve snapshot may be old, and policies
        # measure the time since the last save.
        now = self._now()
        self._last = replace(
            now,
            position=taken.position,
            metrics=taken.metrics,
            epoch_end_secs=(
                now.time_secs if taken.position.batch == 0 else self._last.epoch_end_secs
            ),
        )

    def _manifest(self, trigger: str, taken: Taken, *, final: bool) -> Manifest:
        return Manifest(
            step=taken.position.step,
            epoch=taken.position.epoch,
            batch=taken.position.batch,
            attempt=self._journal.attempt,
            saved_at=taken.time,
            # A user's policy may return any true value.
            trigger=str(trigger),
            states=taken.snapshot.states,
            tensors=(),
            metrics=to_numbers(taken.metrics),
            running_averages=taken.running_averages,
            extremes={
                name: (to_number(low), to_number(high))
                for name, (low, high) in self._extremes.items()
            },
            hyperparameters=dict(self._hyperparameters),
            versions=self._versions,
            final=final,
            early_stop=self._progress.early_stop if final else {},
            total=self._progress.total,
            fresh_labels=self._fresh_labels,
        )

    def save_final(
        self,
        taken: Taken | None = None,
        agree: Callable[[Callable[[], bool]], bool] = lambda decide: decide(),
    ) -> None:
        """Save the state at the end of training, unless it is already saved.

        Args:
            taken: the state from which training can continue; by default the current state. If
                weights were replaced since then, by averages or by the best ones, the replacements
                are saved too.
            agree: returns what all workers of a job do, who save together.
        """
        self.saver.finish()
        # A run of one epoch, or a loop without epochs, has no earlier moment for this check.
        metrics = self._progress.metrics
        self.monitors.saw(metrics, metrics.raw)
        has_trained = self._progress.position.step > self._began.position.step
        if has_trained and (missing := self.monitors.missing()):
            self.monitors.report(missing, metrics, training=False)
        if taken is None and not agree(lambda: not self._is_final()):
            return
        taken = taken or self.take()
        result = snapshot.with_final_weights(taken.snapshot, self.saver.tracked_now())
        self.save("end of training", replace(taken, snapshot=result), final=True)

    def _is_final(self) -> bool:
        """Return whether the newest checkpoint is the end of training at this step."""
        newest = list_checkpoints(self._options.layout)
        return (
            bool(newest)
            and newest[-1].step == self._progress.position.step
            and newest[-1].manifest.final
        )

    # -- what is not saved yet

    @property
    def saved_at(self) -> RunPosition:
        """The position of the last save, or of the checkpoint from which this session continued."""
        return self._last.position

    @property
    def unwritten(self) -> Taken | None:
        """See `Saver.unwritten`; None in a job, because no worker saves alone."""
        return None if self.saver.is_shared else self.saver.unwritten

    def is_saved(self, at: RunPosition) -> bool:
        """Return whether a position is already saved; waits for the writer."""
        if self.saved_at != at or at == self._discarded:
            return self.saved_at == at
        # The save at that position may have failed.
        self.saver.finish()
        return self.saver.unsaved != at

    def discard(self) -> None:
        """Treat the training since the last save as saved, so that closing saves nothing."""
        self._last = replace(self._last, position=self._progress.position)
        self._discarded = self._progress.position

    def has_saved_after(self, checkpoint: Checkpoint) -> bool:
        """Return whether this attempt has saved a later step than a checkpoint's."""
        self.saver.wait()
        return any(
            other.attempt == self._journal.attempt and other.step > checkpoint.step
            for other in list_checkpoints(self._options.layout)
        )
