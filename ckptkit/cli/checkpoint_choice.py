"""Parses the argument that chooses a checkpoint of a run. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import click

from ckptkit.cli.completion import complete_run, complete_step
from ckptkit.cli.plain_text import plain

_MOST_DIGITS = 18
"""Python converts a longer number slowly, and no step has that many digits."""

CHOICES = "STEP|latest|best[:METRIC]"
"""How help names the argument."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

run_argument: Decorator = click.argument("run", metavar="RUN", shell_complete=complete_run)

path_argument: Decorator = click.argument("path", metavar="PATH", shell_complete=complete_run)


def which_argument(*, default: str | None = None, required: bool = True) -> Decorator:
    """Return the argument that chooses a checkpoint, as `which`.

    Args:
        default: the choice if it is left out.
        required: whether it may not be left out.
    """
    # A default of None would make click accept a missing argument that is required.
    given: dict[str, Any] = {} if default is None else {"default": default}
    return click.argument(
        "which",
        metavar=CHOICES if required else f"[{CHOICES}]",
        required=required,
        **given,
        callback=choice_callback,
        shell_complete=complete_step,
    )


def parse_choice(text: str) -> int | str | None:
    """Return a step as a number, or `latest`, `best` or `best:METRIC`; None if it is none of these.

    Example:
        >>> from ckptkit.cli.checkpoint_choice import parse_choice
        >>> parse_choice("600"), parse_choice("best:val_accuracy"), parse_choice("newest")
        (600, 'best:val_accuracy', None)
    """
    if text in ("latest", "best") or (is_best(text) and text != "best:"):
        return text
    # Without isascii, int() would also accept digits of other scripts, such as Arabic ones.
    is_step = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    return int(text) if is_step else None


def is_best(choice: object) -> bool:
    """Return whether a choice is `best` or `best:METRIC`."""
    return isinstance(choice, str) and (choice == "best" or choice.startswith("best:"))


def best_by(choice: str) -> tuple[str | None, Literal["min", "max", "auto"]]:
    """Return the metric and the direction in `best`, `best:METRIC` or `best:METRIC:min|max`.

    Example:
        >>> from ckptkit.cli.checkpoint_choice import best_by
        >>> best_by("best"), best_by("best:val_accuracy"), best_by("best:score:max")
        ((None, 'auto'), ('val_accuracy', 'auto'), ('score', 'max'))
    """
    metric = choice.partition(":")[2]
    name, colon, mode = metric.rpartition(":")
    if colon and mode in ("min", "max"):
        return name, cast("Literal['min', 'max']", mode)
    return metric or None, "auto"


def choice_callback(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> int | str | None:
    """Check the argument that chooses a checkpoint; a callback for click.

    Raises:
        BadParameter: If the text is no choice.
    """
    if text is None:
        return None
    choice = parse_choice(text)
    if choice is None:
        raise click.BadParameter(
            f"Expected a step, 'latest', 'best' or 'best:METRIC'. Received: {plain(text)!r}. "
            "ckptkit list RUN shows the steps."
        )
    return choice
