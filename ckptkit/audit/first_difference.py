"""Finds where two trainings of one run first differ. Pure; what reads is passed in.

It compares checkpoints of the same step, oldest first, and the last ones.
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
    """First checkpoint of the same step at which two trainings differ.

    Args:
        step: the step of the first checkpoint that is not the same.
        equal_step: the step of the last one before it that is; 0 if there is none.
        attempt: which attempt of the interrupted training has saved it.
        began_at: the step at which that attempt began.
        differences: what differs there.
    """

    step: int
    equal_step: int
    attempt: int
    began_at: int
    differences: tuple[BitDifference, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """Result of comparing one run.

    Args:
        run: which, as it is shown.
        step: the step of its last checkpoint.
        compared: the last checkpoints.
        first: where the trainings first differ; None if their last checkpoints are the same.
        steps: the steps of the checkpoints that were compared before the last one, for that.
    """

    run: str
    step: int
    compared: BitComparison
    first: First | None = None
    steps: tuple[int, ...] = ()

    @property
    def names(self) -> set[str]:
        """Names of what differs at the end."""
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
        run: which, as it is shown.
        one: checkpoints of the training that was not interrupted, oldest first.
        other: the step of the one that was.
        events: the journal of the latter.
        compare: reads two checkpoints and compares them.
        own: places of Python state that do not count, see `own_places`.
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
    if first is None:  # they have ended at steps of their own
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
    """Return places of Python state that differ before anything has interrupted a training.

    Their variables are the same all the same. Such places are random states of Python and NumPy
    that nobody seeds, because nobody uses them, and clocks.

    Args:
        one: checkpoints of the training that was not interrupted.
        other: the step of the one that was.
        untouched: the attempt of the latter that no interruption came before; None if there is
            none.
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
    """Return the places of Python state that differ."""
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
    """Return the step from which each attempt of a run resumed; new runs are not among them."""
    return {event.attempt: event.step for event in events if isinstance(event, Restored)}
