"""Formats numbers, durations and names as text for people. Pure."""

from __future__ import annotations

import itertools
import math
import re
import time
from collections.abc import Mapping

from ckptkit.printable_text import printable

_PREFERRED = ("val_loss", "loss", "val_accuracy", "accuracy")


def plain(text: object) -> str:
    """Return text on one line, with every control character escaped.

    Files and journals may hold any bytes, and a terminal would obey some of them.
    """
    return printable(str(text)).replace("\n", "\\n").replace("\t", "\\t")


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun.

    Example:
        >>> from ckptkit.cli.plain_text import count
        >>> count(1, "attempt"), count(3, "attempt"), count(2, "life", "lives")
        ('1 attempt', '3 attempts', '2 lives')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which the numbers inside names count as numbers.

    Example:
        >>> from ckptkit.cli.plain_text import natural_key
        >>> sorted(["vars/10", "vars/2", "bias"], key=natural_key)
        ['bias', 'vars/2', 'vars/10']
    """
    return [
        (int(part), "") if part.isascii() and part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", name)
    ]


def duration(secs: float) -> str:
    """Return a duration in its largest unit.

    Example:
        >>> from ckptkit.cli.plain_text import duration
        >>> duration(5), duration(119), duration(7200), duration(200_000)
        ('5 s', '1 min', '2 h', '2 d')
    """
    for unit, width in (("d", 86_400), ("h", 3600), ("min", 60)):
        if secs >= width:
            return f"{int(secs // width):,} {unit}"
    return f"{max(0, int(secs))} s"


def precise_duration(secs: float) -> str:
    """Return a duration in its two largest units, for comparing it with others.

    Example:
        >>> from ckptkit.cli.plain_text import precise_duration
        >>> [precise_duration(secs) for secs in (0, 0.0123, 5.25, 119, 7260, 200_000)]
        ['0 s', '0.012 s', '5.2 s', '1 min 59 s', '2 h 1 min', '2 d 7 h']
    """
    if secs < 0.001:
        return "0 s"
    if secs < 60:
        return f"{secs:.2g} s" if secs < 10 else f"{int(secs)} s"
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    larger, smaller = next(pair for pair in itertools.pairwise(units) if secs >= pair[0][1])
    rest = int(secs % larger[1] // smaller[1])
    return f"{int(secs // larger[1]):,} {larger[0]}" + (f" {rest} {smaller[0]}" if rest else "")


def ago(moment: float, now: float) -> str:
    """Return how long ago a moment is; a future moment counts as now, because clocks differ."""
    return f"{duration(now - moment)} ago" if math.isfinite(moment) else "at no known time"


def date(moment: float) -> str:
    """Return a moment in the machine's own time zone."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
    except (OverflowError, ValueError, OSError):
        return f"{moment:g} s since 1970"


def metrics(values: Mapping[str, float], most: int) -> str:
    """Return a line with the `most` most important metrics, and `+n` for those left out."""
    names = sorted(
        values, key=lambda name: _PREFERRED.index(name) if name in _PREFERRED else len(_PREFERRED)
    )
    shown = [f"{plain(name)} {values[name]:.4g}" for name in names[:most]]
    return "  ".join(shown + ([f"+{len(names) - most}"] if len(names) > most else []))
