"""Checks which arguments of `load_weights` and `load_model` a format has. No TensorFlow."""

from __future__ import annotations

from ckptkit.errors import ConfigError
from ckptkit.load.formats import Format, FoundFormat
from ckptkit.position import whole_number


def check_arguments(
    found: FoundFormat, step: int | str | None, name: str | None, *, averages: bool = False
) -> None:
    """Check that `step`, `name` and `averages` are given only for formats that have them.

    Raises:
        ConfigError: If an argument does not apply or is not valid.
    """
    if isinstance(step, str):
        known = step in ("latest", "best")
    else:
        number = whole_number(step)
        known = step is None or (number is not None and number >= 0)
    if not known:
        raise ConfigError(f"step is a number, 'latest' or 'best'. Received: step={step!r}.")
    if step is not None and (found.format is not Format.RUN or found.step is not None):
        one = (
            f"{found.path} is no run (found: {found.format})"
            if found.step is None
            else "the path already names one checkpoint of a run"
        )
        raise ConfigError(
            f"step chooses a checkpoint of a run, and {one}. Received: step={step!r}; leave it out."
        )
    if not isinstance(averages, bool) or (averages and found.format is not Format.RUN):
        raise ConfigError(
            f"averages are those of an optimizer, which only a run has by name; {found.path} is "
            f"none (found: {found.format}). Received: averages={averages!r}; leave it out."
        )
    if name is not None and found.format in (Format.KERAS, Format.HDF5):
        raise ConfigError(
            f"name chooses one of several models, and {found.path} ({found.format}) holds one. "
            f"Received: name={name!r}; leave it out."
        )
