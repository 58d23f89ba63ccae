"""Encodes immutable values as JSON: numbers, text, dates, NumPy scalars, enum members.

`python_state` encodes the basic types; this module adds further types for attributes of the
program's objects.
"""

from __future__ import annotations

import ast
import base64
import datetime
import enum
import fractions
import math
import pathlib
import sys
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import tensorflow as tf

_LONGEST_INT_BITS = 4096  # see python_state

NOT_PLAIN = object()
"""The result of `encode_plain` for any other value."""


def encode_plain(value: Any) -> Any:
    """Return the JSON form of a value that never changes, or `NOT_PLAIN`.

    Args:
        value: any value. Tuples are not plain, because they may contain objects that change.
    """
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if value.bit_length() <= _LONGEST_INT_BITS else {"__int__": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"__float__": str(value)}
    if kind is bytes:
        return {"__bytes__": base64.b64encode(value).decode()}
    if isinstance(value, np.generic):
        return _encode_scalar(value)
    if isinstance(value, enum.Enum):
        inner = encode_plain(value.value)
        name = global_name(kind)
        return NOT_PLAIN if inner is NOT_PLAIN or name is None else {"__enum__": [name, inner]}
    maker = _TO_PARTS.get(kind)
    if maker is not None:
        parts = [encode_plain(part) for part in maker(value)]
        return NOT_PLAIN if NOT_PLAIN in parts else {"__value__": [kind.__name__, *parts]}
    return NOT_PLAIN


def decode_plain(mark: str, inner: Any) -> Any:
    """Return the value of a JSON object with one of the marks of `encode_plain`.

    Args:
        mark: the only key of the object.
        inner: its value.

    Raises:
        ValueError: If the mark is unknown, or the program does not have a class.
    """
    if mark == "__int__":
        return int(inner, 16)
    if mark == "__float__":
        return float(inner)
    if mark == "__bytes__":
        return base64.b64decode(inner)
    if mark == "__scalar__":
        name, text = inner
        return np.frombuffer(base64.b64decode(text), array_type(name))[0]
    if mark == "__enum__":
        return global_object(inner[0])(decode_any(inner[1]))
    if mark == "__value__":
        return _FROM_PARTS[inner[0]](*(decode_any(part) for part in inner[1:]))
    raise ValueError(f"{mark} is not a known form")


def decode_any(form: Any) -> Any:
    """Return the value that `encode_plain` has encoded."""
    if isinstance(form, dict):
        ((mark, inner),) = form.items()
        return decode_plain(mark, inner)
    return form


def _encode_scalar(value: np.generic) -> Any:
    if value.dtype.hasobject:
        return NOT_PLAIN
    text = base64.b64encode(value.tobytes()).decode()
    return {"__scalar__": [type_name(value.dtype), text]}


def array_type(name: str) -> np.dtype[Any]:
    """Return a type of NumPy's from its description.

    Args:
        name: the description as in NumPy's files; or `tensorflow:` and a name.
    """
    found: Any
    if name.startswith("tensorflow:"):
        found = tf.as_dtype(name.partition(":")[2]).as_numpy_dtype
    else:
        described: Any = ast.literal_eval(name) if name[0] == "[" else name
        found = np.lib.format.descr_to_dtype(described)
    made: np.dtype[Any] = np.dtype(found)
    return made


def type_name(dtype: np.dtype[Any]) -> str:
    """Return the description of a type of NumPy's that `array_type` takes."""
    # For types of other packages, such as bfloat16, NumPy's description contains only the size.
    if dtype.kind == "V" and dtype.names is None and dtype.type is not np.void:
        return f"tensorflow:{dtype.name}"
    descr = np.lib.format.dtype_to_descr(dtype)
    return descr if isinstance(descr, str) else repr(descr)


# -- values with parts


def _date_time_parts(value: datetime.datetime) -> tuple[Any, ...]:
    if value.tzinfo is not None and type(value.tzinfo) is not datetime.timezone:
        return (NOT_PLAIN,)
    return (value.isoformat(), value.fold)


_TO_PARTS: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    complex: lambda value: (value.real.hex(), value.imag.hex()),
    datetime.datetime: _date_time_parts,
    datetime.date: lambda value: (value.isoformat(),),
    datetime.timedelta: lambda value: (value.days, value.seconds, value.microseconds),
    Decimal: lambda value: (str(value),),
    fractions.Fraction: lambda value: (value.numerator, value.denominator),
    uuid.UUID: lambda value: (str(value),),
    pathlib.PosixPath: lambda value: (str(value),),
    pathlib.PurePosixPath: lambda value: (str(value),),
    range: lambda value: (value.start, value.stop, value.step),
    slice: lambda value: (value.start, value.stop, value.step),
}

_FROM_PARTS: dict[str, Callable[..., Any]] = {
    "complex": lambda real, imag: complex(float.fromhex(real), float.fromhex(imag)),
    "datetime": lambda text, fold: datetime.datetime.fromisoformat(text).replace(fold=fold),
    "date": datetime.date.fromisoformat,
    "timedelta": datetime.timedelta,
    "Decimal": Decimal,
    "Fraction": fractions.Fraction,
    "UUID": uuid.UUID,
    "PosixPath": pathlib.PosixPath,
    "PurePosixPath": pathlib.PurePosixPath,
    "range": range,
    "slice": slice,
}


# -- names of classes and functions


def global_name(value: Any) -> str | None:
    """Return the name under which a class or function is found in its module, or None.

    Args:
        value: a class or a function.
    """
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    found = _look_up(module, name)
    return f"{module}:{name}" if found is value else None


def global_object(name: str) -> Any:
    """Return the class or function of a name; nothing is imported for it.

    Args:
        name: the result of `global_name`.

    Raises:
        ValueError: If the program has not imported it.
    """
    module, _, qualified = name.partition(":")
    found = _look_up(module, qualified)
    if found is None:
        raise ValueError(f"the program has no {qualified} in {module}")
    return found


def _look_up(module: str, qualified: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found
