"""Python values are decoded with the same type and the same bits."""

from __future__ import annotations

import enum
import json
import math
import random
import struct
from collections import OrderedDict, deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ckptkit.errors import ConfigError, CorruptCheckpointError
from ckptkit.tracking.python_state import decode, encode

NUMBERS = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
MARKS = [
    "__tuple__",
    "__items__",
    "__bytes__",
    "__array__",
    "__scalar__",
    "__float__",
    "__int__",
    "__set__",
    "__frozenset__",
]

texts = st.text() | st.sampled_from(MARKS) | st.just("\ud800")
hashable_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**2000), 10**2000)
    | st.floats()
    | texts
    | st.binary()
)
hashables = st.recursive(
    hashable_scalars,
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
dtypes = st.sampled_from(NUMBERS)
arrays = dtypes.flatmap(
    lambda dtype: npst.arrays(
        dtype, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    )
)
scalars = dtypes.flatmap(lambda dtype: npst.arrays(dtype, ())).map(lambda array: array[()])
values = st.recursive(
    hashables | arrays | scalars | st.sets(hashables, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(texts, inner, max_size=4)
        | st.dictionaries(hashables, inner, max_size=4)
    ),
    max_leaves=12,
)


def same(a: object, b: object) -> bool:
    """Whether two values are of one type and have the same bits, all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and not isinstance(a, np.generic):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(*pair)
            for pairs in zip(a.items(), b.items(), strict=True)
            for pair in zip(*pairs, strict=True)
        )
    if isinstance(a, set | frozenset):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    return bool(a == b)


def there_and_back(value: object) -> object:
    text, found = encode(value, "it")
    json.loads(text)  # it is JSON
    return decode(text, found, "it")


@settings(max_examples=200)
@given(values)
def test_a_value_comes_back_as_it_was(value):
    back = there_and_back(value)
    assert same(back, value)
    assert encode(value, "it")[0] == encode(back, "it")[0], "the same value has another text"


@pytest.mark.parametrize(
    "value",
    [
        random.Random(1).getstate(),
        np.random.default_rng(1).bit_generator.state,
        np.random.RandomState(1).get_state(),
        np.random.Generator(np.random.MT19937(1)).bit_generator.state,
        np.random.Generator(np.random.SFC64(1)).bit_generator.state,
        {"a": [{"b": (1, 2.5, "c", b"d", None, True)}], 3: {4: 5}, (1, 2): {frozenset({1})}},
        10**5000,
        -(10**5000),
        -0.0,
        math.inf,
        -math.inf,
        [math.nan],
        "\0",
        "",
        {},
        [],
        (),
        set(),
        b"\0\xff",
        {"__tuple__": [1]},
        {"__int__": "0x1"},
        np.arange(12).reshape(3, 4)[:, ::2],
        np.arange(6).reshape(2, 3).T,
    ],
    ids=lambda value: type(value).__name__,
)
def test_these_come_back(value):
    assert same(there_and_back(value), value)


def test_a_set_of_sets_has_one_text():
    """Equal sets that were filled in another order list their elements in another order."""
    there, back = (frozenset(items) for items in ([0, 8, 16], [16, 8, 0]))
    other = frozenset({1, 2})
    assert repr(there) < repr(other) < repr(back)
    assert encode({there, other}, "it")[0] == encode({back, other}, "it")[0]


def test_bytes_of_another_order_are_the_same_numbers():
    back = there_and_back(np.array([1.5, -2.0], ">f4"))
    assert back.dtype == np.dtype("float32")
    assert back.tolist() == [1.5, -2.0]


def test_plain_kinds_stand_in_for_their_own_classes():
    class Colour(enum.IntEnum):
        RED = 3

    assert same(there_and_back([Colour.RED, OrderedDict(a=1)]), [3, {"a": 1}])


def loop() -> list[object]:
    value: list[object] = [1]
    value.append({"again": value})
    return value


def deep() -> list[object]:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "where", "what"),
    [
        ({"a": [1, {"b": object()}]}, r"it\['a'\]\[1\]\['b'\]", "builtins.object"),
        ([lambda: 1], r"it\[0\]", "function"),
        ((1, deque()), r"it\[1\]", "collections.deque"),
        ({"a": np.array(["text"])}, r"it\['a'\]", "<U4"),
        ({"a": np.array([object()])}, r"it\['a'\]", "object"),
        (np.zeros(1, np.longdouble), "it", "longdouble|float128"),
        (np.zeros(1, "datetime64[s]"), "it", "datetime64"),
        (np.zeros(1, [("a", "f4")]), "it", r"\('a'"),
        (np.ma.masked_array([1.0], [True]), "it", "MaskedArray"),
        ({object(): 1}, r"it \(a key\)", "builtins.object"),
        ({1: 2, "x": {3j}}, r"it\['x'\] \(an element\)", "complex"),
        (loop(), r"it\[1\]\['again'\]", "contains itself"),
        (deep(), "it", "nested too deeply"),
    ],
)
def test_a_value_that_cannot_be_saved_is_named(value, where, what):
    with pytest.raises(ConfigError, match=where) as raised:
        encode(value, "it")
    assert raised.match(what)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        '{"__array__": 0}',
        '{"__array__": "a"}',
        '{"__bytes__": 3}',
        '{"__items__": [[1]]}',
        '{"__set__": [[1]]}',
        '{"__float__": []}',
        '{"__int__": "q"}',
        '{"__tuple__": 1}',
        "[" * 100_000,
    ],
)
def test_damaged_text_is_an_error(text):
    with pytest.raises(CorruptCheckpointError, match="it"):
        decode(text, [], "it")
