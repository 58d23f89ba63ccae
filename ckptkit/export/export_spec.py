"""`ExportSpec`: what a run publishes at its end, and how strictly it is checked."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ckptkit.errors import ConfigError
from ckptkit.exports.version_directories import check_base
from ckptkit.policies.metric_direction import (
    Directions,
    ModeOrAuto,
    given_or_inferred,
    required,
)

OFF = "CKPTKIT_EXPORT"
"""The environment variable that switches off exports at the end of runs, if it is 0."""


@dataclass(frozen=True, kw_only=True)
class ExportSpec:
    """The settings of the export at the end of training: what is published, and how it is checked.

    Args:
        directory: the base directory, with one numbered directory for each version; the default is
            `<run>/export`. A relative path is made absolute here.
        weights: `"final"` (default) publishes the weights at the end of training; `"best"` the best
            kept checkpoint by `monitor`, with the weights that its metric was measured with; a step
            publishes the checkpoint of that step. If `keep` of the callback is not given, `"best"`
            also keeps the best checkpoint.
        monitor: the metric for `"best"`; the default is `val_loss`, or `loss` if that is missing.
        mode: for `"best"`: `"min"` if smaller is better, `"max"` if larger is. The default `"auto"`
            infers it as Keras does: for its own metrics by name, and for metric objects of the
            model.
        signatures: as for `export_saved_model`.
        sample: as for `export_saved_model`; the default is the last batch of data in memory, or
            inputs made from the form of the data.
        keep: number of versions to keep, including the new one; None keeps all. Only versions with
            an `EXPORT.json` are deleted.
        rtol: relative tolerance for values that are not equal bit for bit; the default is 1e-3, or
            2e-2 if the model computes in 16 bits.
        atol: absolute tolerance, in units of the largest finite value of an output; the default is
            a hundredth of `rtol`.
        limit_secs: time limit for the checking process in seconds, counted from the request.
            Writing and syncing do not count.
        imports: modules of installed libraries that the checking process imports first, for
            operations outside TensorFlow, as `("tensorflow_text",)`. The default is none.
        errors: `"warn"` (default): a failed export is a warning and a line in the journal;
            `"raise"`: it is an error.

    Raises:
        ConfigError: If an argument is invalid; or when training starts, if the mode is needed and
            cannot be inferred.

    Example:
        >>> import ckptkit
        >>> ckptkit.ExportSpec(weights="best", keep=5).errors
        'warn'
    """

    directory: str | os.PathLike[str] | None = None
    weights: str | int = "final"
    monitor: str | None = None
    mode: ModeOrAuto = "auto"
    signatures: Mapping[str, Any] | None = None
    sample: Any = None
    keep: int | None = 2
    rtol: float | None = None
    atol: float | None = None
    limit_secs: float = 300.0
    imports: tuple[str, ...] = ()
    errors: Literal["warn", "raise"] = "warn"

    def __post_init__(self) -> None:
        if self.directory is not None:
            # Made absolute now, because the program may change its working directory before it
            # exports.
            object.__setattr__(self, "directory", check_base(self.directory).absolute())
        if self.weights not in ("final", "best") and not (
            isinstance(self.weights, int)
            and not isinstance(self.weights, bool)
            and self.weights >= 0
        ):
            raise ConfigError(
                "ExportSpec: weights is 'final', 'best' or a step. Received: "
                f"weights={self.weights!r}."
            )
        known = given_or_inferred("ExportSpec", self.monitor or "val_loss", self.mode)
        object.__setattr__(self, "mode", known)
        if self.errors not in ("warn", "raise"):
            raise ConfigError(
                f"ExportSpec: errors is 'warn' or 'raise'. Received: errors={self.errors!r}."
            )
        if isinstance(self.imports, str) or not all(
            isinstance(name, str) and name.replace(".", "_").isidentifier() for name in self.imports
        ):
            raise ConfigError(
                "imports names modules, as in imports=('tensorflow_text',). Received: "
                f"imports={self.imports!r}."
            )
        check_numbers(self.keep, self.rtol, self.atol, self.limit_secs)

    def with_directions(self, directions: Directions) -> ExportSpec:
        """Return this spec with the direction of its metric, if it publishes the best weights.

        Args:
            directions: the directions of the program's own metrics, by name.

        Raises:
            ConfigError: If the direction was not given and is unknown.
        """
        if self.weights != "best" or self.monitor is None:
            return self
        return replace(self, mode=required("ExportSpec", self.monitor, self.mode, directions))


def check_numbers(keep: Any, rtol: Any, atol: Any, limit_secs: Any) -> None:
    """Check the numbers that an export takes.

    Raises:
        ConfigError: If a number is invalid.
    """
    if keep is not None and (isinstance(keep, bool) or not isinstance(keep, int) or keep < 1):
        raise ConfigError(
            f"keep is the number of versions to keep, 1 or more, or None for all. Received: "
            f"keep={keep!r}."
        )
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is not None and not (_is_number(value) and 0 <= value < math.inf):
            raise ConfigError(f"{name} is a tolerance, 0 or more. Received: {name}={value!r}.")
    if not (_is_number(limit_secs) and 0 < limit_secs < math.inf):
        raise ConfigError(
            "limit_secs is a duration in seconds, more than 0. Received: "
            f"limit_secs={limit_secs!r}."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_spec(export: Any) -> ExportSpec | None:
    """Return the value of `export=` as a spec.

    True is a spec of defaults, a path is a spec with that directory, and False is None.

    Raises:
        ConfigError: If it has another type.
    """
    if isinstance(export, bool):
        return ExportSpec() if export else None
    if isinstance(export, ExportSpec):
        return export
    return ExportSpec(directory=check_base(export))


def is_switched_off(environment: Mapping[str, str]) -> bool:
    """Return whether the environment switches off exports, as for a sweep over hyperparameters."""
    return environment.get(OFF, "").strip().lower() in ("0", "false", "no", "off")
