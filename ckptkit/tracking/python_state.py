"""Encodes Python state as JSON and arrays, and saves the random states of the process."""

from __future__ import annotations

import base64
import json
import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from ckptkit.compat import tf_random
from ckptkit.errors import ConfigError, CorruptCheckpointError
from ckptkit.tracking.random_draws import draws

# A dictionary with one of these keys represents a value that JSON does not have.
_MARKS = (
    "__tuple__",
    "__items__",
    "__bytes__",
    "__array__",
    "__scalar__",
    "__float__",
    "__int__",
    "__set__",
    "__frozenset__",
)
# Python refuses to convert very long integers to decimal (by default, more than 4,300 digits).
# Integers longer than this limit are saved as hexadecimal digits, which have no limit.
_LONGEST_INT_BITS = 4096
_SHORT = 2**63


def encode(value: object, where: str) -> tuple[str, list[np.ndarray[Any, Any]]]:
    """Return JSON for a value, and the arrays that the JSON refers to.

    Args:
        value: None, bool, int of any size, float, str, bytes, NumPy scalars and arrays, and lists,
            tuples, sets and dictionaries of them.
        where: how to name the value in a message.

    Returns:
        The JSON text and the arrays.

    Raises:
        ConfigError: If it contains any other value; the message names the place.
    """
    arrays: list[np.ndarray[Any, Any]] = []
    try:
        return json.dumps(_encode(value, where, arrays, ())), arrays
    except RecursionError as error:
        raise ConfigError(
            f"{where} is nested too deeply to be saved. Return plainer values from get_state()."
        ) from error


def _encode(
    value: object, where: str, arrays: list[np.ndarray[Any, Any]], above: tuple[int, ...]
) -> object:
    """Return the JSON form of a value; `above` are the ids of its containers."""
    if id(value) in above:
        raise ConfigError(
            f"{where} contains itself, so it cannot be saved as JSON. Return plain values from "
            f"get_state()."
        )
    above = (*above, id(value))
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _LONGEST_INT_BITS else {"__int__": hex(value)}
    # Not isinstance: np.float64 is a float, but must be restored as np.float64.
    if type(value) is float:
        return value if math.isfinite(value) else {"__float__": str(value)}
    if isinstance(value, bytes):
        return {"__bytes__": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray | np.generic):
        return _encode_array(value, where, arrays)
    if isinstance(value, list | tuple | set | frozenset | dict):
        return _encode_container(value, where, arrays, above)
    if isinstance(value, float):  # a user's subclass of ndarray
        return _encode(float(value), where, arrays, above)
    raise ConfigError(
        f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be "
        "saved. Expected None, bool, int, float, str, bytes, NumPy arrays, and lists, tuples, "
        "sets, dictionaries of them."
    )


def _encode_array(
    value: np.ndarray[Any, Any] | np.generic, where: str, arrays: list[np.ndarray[Any, Any]]
) -> object:
    """Return a reference to an array, which is appended to `arrays`."""
    if (
        value.dtype.kind not in "biufc"
        or value.dtype.char in "gG"  # long double: its size depends on the machine
        or isinstance(value, np.ma.MaskedArray)
    ):
        raise ConfigError(
            f"{where} is a NumPy {type(value).__name__} of {value.dtype}. Expected plain arrays "
            "of numbers or booleans of up to 64 bits a part; turn it into a list."
        )
    # TensorFlow supports only the machine's byte order.
    arrays.append(np.asarray(value, dtype=value.dtype.newbyteorder("=")))
    mark = "__array__" if isinstance(value, np.ndarray) else "__scalar__"
    return {mark: len(arrays) - 1}


def _encode_container(
    value: list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any] | dict[Any, Any],
    where: str,
    arrays: list[np.ndarray[Any, Any]],
    above: tuple[int, ...],
) -> object:
    """Return the JSON form of a container and its content."""
    # The state of Python's random numbers is 625 numbers. One by one, they took a third of the time
    # for which a save stops training.
    if isinstance(value, list | tuple) and _all_short_ints(value):
        return list(value) if isinstance(value, list) else {"__tuple__": list(value)}
    if isinstance(value, list):
        return [_encode(item, f"{where}[{i}]", arrays, above) for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {
            "__tuple__": [
                _encode(item, f"{where}[{i}]", arrays, above) for i, item in enumerate(value)
            ]
        }
    if isinstance(value, set | frozenset):
        mark = "__set__" if isinstance(value, set) else "__frozenset__"
        where = f"{where} (an element)"
        return {
            mark: [
                _encode(item, where, arrays, above)
                for item in sorted(value, key=lambda item: _order(item, where, above))
            ]
        }
    if all(isinstance(key, str) and key not in _MARKS for key in value):
        return {
            key: _encode(item, f"{where}[{key!r}]", arrays, above) for key, item in value.items()
        }
    # JSON's keys are strings. A key that equals a mark would look like an encoded value.
    return {
        "__items__": [
            [
                _encode(key, f"{where} (a key)", arrays, above),
                _encode(item, f"{where}[{key!r}]", arrays, above),
            ]
            for key, item in value.items()
        ]
    }


def _all_short_ints(items: list[Any] | tuple[Any, ...]) -> bool:
    return set(map(type, items)) == {int} and all(-_SHORT < item < _SHORT for item in items)


def _order(item: object, where: str, above: tuple[int, ...]) -> tuple[str, list[bytes]]:
    """Return the sort key of an element of a set: its encoded form.

    The repr is not suitable: for a set in a set it depends on the order in which the inner set was
    filled.
    """
    arrays: list[np.ndarray[Any, Any]] = []
    return json.dumps(_encode(item, where, arrays, above)), [
        array.dtype.str.encode() + array.tobytes() for array in arrays
    ]


def decode(text: str, arrays: list[np.ndarray[Any, Any]], where: str) -> Any:
    """Return the value that `encode` has encoded.

    Raises:
        CorruptCheckpointError: If the text is not valid output of `encode`.
    """
    try:
        return _decode(json.loads(text), arrays)
    except (ValueError, TypeError, IndexError, KeyError, RecursionError) as error:
        raise CorruptCheckpointError(
            f"The saved Python state of {where} cannot be read: {error}."
        ) from error


def _decode(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    """Return the value that a JSON form represents."""
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((mark, inner),) = value.items()
        if mark == "__tuple__":
            return tuple(_decode(item, arrays) for item in inner)
        if mark == "__set__":
            return {_decode(item, arrays) for item in inner}
        if mark == "__frozenset__":
            return frozenset(_decode(item, arrays) for item in inner)
        if mark == "__int__":
            return int(inner, 16)
        if mark == "__bytes__":
            return base64.b64decode(inner)
        if mark == "__float__":
            return float(inner)
        if mark == "__items__":
            return {_decode(key, arrays): _decode(item, arrays) for key, item in inner}
        if mark == "__array__":
            return np.array(arrays[inner])
        if mark == "__scalar__":
            return arrays[inner][()]
    return {key: _decode(item, arrays) for key, item in value.items()}


class ProcessRandom:
    """The random states of the process, as an entry of the state.

    Attributes:
        only_libraries: whether a restore leaves Python's and NumPy's states unchanged, because data
            that was read again has already advanced them.
    """

    def __init__(self) -> None:
        self.only_libraries = False

    def get_state(self) -> dict[str, Any]:
        """Return the current states, without drawing a number or creating a generator."""
        return {**program_random(), "keras": tf_random.global_seed()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Set states that `get_state` returned, in this version or an earlier one."""
        set_program_random({**state, "python": None} if self.only_libraries else state)
        # None: the program had no global seed. To set one would change its random numbers.
        if state["keras"] is not None:
            tf_random.set_global_seed(state["keras"])


def program_random() -> dict[str, Any]:
    """Return the states from which a program and its data draw without their own generator.

    These are `random`, NumPy's global generator, the state from which TensorFlow's eager operations
    and new datasets take their seeds, and the counters of replaced operations (`RandomDraws`).
    """
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "tensorflow": tf_random.eager_random(),
        "draws": draws.get_state(),
    }


def set_program_random(state: Mapping[str, Any]) -> None:
    """Set states that `program_random` returned.

    Args:
        state: the result of `program_random`. Earlier versions had no `tensorflow` and no
            `draws`, and `python` may be None: a missing state stays unchanged.
    """
    if state["python"] is not None:
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])
    if state.get("tensorflow") is not None:
        tf_random.set_eager_random(state["tensorflow"])
    if "draws" in state:
        draws.set_state(state["draws"])
