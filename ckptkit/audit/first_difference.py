"""Finds the first step at which two trainings of one run differ. Pure.

It compares checkpoints of the same step, oldest first, and the last checkpoints. A function that
reads and compares two checkpoints is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from ckptkit.audit.bit_comparison import BitComparison, BitDifference
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.events import Event, Restored

Compare = Callable[[Checkpoint, Checkpoint], BitComparison]


@dataclass(frozen=True, kw_only=True)
class First:
    """The first step at which the checkpoints of two trainings differ.

    Args:
        step: the step of the first checkpoints that differ.
        equal_step: the step of the last equal checkpoints before; 0 if there are none.
        attempt: the attempt of the interrupted training that saved the checkpoint.
        began_at: the step at which that attempt began.
        differences: the differences at that step.
    """

    step: int
    equal_step: int
    attempt: int
    began_at: int
    differences: tuple[BitDifference, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The result of comparing one run between two trainings.

    Args:
        run: the run, as it is shown to people.
        step: the step of its last checkpoint.
        compared: the comparison of the last checkpoints.
        first: the first step with a difference; None if the last checkpoints are equal.
        steps: the steps of the earlier checkpoints that were compared to find it.
    """

    run: str
    step: int
    compared: BitComparison
    first: First | None = None
    steps: tuple[int, ...] = ()

    @property
    def names(self) -> set[str]:
        """The names of all variables and values that differ in the last checkpoints."""
        return {difference.name for difference in self.compared.differences}


def result_of(
    run: str,
    one: Sequence[Checkpoint],
    other: Sequence[Checkpoint],
    events: Sequence[Event],
    compare: Compare,
    own: Set[str] = frozenset(),
) -> TrainingResult:
    """Compare two trainings of one run.

    Args:
        run: the run, as it is shown to people.
        one: the checkpoints of the uninterrupted training, oldest first.
        other: the checkpoints of the interrupted training.
        events: the journal of the interrupted training.
        compare: reads two checkpoints and compares them.
        own: the places of Python state that do not count, see `own_places`.
    """

    def compare_the_rest(left: Checkpoint, right: Checkpoint) -> BitComparison:
        compared = compare(left, right)
        return replace(
            compared, differences=[each for each in compared.differences if each.place not in own]
        )

    last, others_last = one[-1], other[-1]
    compared = compare_the_rest(last, others_last)
    result = TrainingResult(run=run, step=last.step, compared=compared)
    if not compared.differences:
        return result
    first, steps = _first(
        {each.step: each for each in one},
        sorted(other, key=lambda each: (each.step, each.attempt)),
        compare_the_rest,
    )
    attempt = first.attempt if first is not None else others_last.attempt
    if first is None:  # the trainings ended at different steps
        equal = max(steps, default=0)
        first = First(
            step=others_last.step,
            equal_step=equal,
            attempt=attempt,
            began_at=0,
            differences=tuple(compared.differences),
        )
    return replace(
        result, first=replace(first, began_at=began(events).get(attempt, 0)), steps=tuple(steps)
    )


def own_places(
    one: Sequence[Checkpoint], other: Sequence[Checkpoint], untouched: int | None, compare: Compare
) -> set[str]:
    """Return the places of Python state that differ although nothing was interrupted.

    All variables are equal there. Such places are clocks, and random states of Python and NumPy
    that the script neither seeds nor uses.

    Args:
        one: the checkpoints of the uninterrupted training.
        other: the checkpoints of the interrupted training.
        untouched: the attempt of the interrupted training that ran before any interruption, or
            None.
        compare: reads two checkpoints and compares them.
    """
    steps = {each.step: each for each in one}
    early = next(
        (
            each
            for each in sorted(other, key=lambda each: each.step)
            if each.attempt == untouched and each.step in steps
        ),
        None,
    )
    return set() if early is None else python_places(compare(steps[early.step], early))


def python_places(compared: BitComparison) -> set[str]:
    """Return the names of the places of Python state among the differences."""
    return {each.place for each in compared.differences if each.kind == "python"}


def _first(
    one: Mapping[int, Checkpoint], other: Sequence[Checkpoint], compare: Compare
) -> tuple[First | None, list[int]]:
    equal = 0
    steps: list[int] = []
    for checkpoint in other:
        if checkpoint.step not in one:
            continue
        found = compare(one[checkpoint.step], checkpoint).differences
        steps.append(checkpoint.step)
        if found:
            return First(
                step=checkpoint.step,
                equal_step=equal,
                attempt=checkpoint.attempt,
                began_at=0,
                differences=tuple(found),
            ), steps
        equal = checkpoint.step
    return None, steps


def began(events: Sequence[Event]) -> dict[int, int]:
    """Return the step from which each attempt resumed, without attempts that began at step 0."""
    return {event.attempt: event.step for event in events if isinstance(event, Restored)}
