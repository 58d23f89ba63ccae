"""The save policy that saves the checkpoints which a keep policy would keep as the best. Pure."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from typing import Self

from ckptkit.policies.keep_policies import KeepPolicy, parts
from ckptkit.policies.metric_direction import Directions
from ckptkit.policies.save_policies import Moment, SavePolicy

LOOP_MIN_SECS = 10
"""The least time between two saves of a loop that reports its metric at every step, in seconds."""


@dataclass(frozen=True, repr=False)
class SaveBest(SavePolicy):
    """Save when a keep policy would keep this state as one of the best by a metric.

    The default of `save` contains it for each such policy in `keep`. Without it, saves would fall
    into the middle of epochs, which have no `val_loss`.

    A loop may report its metric at every step, and early in training almost every step is the best
    one. So a loop without epochs waits ten seconds between two such saves.

    Args:
        keep: the keep policy, which compares metrics.
    """

    keep: KeepPolicy

    @property
    def monitors(self) -> tuple[str, ...]:
        return self.keep.monitors

    def never_due_without(self, missing: Container[str]) -> bool:
        return all(name in missing for name in self.monitors)

    def with_directions(self, directions: Directions) -> Self:
        return replace(self, keep=self.keep.with_directions(directions))

    def due(self, moment: Moment, last: Moment) -> str | None:
        if moment.running_averages or not self.keep.insists(moment, last):
            return None
        is_epoch_end = moment.position.batch == 0 and moment.position.epoch > last.position.epoch
        is_rare = not any(name in last.metrics for name in self.monitors)
        if not is_epoch_end and not is_rare and moment.time_secs - last.time_secs < LOOP_MIN_SECS:
            return None
        values = [
            f"{name} ({moment.metrics[name]:g})" for name in self.monitors if name in moment.metrics
        ]
        return f"for the best {', '.join(values)}" if values else None

    def insists(self, moment: Moment, last: Moment) -> bool:
        return self.due(moment, last) is not None

    def __repr__(self) -> str:
        return f"SaveBest({self.keep!r})"


def with_best(save: SavePolicy, keep: KeepPolicy) -> SavePolicy:
    """Return a save policy that also saves what a keep policy keeps as the best.

    Args:
        save: the policy for all other saves.
        keep: the keep policy of the run.
    """
    for policy in parts(keep):
        if policy.monitors:
            save = save | SaveBest(policy)
    return save
