"""The position of a run in this session: the metrics measured there, and the turns of loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ckptkit.data.loop_data import LoopData
from ckptkit.errors import ConfigError
from ckptkit.log import logger
from ckptkit.position import RunPosition
from ckptkit.run import events
from ckptkit.run.journal import Journal
from ckptkit.session.first_turn import FirstTurn
from ckptkit.session.lazy_metrics import Metrics, UnusableMetrics
from ckptkit.session.loop_turn import LoopTurn, begin, optimizers_of
from ckptkit.session.phase import PhaseMachine, SessionPhase


class RunProgress:
    """The position of a run, and the metrics that were measured at it.

    Args:
        phases: the phases of the session; the first step moves its stopwatch.

    Attributes:
        position: the training that is done, over all attempts.
        metrics: what was measured at the position.
        running_averages: whether these are averages over an epoch that is not over. They do not
            compare with those of whole epochs.
        done: whether training has come to its end there.
        total: how many steps or epochs the whole run has; None if that is not known.
        beats: a counter that grows with everything that training does. A launcher compares it
            to find out whether training hangs.
        after_step: called with the step after each one; an audit waits there.
    """

    def __init__(self, phases: PhaseMachine) -> None:
        self._phases = phases
        self.position = RunPosition()
        self._unusable = UnusableMetrics()
        self.forget_metrics()
        self.done = False
        self.total: int | None = None
        self.beats = 0
        self.after_step: Callable[[int], None] = lambda step: None

    def start_from(self, position: RunPosition) -> None:
        """Set the position from which this session continues."""
        self.position = position
        self.forget_metrics()

    def forget_metrics(self) -> None:
        """Note that nothing was measured yet: another turn has begun."""
        self.metrics = Metrics(unusable=self._unusable.note)
        self.running_averages = False

    def step_done(
        self,
        position: RunPosition,
        metrics: Mapping[str, Any] | None = None,
        *,
        running_averages: bool = False,
    ) -> None:
        """Note that training has reached a position, and what was measured there.

        Args:
            position: the training that is done.
            metrics: what was measured there.
            running_averages: see the class; by default no.

        Raises:
            ConfigError: If the position lies before the present one.
        """
        if position.step < self.position.step:
            raise ConfigError(
                "step counts the training batches done since the run began, over all attempts, "
                "and never goes back. "
                f"The run is at step {self.position.step}. Received: {position.step}. Begin at "
                "the position that was restored."
            )
        if position != self.position:
            self.forget_metrics()
            self.done = False  # a program may train on after a loop has come to its end
        if not self._phases.has_trained and position.step > self.position.step:
            self._phases.first_step_done()
        self.beats += 1
        self.position, self.running_averages = position, running_averages
        self.measured(metrics or {})
        self.after_step(position.step)

    def measured(self, metrics: Mapping[str, Any]) -> None:
        """Note what was measured at this position; tensors are converted when they are needed."""
        self.metrics = self.metrics.with_more(metrics)


class LoopProgress:
    """Counts the turns of `manager.steps` and `manager.data`, and the epochs of `manager.epochs`.

    Args:
        state: what the run saves; optimizers in it tell whether a turn has trained.
        data: the position in the data of the loops.
        progress: the position of the run.
        phases: the phases of the session.
        journal: the journal of the attempt.
        save_if_due: called between two turns.
        inexact: called with a reason why the run cannot continue bit for bit.
    """

    def __init__(
        self,
        state: Mapping[str, Any],
        data: LoopData,
        progress: RunProgress,
        phases: PhaseMachine,
        journal: Journal,
        save_if_due: Callable[[], object],
        inexact: Callable[[str], None],
    ) -> None:
        self._state, self._data, self._progress, self._phases = state, data, progress, phases
        self._journal, self._save_if_due = journal, save_if_due
        self._first_turn = FirstTurn(inexact)
        self._turn: LoopTurn | None = None
        """The turn under way, until it is counted."""
        self._left: LoopTurn | None = None
        """The turn that was left in the middle of its body."""
        self._epoch: RunPosition | None = None
        """The position at which the epoch under way began."""
        self._optimizers: list[Any] = []
        self._epoch_turn: LoopTurn | None = None
        """The epoch under way as one turn, until an epoch has been found to have many steps."""
        self._warned_of_epochs = False

    def training_starts(self) -> None:
        """Note that training begins now, on the calling thread."""
        self._phases.begin_training()
        self._journal.record(events.TrainingStarted(step=self._progress.position.step))

    # -- turns

    @contextmanager
    def training(self) -> Iterator[None]:
        """Count the block as training; the loop runs in it."""
        # A loop over epochs has loops over batches inside, and `fit` may call a loop as well: only
        # the outermost one begins and ends training.
        outermost = self._phases.is_between_loops
        if outermost:
            self._optimizers = optimizers_of(self._state)
            self.training_starts()
        try:
            yield
        finally:
            # A generator that was left is closed when it is collected, perhaps after its session.
            if outermost and not self._phases.is_closed:
                self._phases.enter(SessionPhase.BETWEEN_LOOPS)

    @contextmanager
    def turn(self, position: RunPosition) -> Iterator[LoopTurn]:
        """Run the body of one turn in the block; the turn ends at `position`.

        If several loops run side by side, as in `zip`, they share the turn of the first one.
        The turn is done when the first one continues.

        Raises:
            ConfigError: If another one continues before the first: what a turn is, is not known
                then.
        """
        mine = self._turn is None
        turn = self._turn = self._turn or begin(position, self._optimizers)
        if mine:
            self._left = None
            self._progress.forget_metrics()
        try:
            with self._first_turn.watched():
                yield turn
        # `break` in the body: the loop's generator is closed, and the turn does not count.
        except GeneratorExit:
            if mine and not turn.counted:
                self._turn, self._left = None, turn
            raise
        if not mine and not turn.counted:
            raise ConfigError(
                "manager.data(...) counts steps, and so does the loop around it, so it is not "
                "known how far the run is. Go over the inner data without manager.data, with its "
                "iterator in state if it continues from turn to turn; or go over both at once, "
                "with zip(manager.data(a), manager.data(b))."
            )

    def count_turn(self) -> None:
        """Count the present turn in the position and the data, unless it is counted already."""
        if self._turn is not None:
            # First of all: what follows may raise, and the turn must not be counted twice.
            turn, self._turn = self._turn, None
            turn.counted = True
            self._data.done()
            self._progress.step_done(turn.position, self._progress.metrics.raw)

    def turn_done(self, turn: LoopTurn, *, last: bool = False) -> None:
        """Note that the body of a turn is over, and save if that is due.

        Args:
            turn: the turn.
            last: whether training ends with this turn. The state is then saved as the final one.
        """
        if self._turn is turn:
            self.count_turn()
        # Otherwise a loop beside this one has begun the next turn already.
        if self._turn is None and not last:
            self._save_if_due()

    # -- epochs

    @contextmanager
    def epoch(self) -> Iterator[None]:
        """Run the body of one turn of a loop over epochs in the block."""
        self._epoch = self._progress.position
        self._progress.forget_metrics()
        if not self._warned_of_epochs:
            self._epoch_turn = begin(self._epoch, self._optimizers)
        try:
            yield
        finally:
            self._epoch = None

    def count_epoch(self, began: RunPosition) -> None:
        """Count the epoch that began at a position.

        If nothing in the epoch counts steps, the epoch is one step, so no two epochs have the same
        position.
        """
        position = self._progress.position
        # The program went over data of its own, which counts no steps.
        own_data = position == began and began.batch == 0 and not self._data.in_use
        if own_data:
            self._warn_one_step()
        self._data.epoch_ended()
        self._progress.step_done(
            RunPosition(step=position.step + own_data, epoch=began.epoch + 1, batch=0),
            self._progress.metrics.raw,
        )

    def _warn_one_step(self) -> None:
        """Warn once if an epoch that counts as one step has trained more often than once."""
        turn, self._epoch_turn = self._epoch_turn, None
        updates = turn.updates() if turn is not None else 0
        if updates > 1:
            self._warned_of_epochs = True
            logger.warning(
                "no step was counted in this epoch, and an optimizer has made %d updates: each "
                "epoch is one step of the run, so EveryNSteps(500) means 500 epochs, and an "
                "interrupted epoch begins anew. To count batches, go over manager.data(dataset)",
                updates,
            )

    def stop_watching(self) -> None:
        """Stop watching a turn that was left by an exception, and whose generator still lives."""
        self._first_turn.stop()

    @property
    def in_epoch(self) -> bool:
        """Whether the body of a loop over epochs is under way."""
        return self._epoch is not None

    # -- inside a turn

    def count_all(self) -> None:
        """Count the present turn or epoch, at a safe point after its training is done."""
        self.count_turn()
        self._end_pass()
        if (
            self._epoch is not None
            and self._progress.position == self._epoch
            and self._epoch.batch == 0
            and not self._data.in_use
        ):
            self.count_epoch(self._epoch)  # an epoch over data of the user's own

    def advance_to(self, step: int, metrics: Mapping[str, Any] | None) -> None:
        """Note that the program has done `step`, and with it the present turn."""
        if self._turn is not None and step >= self._turn.position.step:
            self.count_turn()
        self._end_pass()
        self._progress.step_done(replace(self._progress.position, step=step), metrics)

    def _end_pass(self) -> None:
        """End a pass over data that was left by `break`, if the epoch continues after it."""
        if self._epoch is not None:
            self._data.end_broken_off_passes()

    # -- leaving

    @property
    def is_between_turns(self) -> bool:
        """Whether the program is between two turns, and has left none unfinished."""
        return self._phases.is_between_loops and self._turn is None and self._left is None

    def warn_partial_step(self) -> None:
        """Warn if a turn is left after it has trained."""
        turn = self._turn or self._left
        if turn is not None and turn.has_trained():
            logger.warning(
                "the loop was left in the middle of step %d, after it had trained: what is saved "
                "as %s has that training in it, and the "
                "next start makes step %d again. To leave without that, call "
                "manager.request_stop(), which waits for the end of the "
                "turn, or break at the top of the body",
                turn.position.step,
                self._progress.position,
                turn.position.step,
            )
