"""Describes training state of another system from which a run continues. Pure: it reads nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ckptkit.errors import ConfigError
from ckptkit.position import whole_number


@dataclass(frozen=True)
class Adopt:
    """State that another system saved, with which a run begins while it has no checkpoint.

    Args:
        source: a directory of `tf.train.CheckpointManager`, `BackupAndRestore`, `ModelCheckpoint`
            or `OrbaxCheckpoint`, or one checkpoint in it.
        epoch: the number of finished epochs, for `fit`; by default as the source says it.
        step: the number of finished training batches; by default the iterations of the optimizer.
        strict: whether every weight and every variable of an optimizer must be in the source
            (default). If False, what is missing keeps the program's values.

    Raises:
        ConfigError: If an argument is invalid.

    Example:
        >>> import ckptkit
        >>> ckptkit.Adopt("backup", epoch=3)
        Adopt(source='backup', epoch=3, step=None, strict=True)
    """

    source: str | os.PathLike[str]
    epoch: int | None = None
    step: int | None = None
    strict: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.source, str | os.PathLike) or not os.fspath(self.source):
            raise ConfigError(
                "adopt names a directory of another system, or one checkpoint in it. Received: "
                f"{self.source!r}."
            )
        for name in ("epoch", "step"):
            value = getattr(self, name)
            number = whole_number(value)
            if value is not None and (number is None or number < 0):
                raise ConfigError(f"{name} is a whole number of 0 or more. Received: {value!r}.")
            object.__setattr__(self, name, number)
        if not isinstance(self.strict, bool):
            raise ConfigError(f"Expected strict=True or strict=False. Received: {self.strict!r}.")


def check_adopt(given: Any) -> Adopt | None:
    """Check the option `adopt`, and return its long form.

    Args:
        given: a path, an `Adopt`, or None.

    Raises:
        ConfigError: If it is none of them.
    """
    if given is None or isinstance(given, Adopt):
        return given
    if isinstance(given, str | os.PathLike):
        return Adopt(given)
    raise ConfigError(
        "adopt is a path such as 'old/checkpoints', or a ckptkit.Adopt. Received: "
        f"{type(given).__name__}."
    )
