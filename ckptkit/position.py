"""The position of a run: how many steps and epochs it has done."""

from __future__ import annotations

from dataclasses import dataclass

from ckptkit.errors import ConfigError


@dataclass(frozen=True, order=True)
class RunPosition:
    """How much of its training a run has done, in batches and in epochs.

    Args:
        step: training batches done since the run began (in a custom loop: turns of the loop). It is
            not `optimizer.iterations`, which gradient accumulation and loss scaling change.
        epoch: whole epochs done.
        batch: batches done in the current epoch; 0 at an epoch's boundary.

    Raises:
        ConfigError: If a number is negative.

    Example:
        >>> from ckptkit import RunPosition
        >>> RunPosition(step=120, epoch=2, batch=20)
        RunPosition(step=120, epoch=2, batch=20)
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0

    def __post_init__(self) -> None:
        for name in ("step", "epoch", "batch"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise ConfigError(
                    f"RunPosition.{name} is a number of things done, so 0 or more. Received: "
                    f"{value!r}."
                )

    def __str__(self) -> str:
        if self.epoch == 0 and self.batch == 0:
            return f"step {self.step}"
        return f"step {self.step} (epoch {self.epoch}, batch {self.batch})"
