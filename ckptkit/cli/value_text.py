"""Values and forms of tensors, for people and for programs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ckptkit.cli.plain_text import plain

_MOST_CHARACTERS = 40


def shape_words(shape: Sequence[int | None] | None) -> str:
    """A shape, with `?` for a size that is not fixed.

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
    """A number with six digits, a text with its first characters, `-` for nothing.

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
    """A value as JSON can hold it: `"nan"`, `"inf"`, `"-inf"`, a complex number as a list of two,
    bytes as text.
    """
    if isinstance(value, complex):
        return [json_value(value.real), json_value(value.imag)]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, bool | int | str) else _text(value)


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
