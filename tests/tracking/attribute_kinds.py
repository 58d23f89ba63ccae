"""One of everything that an attribute may hold: how it is made, how training changes it.

Each kind is restored to the bit, or named before the first step.
"""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import itertools
import os
import pathlib
import random
import socket
import threading
import types
import uuid
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


@dataclasses.dataclass
class Record:
    number: float = 0.0
    inner: Any = None


class Slotted:
    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0.0


class Counted(dict):
    """A dictionary of the user's own."""


class Given:
    """Gives and takes its state itself."""

    def __init__(self) -> None:
        self._hidden = 0.0

    def get_state(self) -> float:
        return self._hidden

    def set_state(self, state: float) -> None:
        self._hidden = state


class Stage(enum.Enum):
    WARM = 1
    HOT = 2


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass(frozen=True)
class AttributeKind:
    """One kind of attribute.

    Args:
        make: returns the value that the program makes.
        move: returns the value after training, for a holder's attribute and a random number: the
            same object, changed, or another one.
        look: returns what two equal values have in common.
        named: whether it cannot be saved, and is named instead.
    """

    make: Callable[[], Any]
    move: Callable[[Any, float], Any]
    look: Callable[[Any], Any] = repr
    named: bool = False


def changed(action: Callable[[Any, float], Any]) -> Callable[[Any, float], Any]:
    """Return a move that changes the value in place."""

    def move(value: Any, number: float) -> Any:
        action(value, number)
        return value

    return move


def bits(value: Any) -> Any:
    found = np.asarray(value)
    return found.dtype.str, found.shape, found.tobytes()


def drawn(value: Any) -> Any:
    """The next numbers of a generator, which stays as it is."""
    if isinstance(value, random.Random):
        state = value.getstate()
        found = [value.random(), value.gauss(0, 1)]
        value.setstate(state)
        return found
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state(legacy=False))
    return repr(getattr(value, "bit_generator", value).state)


def counter() -> Callable[[float], list[float]]:
    seen: list[float] = []

    def note(number: float) -> list[float]:
        seen.append(number)
        return seen

    return note


def last_seen(function: Any) -> Any:
    return function.__closure__[0].cell_contents


def growing() -> Any:
    total = 0.0

    def add(number: float) -> float:
        nonlocal total
        total += number
        return total

    return add


def cycle() -> list[Any]:
    made: list[Any] = [0.0]
    made.append(made)
    return made


def small_model() -> Any:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])


def table() -> Any:
    return tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, -1.0)


def transitions(value: Any, number: float) -> None:
    for step in range(100):
        value.append((np.full(3, number + step, "float32"), step, number * step, step % 7 == 0))


def looked_at_transitions(value: Any) -> Any:
    return [(bits(a), b, c, d) for a, b, c, d in value], value.maxlen


VALUES = {
    "integer": AttributeKind(lambda: 0, lambda v, n: v + int(n * 1000)),
    "long integer": AttributeKind(lambda: 0, lambda v, n: 7**2000 + int(n * 1000)),
    "float": AttributeKind(lambda: 0.0, lambda v, n: n),
    "infinity": AttributeKind(lambda: 0.0, lambda v, n: float("-inf")),
    "nan": AttributeKind(lambda: 0.0, lambda v, n: float("nan")),
    "boolean": AttributeKind(lambda: False, lambda v, n: True),
    "text": AttributeKind(lambda: "a", lambda v, n: f"{n}é"),
    "bytes": AttributeKind(lambda: b"", lambda v, n: str(n).encode() + b"\xff"),
    "none": AttributeKind(lambda: 1, lambda v, n: None),
    "complex": AttributeKind(lambda: 0j, lambda v, n: complex(n, -0.0)),
    "enum": AttributeKind(lambda: Stage.WARM, lambda v, n: Stage.HOT),
    "tuple": AttributeKind(lambda: (), lambda v, n: (1, (n, "a"), None)),
    "named tuple": AttributeKind(lambda: Point(0, 0), lambda v, n: Point(n, 1)),
    "frozenset": AttributeKind(lambda: frozenset(), lambda v, n: frozenset({n, 2}), sorted),
    "date": AttributeKind(
        lambda: datetime.date(2000, 1, 1), lambda v, n: v + datetime.timedelta(int(n * 1000))
    ),
    "moment": AttributeKind(
        lambda: datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC),
        lambda v, n: v + datetime.timedelta(n),
    ),
    "time span": AttributeKind(datetime.timedelta, lambda v, n: datetime.timedelta(seconds=n)),
    "decimal": AttributeKind(lambda: decimal.Decimal(0), lambda v, n: decimal.Decimal(str(n))),
    "fraction": AttributeKind(lambda: fractions.Fraction(0), lambda v, n: fractions.Fraction(n)),
    "uuid": AttributeKind(lambda: uuid.UUID(int=0), lambda v, n: uuid.UUID(int=int(n * 1e9))),
    "path": AttributeKind(lambda: pathlib.Path("a"), lambda v, n: v / str(n)),
    "range": AttributeKind(lambda: range(2), lambda v, n: range(int(n * 100))),
    "slice": AttributeKind(lambda: slice(2), lambda v, n: slice(1, int(n * 100))),
    "class": AttributeKind(lambda: Record, lambda v, n: Slotted),
    "function of a module": AttributeKind(
        lambda: growing, lambda v, n: counter, lambda v: v.__qualname__
    ),
    "partial": AttributeKind(
        lambda: functools.partial(Record, 1.0), lambda v, n: functools.partial(Record, n)
    ),
    "missing": AttributeKind(lambda: 1, lambda v, n: GONE),
}
GONE = object()
"""Stands for an attribute that training deletes."""

CONTAINERS = {
    "list": AttributeKind(list, changed(lambda v, n: v.extend([n, [n, "a"]]))),
    "another list": AttributeKind(list, lambda v, n: [n]),
    "list of floats": AttributeKind(list, changed(lambda v, n: v.extend(n * i for i in range(99)))),
    "list of integers": AttributeKind(
        list, changed(lambda v, n: v.extend(range(int(n * 99) + 70)))
    ),
    "list of scalars": AttributeKind(
        list, changed(lambda v, n: v.extend(np.float32(n * i) for i in range(99)))
    ),
    "nested lists": AttributeKind(lambda: [[1], [2]], changed(lambda v, n: v[1].append(n))),
    "cycle": AttributeKind(
        cycle, changed(lambda v, n: v.__setitem__(0, n)), lambda v: (v[0], v[1] is v)
    ),
    "dictionary": AttributeKind(dict, changed(lambda v, n: v.update({"a": n, 3: {(1, 2): n}}))),
    "ordered": AttributeKind(collections.OrderedDict, changed(lambda v, n: v.update(b=n, a=1))),
    "default": AttributeKind(
        lambda: collections.defaultdict(list),
        changed(lambda v, n: v["a"].append(n)),
        lambda v: (dict(v), v["new"]) if not v.pop("new", 0) else None,
    ),
    "counter": AttributeKind(collections.Counter, changed(lambda v, n: v.update(str(n)))),
    "own dictionary": AttributeKind(
        Counted, lambda v, n: Counted(a=n), lambda v: (type(v), dict(v))
    ),
    "set": AttributeKind(
        set, changed(lambda v, n: v.update({n, "a"})), lambda v: sorted(map(repr, v))
    ),
    "deque": AttributeKind(
        lambda: collections.deque(maxlen=2), changed(lambda v, n: v.extend([1, 2, n]))
    ),
    "replay buffer": AttributeKind(
        lambda: collections.deque(maxlen=90), changed(transitions), looked_at_transitions
    ),
    "bytearray": AttributeKind(bytearray, changed(lambda v, n: v.extend(str(n).encode()))),
    "array of Python": AttributeKind(lambda: array.array("d"), changed(lambda v, n: v.append(n))),
    "text stream": AttributeKind(
        io.StringIO, changed(lambda v, n: v.write(str(n))), lambda v: (v.getvalue(), v.tell())
    ),
}
ARRAYS = {
    "array": AttributeKind(lambda: np.zeros(3), changed(lambda v, n: v.__iadd__(n)), bits),
    "another array": AttributeKind(
        lambda: np.zeros(3), lambda v, n: np.full((2, 2), n, "float16"), bits
    ),
    "empty array": AttributeKind(lambda: np.zeros(3), lambda v, n: np.zeros((0, 3), "int8"), bits),
    "large array": AttributeKind(
        lambda: np.zeros(300_000), changed(lambda v, n: v.__setitem__(-1, n)), bits
    ),
    "array of text": AttributeKind(
        lambda: np.array(["a", "b"]), lambda v, n: np.array(["c", str(n)]), bits
    ),
    "array of dates": AttributeKind(
        lambda: np.zeros(2, "datetime64[s]"),
        changed(lambda v, n: v.__setitem__(0, np.datetime64(int(n * 100), "s"))),
        bits,
    ),
    "structured array": AttributeKind(
        lambda: np.zeros(2, [("a", "f4"), ("b", "i2")]),
        changed(lambda v, n: v["a"].__setitem__(0, n)),
        bits,
    ),
    "other byte order": AttributeKind(
        lambda: np.zeros(2, ">f4"), changed(lambda v, n: v.__setitem__(0, n)), bits
    ),
    "bfloat16": AttributeKind(
        lambda: np.zeros(2, tf.bfloat16.as_numpy_dtype),
        changed(lambda v, n: v.__setitem__(0, n)),
        bits,
    ),
    "array of objects": AttributeKind(
        lambda: np.array([None, [1]], object), changed(lambda v, n: v[1].append(n))
    ),
    "scalar": AttributeKind(lambda: np.float32(0), lambda v, n: np.float32(n), bits),
    "tensor": AttributeKind(lambda: tf.constant(0.0), lambda v, n: v + n, bits),
    "tensor of text": AttributeKind(
        lambda: tf.constant(""), lambda v, n: tf.constant(str(n)), lambda v: v.numpy()
    ),
    "ragged tensor": AttributeKind(
        lambda: tf.ragged.constant([[1.0]]), lambda v, n: tf.ragged.constant([[n], [], [1.0, n]])
    ),
    "sparse tensor": AttributeKind(
        lambda: tf.sparse.from_dense([1.0]), lambda v, n: tf.sparse.from_dense([0.0, n])
    ),
}
OBJECTS = {
    "own object": AttributeKind(Record, changed(lambda v, n: setattr(v, "number", n))),
    "another object": AttributeKind(Record, lambda v, n: Record(n, Record(1.0))),
    "nested objects": AttributeKind(
        lambda: {"a": Record(inner=[Record()])},
        changed(lambda v, n: setattr(v["a"].inner[0], "number", n)),
    ),
    "slots": AttributeKind(
        Slotted, changed(lambda v, n: setattr(v, "number", n)), lambda v: v.number
    ),
    "namespace": AttributeKind(types.SimpleNamespace, changed(lambda v, n: setattr(v, "a", n))),
    "gives its state": AttributeKind(
        Given, changed(lambda v, n: setattr(v, "_hidden", n)), lambda v: v.get_state()
    ),
    "closure": AttributeKind(counter, changed(lambda v, n: v(n)), last_seen),
    "closure over a number": AttributeKind(growing, changed(lambda v, n: v(n)), last_seen),
    "bound method": AttributeKind(
        lambda: Record([]).number.append, changed(lambda v, n: v(n)), lambda v: v.__self__
    ),
    "keyword": AttributeKind(
        lambda: functools.partial(print, Record()),
        changed(lambda v, n: setattr(v.args[0], "number", n)),
        lambda v: v.args,
    ),
    "random": AttributeKind(lambda: random.Random(1), changed(lambda v, n: v.gauss(0, n)), drawn),
    "NumPy generator": AttributeKind(
        lambda: np.random.default_rng(1), changed(lambda v, n: v.normal()), drawn
    ),
    "another generator": AttributeKind(
        lambda: np.random.default_rng(1), lambda v, n: np.random.default_rng(int(n * 1000)), drawn
    ),
    "random state": AttributeKind(
        lambda: np.random.RandomState(1), changed(lambda v, n: v.normal()), drawn
    ),
    "Mersenne": AttributeKind(
        lambda: np.random.Generator(np.random.MT19937(1)), changed(lambda v, n: v.normal()), drawn
    ),
    "spawned seeds": AttributeKind(
        lambda: np.random.SeedSequence(1),
        changed(lambda v, n: v.spawn(3)),
        lambda v: v.n_children_spawned,
    ),
    "TensorFlow generator": AttributeKind(
        lambda: tf.random.Generator.from_seed(1),
        changed(lambda v, n: v.normal([])),
        lambda v: bits(v.state),
    ),
    "Keras seeds": AttributeKind(
        lambda: keras.random.SeedGenerator(1),
        changed(lambda v, n: v.next()),
        lambda v: bits(v.state.value),
    ),
    "variable": AttributeKind(
        lambda: tf.Variable(0.0), changed(lambda v, n: v.assign(n)), lambda v: bits(v.value())
    ),
    "Keras variable": AttributeKind(
        lambda: keras.Variable(0.0), changed(lambda v, n: v.assign(n)), lambda v: bits(v.value)
    ),
    "variables": AttributeKind(
        lambda: [tf.Variable(0.0), {"a": keras.Variable(0.0)}],
        changed(lambda v, n: (v[0].assign(n), v[1]["a"].assign(n))),
        lambda v: (bits(v[0].value()), bits(v[1]["a"].value)),
    ),
    "metric": AttributeKind(
        lambda: keras.metrics.Mean(),
        changed(lambda v, n: v.update_state(n)),
        lambda v: bits(v.result()),
    ),
    "teacher": AttributeKind(
        small_model,
        changed(lambda v, n: v.weights[0].assign_add([[n], [n]])),
        lambda v: bits(v.weights[0]),
    ),
    "table": AttributeKind(
        table, changed(lambda v, n: v.insert("a", n)), lambda v: bits(v.lookup(tf.constant("a")))
    ),
}
NAMED = {
    "open socket": AttributeKind(socket.socket, lambda v, n: v, named=True),
    "open file": AttributeKind(lambda: open(os.devnull), lambda v, n: v, named=True),  # noqa: SIM115
    "generator": AttributeKind(
        lambda: (i for i in range(99)), changed(lambda v, n: next(v)), named=True
    ),
    "iterator": AttributeKind(itertools.count, changed(lambda v, n: next(v)), named=True),
    "iterator of a list": AttributeKind(
        lambda: iter(list(range(99))), changed(lambda v, n: next(v)), named=True
    ),
    "thread": AttributeKind(lambda: threading.Thread(target=print), lambda v, n: v, named=True),
    "view of memory": AttributeKind(lambda: memoryview(bytearray(2)), lambda v, n: v, named=True),
    "masked array": AttributeKind(lambda: np.ma.masked_array([1.0]), lambda v, n: v, named=True),
}
KINDS = {**VALUES, **CONTAINERS, **ARRAYS, **OBJECTS, **NAMED}


def attribute_of(name: str) -> str:
    """Return the attribute that holds one of a kind."""
    return f"its_{name.replace(' ', '_')}"


def fill(holder: Any, names: Any = None) -> None:
    """Gives a holder one of every kind, as the program makes it."""
    for name in names or KINDS:
        setattr(holder, attribute_of(name), KINDS[name].make())


def train(holder: Any, seed: int, names: Any = None) -> None:
    """Changes every attribute, as training does; the numbers follow from the seed."""
    source = random.Random(seed)
    for name in names or KINDS:
        number, attribute = source.uniform(0.1, 0.9), attribute_of(name)
        if not hasattr(holder, attribute):
            continue  # deleted by an earlier step
        found = KINDS[name].move(getattr(holder, attribute), number)
        if found is GONE:
            delattr(holder, attribute)
        elif found is not getattr(holder, attribute):
            setattr(holder, attribute, found)


def looked_at(holder: Any, names: Any = None) -> dict[str, str]:
    """Return what the attributes are, in a form that can be compared."""
    return {
        name: repr(kind.look(getattr(holder, attribute_of(name))))
        if hasattr(holder, attribute_of(name))
        else "gone"
        for name, kind in KINDS.items()
        if (names is None or name in names) and not kind.named
    }
