"""Formats values and shapes of tensors, as text for people and as JSON for programs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ckptkit.cli.plain_text import plain

_MOST_CHARACTERS = 40


def shape_words(shape: Sequence[int | None] | None) -> str:
    """Return a shape as text, with `?` for a size that is not fixed.

    Example:
        >>> from ckptkit.cli.value_text import shape_words
        >>> shape_words((None, 3)), shape_words(()), shape_words(None)
        ('(?, 3)', '()', '?')
    """
    return (
        "?"
        if shape is None
        else f"({', '.join('?' if each is None else str(each) for each in shape)})"
    )


def value_words(value: object) -> str:
    """Return a number with six digits, the beginning of a text, or `-` for None.

    Example:
        >>> from ckptkit.cli.value_text import value_words
        >>> value_words(1 / 3), value_words(2**40), value_words(None), value_words(1 - 0.5j)
        ('0.333333', '1099511627776', '-', '1-0.5j')
    """
    if value is None:
        return "-"
    if isinstance(value, float | complex) and not isinstance(value, bool):
        return f"{value:.6g}"
    text = plain(_text(value))
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."


def json_value(value: object) -> object:
    """Return a value in a form that JSON can hold.

    That is `"nan"`, `"inf"` or `"-inf"` for a number that is not finite, a list of two for a
    complex number, and text for bytes.
    """
    if isinstance(value, complex):
        return [json_value(value.real), json_value(value.imag)]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, bool | int | str) else _text(value)


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
