"""Settings of `ckptkit run`: one frozen record, read from four sources of rising priority."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from ckptkit.errors import ConfigError

PREFIX = "CKPTKIT_"
NO_SETTINGS = frozenset({"CKPTKIT_LAUNCHER", "CKPTKIT_CONFIG", "CKPTKIT_EXPORT", "CKPTKIT_AUDIT"})
"""Variables with that prefix that are no settings of the launcher."""

_Secs = Annotated[float, msgspec.Meta(ge=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Some = Annotated[int, msgspec.Meta(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of `ckptkit run`; `--help` shows the text of each field."""

    run: str = field(
        default="",
        metadata={
            "words": "The run directory; without it, the training tells which it is when it opens "
            "it."
        },
    )
    notices: str = field(
        default="auto",
        metadata={
            "words": "Who knows that the machine will go away: auto, gce, aws, azure, file:PATH "
            "or off."
        },
    )
    grace_secs: Annotated[float, msgspec.Meta(gt=0)] = field(
        default=30.0, metadata={"words": "From SIGTERM to the end of the machine, in seconds."}
    )
    signal: Literal["SIGTERM", "SIGUSR1"] = field(
        default="SIGTERM",
        metadata={
            "words": "The signal that tells the training to save and stop after a notice: SIGTERM "
            "or SIGUSR1."
        },
    )
    crashes: _Count = field(
        default=5,
        metadata={
            "words": "Crashes within the window after which it is started again, with no newer "
            "checkpoint."
        },
    )
    window_secs: _Secs = field(
        default=3600.0,
        metadata={
            "words": "The window; crashes of longer ago count as starts without a newer checkpoint."
        },
    )
    no_progress: _Some = field(
        default=3,
        metadata={
            "words": "Starts that trained, hung or stopped unasked, with no newer checkpoint; "
            "then it is given up."
        },
    )
    backoff_secs: _Secs = field(
        default=5.0,
        metadata={
            "words": "The longest wait after a first crash; twice as long after each further one. "
            "The wait is random."
        },
    )
    backoff_max_secs: _Secs = field(default=300.0, metadata={"words": "The longest wait of all."})
    stall_secs: _Secs = field(
        default=300.0,
        metadata={
            "words": "Without progress for so long, stacks are written to the log; 0 for never."
        },
    )
    hang_secs: _Secs = field(
        default=0.0,
        metadata={
            "words": "Without progress for so long, the training is ended and started again; 0 "
            "for never."
        },
    )
    first_step_secs: _Secs = field(
        default=1800.0,
        metadata={"words": "Before the first step is done, neither happens earlier than this."},
    )
    log_bytes: Annotated[int, msgspec.Meta(ge=1000)] = field(
        default=16_000_000,
        metadata={"words": "Size at which the log in the run directory is begun anew."},
    )
    log_files: _Some = field(default=4, metadata={"words": "Earlier logs that are kept."})


FIELDS: dict[str, dataclasses.Field[Any]] = {
    each.name: each for each in dataclasses.fields(Settings)
}
_TYPES = get_type_hints(Settings, include_extras=True)


@dataclass(frozen=True)
class Origin:
    """Value of a setting, and its source.

    Args:
        value: the checked value.
        source: where it comes from, in words.
    """

    value: Any
    source: str


def settle(
    config: Path | None, environment: Mapping[str, str], options: Mapping[str, Any]
) -> dict[str, Origin]:
    """Return each setting with its value and source; a later source has priority.

    Args:
        config: a TOML file, or None.
        environment: of this process; `CKPTKIT_GRACE_SECS` sets `grace_secs`.
        options: of the command line; None for an option that was not given.

    Raises:
        ConfigError: If a name is not known or a value is invalid.
    """
    found = {name: Origin(each.default, "default") for name, each in FIELDS.items()}
    if config is not None:
        for name, value in _read(config).items():
            known = _known(name, FIELDS, str(config))
            found[known] = Origin(_checked(known, value, str(config)), str(config))
    variables = {PREFIX + name.upper(): name for name in FIELDS}
    for variable, text in environment.items():
        if variable.startswith(PREFIX) and variable not in NO_SETTINGS:
            name = variables[_known(variable, variables, "the environment")]
            found[name] = Origin(
                _checked(name, text, variable, text=True), f"environment, {variable}"
            )
    for name, value in options.items():
        if value is not None:
            option = option_of(name)
            found[name] = Origin(
                _checked(name, value, option, text=True), f"command line, {option}"
            )
    return found


def settings_of(found: Mapping[str, Origin]) -> Settings:
    """Return the settings without their sources."""
    return Settings(**{name: origin.value for name, origin in found.items()})


def option_of(name: str) -> str:
    """Return the name of a setting on the command line."""
    return "--" + name.replace("_", "-")


def _read(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_text())
    except OSError as error:
        raise ConfigError(
            f"Could not read {config}: {error.strerror}. Expected a TOML file, such as "
            "configs/default.toml."
        ) from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise ConfigError(f"{config} is no TOML: {error}.") from error


def _known(name: str, known: Mapping[str, object], where: str) -> str:
    if name in known:
        return name
    close = difflib.get_close_matches(name, list(known), n=1)
    advice = f"Did you mean {close[0]}?" if close else f"Expected one of {', '.join(known)}."
    raise ConfigError(f"There is no setting {name!r} ({where}). {advice}")


def _checked(name: str, value: Any, where: str, *, text: bool = False) -> Any:
    try:
        return msgspec.convert(value, _TYPES[name], strict=not text)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"{where}: {name} cannot be right: {error}. Received: {value!r}."
        ) from error
