"""Describes the weights with which a new run begins. Pure: it reads nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ckptkit.errors import ConfigError


@dataclass(frozen=True)
class WarmStart:
    """Weights with which a run begins, as long as it has no checkpoint of its own.

    Args:
        source: where the weights are: a run (`"runs/a"`), one of its checkpoints (`"runs/a@best"`,
            `"runs/a@500"`), or any other source that `ckptkit.load_weights` reads.
        name: the model to read, if the source holds several.
        without: patterns of paths that keep the program's own values, such as `"head/*"` for a new
            head. A pattern matches a path, or the end of a path after a slash.
        averages: whether to take the averages that the optimizer of the source kept (`use_ema`)
            instead of the weights; only from a run.
        optimizer: whether to take the state of the optimizer as well, without its learning rate;
            only from a run.

    Raises:
        ConfigError: If an argument is invalid.

    Example:
        >>> import ckptkit, keras
        >>> def network(outputs):
        ...     layers = [keras.layers.Dense(8), keras.layers.Dense(outputs, name="head")]
        ...     return keras.Sequential([keras.Input((4,)), *layers])
        >>> with ckptkit.CheckpointManager("runs/large", {"model": network(10)}) as manager:
        ...     saved = manager.save(1)
        >>> start = ckptkit.WarmStart("runs/large", without=("head/*",))
        >>> with ckptkit.CheckpointManager(
        ...     "runs/small", {"model": network(3)}, init_from=start
        ... ) as manager:
        ...     print(manager.position)
        step 0
    """

    source: str | os.PathLike[str]
    name: str | None = None
    without: tuple[str, ...] = ()
    averages: bool = False
    optimizer: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.source, str | os.PathLike) or not os.fspath(self.source):
            raise ConfigError(
                "init_from names a run, one of its checkpoints as in 'runs/a@best', or a file with "
                f"weights. Received: {self.source!r}."
            )
        if isinstance(self.without, str) or not all(isinstance(each, str) for each in self.without):
            raise ConfigError(
                "without is a tuple of patterns, such as ('head/*',). Received: "
                f"without={self.without!r}."
            )
        object.__setattr__(self, "without", tuple(self.without))
        for name in ("averages", "optimizer"):
            if not isinstance(value := getattr(self, name), bool):
                raise ConfigError(f"Expected {name}=True or {name}=False. Received: {value!r}.")

    @property
    def checkpoint(self) -> tuple[str, int | str | None]:
        """The path of the source, and the checkpoint that is named after the last `@`."""
        text = os.fsdecode(self.source)
        path, _, step = text.rpartition("@")
        if path and (step in ("best", "latest") or (step.isdecimal() and step.isascii())):
            return path, int(step) if step.isdecimal() else step
        return text, None


def is_left_out(path: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a path, or its end after a slash, matches one of some patterns.

    Args:
        path: the path of a weight, such as `sequential/head/kernel`.
        patterns: patterns with `*`, `?` and `[...]`.
    """
    parts = path.split("/")
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    return any(fnmatchcase(end, pattern) for end in ends for pattern in patterns)


def check_init_from(given: Any) -> Mapping[str, WarmStart] | WarmStart | None:
    """Check the option `init_from`, and return its long form.

    Args:
        given: a path, a `WarmStart`, a mapping from names in `state` to these, or None.

    Raises:
        ConfigError: If it is none of them.
    """
    if given is None or isinstance(given, WarmStart):
        return given
    if isinstance(given, Mapping):
        return {
            name: value if isinstance(value, WarmStart) else WarmStart(value)
            for name, value in given.items()
        }
    if isinstance(given, str | os.PathLike):
        return WarmStart(given)
    hint = (
        " A model that has its weights already, as from a preset, needs no init_from."
        if hasattr(given, "get_weights")
        else ""
    )
    raise ConfigError(
        "init_from is a path such as 'runs/a@best', a ckptkit.WarmStart, or a dictionary of these "
        f"by the names of models in state. Received: {type(given).__name__}.{hint}"
    )
