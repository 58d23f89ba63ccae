"""Counts the turns and epochs of the program's own loops."""

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
from ckptkit.session.exactness import Exactness
from ckptkit.session.loop_random_check import FirstTurn
from ckptkit.session.loop_turn import LoopTurn, begin, optimizers_of
from ckptkit.session.phase import PhaseMachine, SessionPhase
from ckptkit.session.position_and_metrics import RunProgress
from ckptkit.session.reserve_snapshot import Holder, PartialTurn, Schedule, TurnReserve


class LoopProgress:
    """Counts the turns of `manager.steps` and `manager.data`, and the epochs of `manager.epochs`.

    Args:
        state: the objects that are saved; their optimizers show whether a turn has trained.
        data: the position in the data of the loops.
        progress: the position of the run.
        phases: the phases of the session.
        journal: the journal of the attempt.
        save_if_due: called between two turns.
        exactness: reports why the run cannot continue bit for bit.
        holder, saves, monotonic: as for `TurnReserve`.
    """

    def __init__(
        self,
        state: Mapping[str, Any],
        data: LoopData,
        progress: RunProgress,
        phases: PhaseMachine,
        journal: Journal,
        save_if_due: Callable[[], object],
        exactness: Exactness,
        holder: Holder,
        saves: Schedule,
        monotonic: Callable[[], float],
    ) -> None:
        self._state, self._data, self._progress, self._phases = state, data, progress, phases
        self._journal, self._save_if_due, self._reserve = (
            journal,
            save_if_due,
            TurnReserve(holder, saves, progress, monotonic),
        )
        self._first_turn = FirstTurn(exactness)
        self._turn: LoopTurn | None = None
        """The current turn, until it is counted."""
        self._left: LoopTurn | None = None
        """The turn that was left in the middle of its body."""
        self._by_hand: LoopTurn | None = None
        """What the program does since it counted a step itself; None while a loop counts."""
        self._epoch: RunPosition | None = None
        """The position at which the current epoch began."""
        self._optimizers: list[Any] = []
        self._epoch_turn: LoopTurn | None = None
        """The current epoch as one turn, unless its steps are counted."""
        self._warned_of_epochs = False

    def training_starts(self) -> None:
        """Start training on the calling thread: from now on its time counts as training."""
        self._phases.begin_training()
        self._journal.record(events.TrainingStarted(step=self._progress.position.step))

    # -- turns

    @contextmanager
    def training(self) -> Iterator[None]:
        """Run a loop in the block, and count its time as training."""
        # Loops may be nested: batches in epochs, or a loop that `fit` calls. Only the outermost one
        # begins and ends training.
        outermost = self._phases.is_between_loops
        if outermost:
            self._optimizers = optimizers_of(self._state)
            self.training_starts()
        try:
            yield
        finally:
            # An abandoned generator is closed when it is collected, possibly after its session.
            if outermost and not self._phases.is_closed:
                self._phases.enter(SessionPhase.BETWEEN_LOOPS)

    @contextmanager
    def turn(self, position: RunPosition) -> Iterator[LoopTurn]:
        """Run the body of one turn in the block; the turn ends at `position`.

        Loops in parallel, as in `zip`, share the turn of the first loop. The turn is done when the
        first loop continues.

        Raises:
            ConfigError: If another loop continues before the first one, so that the turn has no
                clear end.
        """
        mine = self._turn is None
        turn = self._turn = self._turn or begin(position, self._optimizers)
        if mine:
            self._left = self._by_hand = None
            self._progress.forget_metrics()
        try:
            with self._first_turn.watched():
                yield turn
        # On `break` in the body the loop's generator is closed, and the turn does not count.
        except GeneratorExit:
            if mine and not turn.counted:
                self._turn, self._left = None, turn
                turn.leave()
            raise
        if not mine and not turn.counted:
            raise ConfigError(
                "Two nested loops both count steps here, so the steps of the run would be counted "
                "twice. In the inner loop, iterate over the plain dataset, without manager.data "
                "or manager.steps. If its iterator must continue from turn to turn, put that "
                "iterator into state. To read two datasets together, use "
                "zip(manager.data(a), manager.data(b))."
            )

    def count_turn(self) -> None:
        """Count the current turn in the position and the data, unless it is already counted."""
        if self._turn is not None:
            # Set first: the code below may raise, and the turn must not be counted twice.
            turn, self._turn = self._turn, None
            turn.counted = True
            self._data.done()
            self._progress.step_done(turn.position, self._progress.metrics.raw)

    def turn_done(self, turn: LoopTurn, *, last: bool = False) -> None:
        """Count a turn whose body has ended, and save if a save is due.

        Args:
            turn: the turn.
            last: whether training ends with this turn. The state is then saved as the final one.
        """
        if self._turn is turn:
            self.count_turn()
        # Otherwise a loop beside this one has begun the next turn already.
        if self._turn is None:
            self._by_hand = None
            if not last:
                self._save_if_due()
                self._reserve.turn_done()

    # -- epochs

    @contextmanager
    def epoch(self) -> Iterator[None]:
        """Run the body of one epoch in the block."""
        self._epoch = self._progress.position
        self._data.epoch_began()
        self._progress.forget_metrics()
        self._by_hand = begin(self._epoch, self._optimizers)
        if not self._warned_of_epochs:
            self._epoch_turn = self._by_hand
        try:
            yield
        finally:
            self._epoch = None

    def count_epoch(self, began: RunPosition) -> None:
        """Count the epoch that began at a position.

        If nothing in the epoch counts steps, the epoch counts as one step. So no two epochs have
        the same position.
        """
        position, self._by_hand = self._progress.position, None
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
        """Warn once if an epoch that counts as one step has made several training updates."""
        turn, self._epoch_turn = self._epoch_turn, None
        updates = turn.updates() if turn is not None else 0
        if updates > 1:
            self._warned_of_epochs = True
            logger.warning(
                "no step was counted in this epoch, but an optimizer made %d updates: each epoch "
                "counts as one step, so EveryNSteps(500) means 500 epochs, and an interrupted "
                "epoch starts again from its beginning. To count batches, iterate over "
                "manager.data(dataset)",
                updates,
            )

    def keep_no_reserve(self) -> None:
        """Take no snapshots that one worker of a job might save alone."""
        self._reserve.disable()

    def stop_watching(self) -> None:
        """Stop watching a turn that an exception has left while its generator still exists."""
        self._first_turn.stop()

    @property
    def in_epoch(self) -> bool:
        """Whether the program is inside the body of a loop over epochs."""
        return self._epoch is not None

    # -- inside a turn

    def count_all(self) -> None:
        """Count the current turn or epoch, at a safe point after its training."""
        self.count_turn()
        self._end_pass()
        if (
            self._epoch is not None
            and self._progress.position == self._epoch
            and self._epoch.batch == 0
            and not self._data.in_use
        ):
            self.count_epoch(self._epoch)  # an epoch over data of the user's own
        self._count_by_hand()

    def advance_to(self, step: int, metrics: Mapping[str, Any] | None) -> None:
        """Note that the program has done `step`, which also completes the current turn.

        Raises:
            ConfigError: If the state is already that of a later step.
        """
        if self._turn is not None and step >= self._turn.position.step:
            self.count_turn()
        elif self._turn is not None and self._turn.has_trained():
            raise ConfigError(
                f"Expected step {self._turn.position.step}, because the current turn has trained "
                f"and its training is in the state. Received: step {step}. Pass that step, or save "
                "before the turn trains."
            )
        self._end_pass()
        began = self._progress.position
        if step > began.step and not self._phases.has_trained and self._phases.is_between_loops:
            # The program counts without a loop, so this is the first that is known of its training.
            self._journal.record(events.TrainingStarted(step=began.step))
        self._progress.step_done(replace(began, step=step), metrics)
        self._count_by_hand()

    def _count_by_hand(self) -> None:
        """Note that what the program does next belongs to a step that does not count yet."""
        if self._turn is None:
            self._optimizers = self._optimizers or optimizers_of(self._state)
            self._left, self._by_hand = None, begin(self._progress.position, self._optimizers)

    def between_turns(self) -> None:
        """After a step is counted, keep a snapshot in case the next step is left in its middle."""
        if self._turn is None:
            self._reserve.turn_done()

    def _end_pass(self) -> None:
        """End a pass over data that `break` has left, if the epoch continues."""
        if self._epoch is not None:
            self._data.end_broken_off_passes()

    # -- leaving

    @property
    def is_between_turns(self) -> bool:
        """Whether the program is between two turns and has left no turn unfinished."""
        return self._phases.is_between_loops and self._turn is None and self._left is None

    def partial_turn(self) -> PartialTurn | None:
        """Return what can be saved if the program leaves a turn in its middle, and warn.

        Returns:
            None if the current state is that of the current position, and can be saved.
        """
        turn = self._turn or self._left
        if turn is not None:
            is_partial, step = turn.is_touched(), turn.position.step
        elif self._by_hand is not None:
            # Programs evaluate after their last step, which makes tensors: only training counts.
            is_partial, step = self._by_hand.has_trained(), self._progress.position.step + 1
        else:
            return None
        if is_partial:
            found = self._reserve.instead()
            _warn_partial_turn(step, found)
            return found
        # Python's random states and objects leave no trace, so the snapshot is better if there is
        # one of this very position.
        return self._reserve.of(self._progress.position)


def _warn_partial_turn(step: int, found: PartialTurn) -> None:
    logger.warning(
        "the loop was left in the middle of step %d, which may have trained, so it does not count: "
        "%s %s, and the next start resumes from there. To leave with step %d done, call "
        "manager.save(%d) first, or manager.request_stop(), which waits for the end of the turn; "
        "or break at the top of the body",
        step,
        "the newest thing that is saved is" if found.taken is None else "saved is",
        found.position,
        step,
        step,
    )
