"""The settings of `ckptkit run`, read from defaults, a TOML file, the environment and options."""

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
from ckptkit.launcher.job_config import check_workers

_PACKAGED = Path(__file__).with_name("configs")

PREFIX = "CKPTKIT_"
NO_SETTINGS = frozenset(
    {
        "CKPTKIT_AUDIT",
        "CKPTKIT_CACHE",
        "CKPTKIT_CONFIG",
        "CKPTKIT_EXPORT",
        "CKPTKIT_LAUNCHER",
    }
)
"""Environment variables with the prefix `CKPTKIT_` that are not settings of the launcher."""

_Secs = Annotated[float, msgspec.Meta(ge=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Some = Annotated[int, msgspec.Meta(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of `ckptkit run`; `--help` shows the text of each field."""

    run: str = field(
        default="",
        metadata={
            "words": "The run directory. By default the training reports it when it opens a run."
        },
    )
    workers: str = field(
        default="",
        metadata={
            "words": "The workers of the job, which get TF_CONFIG: a number for workers on this "
            "machine; slurm, or kubernetes:N for N pods, for one worker on each node."
        },
    )
    notices: str = field(
        default="auto",
        metadata={
            "words": "The source of notices that the machine will go away: auto, gce, aws, azure, "
            "file:PATH or off."
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
            "words": "The number of crashes within the window, without a newer checkpoint, after "
            "which it is still restarted."
        },
    )
    window_secs: _Secs = field(
        default=3600.0,
        metadata={
            "words": "The length of that window in seconds; earlier crashes count as starts "
            "without a newer checkpoint."
        },
    )
    no_progress: _Some = field(
        default=3,
        metadata={
            "words": "The number of starts without a newer checkpoint after which the launcher "
            "gives up."
        },
    )
    backoff_secs: _Secs = field(
        default=5.0,
        metadata={
            "words": "The longest wait in seconds after the first crash, doubled by each further "
            "crash. The wait is random."
        },
    )
    backoff_max_secs: _Secs = field(
        default=300.0,
        metadata={"words": "The longest wait in seconds after any number of crashes."},
    )
    stall_secs: _Secs = field(
        default=300.0,
        metadata={
            "words": "Write the stacks to the log after so many seconds without progress; 0 for "
            "never."
        },
    )
    hang_secs: _Secs = field(
        default=0.0,
        metadata={
            "words": "End and restart the training after so many seconds without progress; 0 for "
            "never."
        },
    )
    first_step_secs: _Secs = field(
        default=1800.0,
        metadata={"words": "The shortest such time, in seconds, before the first step is done."},
    )
    log_bytes: Annotated[int, msgspec.Meta(ge=1000)] = field(
        default=16_000_000,
        metadata={
            "words": "The size in bytes at which a new log file begins in the run directory."
        },
    )
    log_files: _Some = field(
        default=4, metadata={"words": "The number of earlier log files to keep."}
    )


FIELDS: dict[str, dataclasses.Field[Any]] = {
    each.name: each for each in dataclasses.fields(Settings)
}
_TYPES = get_type_hints(Settings, include_extras=True)


@dataclass(frozen=True)
class Origin:
    """The value of a setting, and its source.

    Args:
        value: the checked value.
        source: the source in words.
    """

    value: Any
    source: str


def settle(
    config: Path | None, environment: Mapping[str, str], options: Mapping[str, Any]
) -> dict[str, Origin]:
    """Return each setting with its value and source; options win, then environment, then file.

    Args:
        config: a TOML file, or None.
        environment: the environment of this process; `CKPTKIT_GRACE_SECS` sets `grace_secs`.
        options: the options of the command line; None for an option that was not given.

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


def packaged_configs() -> dict[str, Path]:
    """Return the settings that the package brings, by name, such as `spot-gpu`."""
    return {path.stem: path for path in sorted(_PACKAGED.glob("*.toml"))}


def _read(config: Path) -> dict[str, Any]:
    packaged = packaged_configs()
    try:
        # A name without a directory, unless there is such a file.
        if str(config) in packaged and not config.exists():
            config = packaged[str(config)]
        return tomllib.loads(config.read_text())
    except OSError as error:
        raise ConfigError(
            f"Could not read {config}: {error.strerror}. Expected a TOML file, or one of the "
            f"settings of the package: {', '.join(packaged)}."
        ) from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise ConfigError(f"{config} is not a TOML file: {error}.") from error


def _known(name: str, known: Mapping[str, object], where: str) -> str:
    if name in known:
        return name
    close = difflib.get_close_matches(name, list(known), n=1)
    advice = f"Did you mean {close[0]}?" if close else f"Expected one of {', '.join(known)}."
    raise ConfigError(f"There is no setting {name!r} ({where}). {advice}")


def _checked(name: str, value: Any, where: str, *, text: bool = False) -> Any:
    try:
        found = msgspec.convert(value, _TYPES[name], strict=not text)
        return check_workers(found) if name == "workers" else found
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {name} is invalid: {error}. Received: {value!r}.") from error
