"""Chooses the steps and signals that interrupt a training. Pure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ckptkit.errors import ConfigError

SIGNALS = ("SIGTERM", "SIGKILL")
"""The default signals, used in turn: SIGTERM lets the training save, SIGKILL does not."""


@dataclass(frozen=True)
class Length:
    """The length of an uninterrupted training of one run.

    Args:
        run: the run, as it is shown to people.
        steps: the number of its steps.
    """

    run: str
    steps: int


@dataclass(frozen=True)
class InterruptionMoment:
    """A planned interruption of a training.

    Args:
        run: the run to interrupt.
        step: the number of finished steps after which to interrupt.
        signal: the name of the signal.
    """

    run: str
    step: int
    signal: str


def chosen(
    lengths: Sequence[Length], steps: Sequence[int], signals: Sequence[str] = SIGNALS
) -> list[InterruptionMoment]:
    """Return interruptions at given steps of the first trained run.

    Raises:
        ConfigError: If the training does not reach one of them.
    """
    first = lengths[0]
    late = [step for step in steps if not 1 <= step <= first.steps]
    if late:
        raise ConfigError(
            f"--at names steps at which the training is interrupted. The training of {first.run} "
            f"has {first.steps} steps. Received: "
            f"{', '.join(map(str, late))}. Expected steps from 1 to {first.steps}."
        )
    return [
        InterruptionMoment(first.run, step, signal)
        for step, signal in zip(sorted(set(steps)), itertools.cycle(signals), strict=False)
    ]


def random_moments(
    lengths: Sequence[Length], count: int, seed: int, signals: Sequence[str] = SIGNALS
) -> list[InterruptionMoment]:
    """Return interruptions at random steps of all runs, each equally likely.

    Args:
        lengths: the lengths of the runs, in the order in which they are trained.
        count: the number of interruptions.
        seed: the seed; the same seed draws the same steps.
        signals: the signals, used in turn.
    """
    total = sum(length.steps for length in lengths)
    places = sorted(random.Random(seed).sample(range(total), min(count, total)))
    found = []
    for place, signal in zip(places, itertools.cycle(signals), strict=False):
        for length in lengths:
            if place < length.steps:
                found.append(InterruptionMoment(length.run, place + 1, signal))
                break
            place -= length.steps
    return found
