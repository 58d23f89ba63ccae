"""Classifies Python objects: with state, without state, or with state that cannot be saved."""

from __future__ import annotations

import functools
import io
import itertools
import logging
import random
import sys
import threading
import types
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ckptkit.compat import object_attributes, tf_checkpoint
from ckptkit.tracking.object_kinds import (
    ARRAY,
    ASKED,
    BITS,
    BUFFER,
    CALLBACK,
    DICT,
    FUNCTION,
    GENERATOR,
    OBJECT,
    OBJECT_ARRAY,
    PYTHON_RANDOM,
    RANDOM_STATE,
    SEED_SEQUENCE,
    SEQUENCE,
    SET,
    STREAM,
    TRACKABLE,
    VARIABLE,
    Kind,
    asked_methods,
)
from ckptkit.tracking.reachable_objects import may_lead_on


class Skipped:
    """The class of objects without state of the program."""


class Unsavable:
    """The class of objects whose state cannot be read or set.

    Args:
        words: a description of the object, for a message.
    """

    def __init__(self, words: str) -> None:
        self.words = words


SKIPPED = Skipped()

_SKIPPED_TYPES = (
    type,
    types.ModuleType,
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.CodeType,
    types.FrameType,
    types.TracebackType,
    types.GetSetDescriptorType,
    types.MappingProxyType,
    property,
    staticmethod,
    classmethod,
    functools._lru_cache_wrapper,
    logging.Logger,
    logging.LoggerAdapter,
    logging.Handler,
    logging.Formatter,
    weakref.ref,
    weakref.WeakKeyDictionary,
    weakref.WeakValueDictionary,
    weakref.WeakSet,
    weakref.ProxyType,
    type(threading.Lock()),
    type(threading.RLock()),
    threading.Condition,
    threading.local,
    np.dtype,
    np.ufunc,
    tf.data.Dataset,
    tf.types.experimental.PolymorphicFunction,
    type(NotImplemented),
    type(...),
)
_ITERATORS: tuple[Any, ...] = (
    itertools.chain,
    itertools.count,
    itertools.cycle,
    itertools.repeat,
    map,
    zip,
    filter,
    enumerate,
    reversed,
    type(iter([])),
    type(iter(())),
    type(iter({})),
    type(iter(set())),
    type(iter(range(0))),
    type(iter("")),
    type(iter(lambda: 0, 0)),
)
_NAMED: tuple[tuple[tuple[type, ...], str], ...] = (
    ((types.GeneratorType, types.AsyncGeneratorType), "a generator"),
    ((types.CoroutineType,), "a coroutine"),
    (_ITERATORS, "an iterator"),
    ((threading.Thread,), "a thread"),
    ((random.SystemRandom,), "a generator that reads from the operating system"),
    ((tf.TensorArray,), "a tf.TensorArray"),
    ((tf.io.TFRecordWriter, tf.io.gfile.GFile), "an open file"),
    ((np.memmap,), "an array in a file"),
    ((np.ma.MaskedArray,), "a masked array"),
)
_STANDARD_STREAMS = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")


def _named_by_module() -> Iterator[tuple[tuple[type, ...], str]]:
    """Yield classes of modules that the program has already imported."""
    for module, names, words in (
        ("socket", ("socket",), "an open socket"),
        ("subprocess", ("Popen",), "a process"),
        ("multiprocessing.process", ("BaseProcess",), "a process"),
        ("multiprocessing.pool", ("Pool",), "a pool of processes"),
        ("concurrent.futures", ("Executor",), "a pool of threads or processes"),
        ("concurrent.futures._base", ("Future",), "a future"),
        ("sqlite3", ("Connection", "Cursor"), "an open database"),
        ("mmap", ("mmap",), "a mapped file"),
    ):
        found = sys.modules.get(module)
        kinds = tuple(
            kind for name in names if isinstance(kind := getattr(found, name, None), type)
        )
        if kinds:
            yield kinds, words


_FIXED_KINDS: tuple[tuple[tuple[type, ...], Kind], ...] = (
    ((list, deque), SEQUENCE),
    ((dict,), DICT),
    ((set,), SET),
    ((bytearray,), BUFFER),
    ((np.random.Generator,), GENERATOR),
    ((np.random.BitGenerator,), BITS),
    ((np.random.RandomState,), RANDOM_STATE),
    ((random.Random,), PYTHON_RANDOM),
    ((np.random.SeedSequence,), SEED_SEQUENCE),
    ((io.StringIO, io.BytesIO), STREAM),
)


def classify(value: Any) -> Kind | Skipped | Unsavable:
    """Return the kind of an object that is not a plain value.

    Args:
        value: any object, except plain values, tuples and objects that only contain others.
    """
    if isinstance(value, np.ndarray) and type(value) is np.ndarray:
        if value.dtype.hasobject:
            return OBJECT_ARRAY if value.dtype == object else Unsavable("an array of structures")
        return ARRAY
    # TensorFlow wraps a dictionary of a tf.Module in an object that only looks like one.
    fixed = _by_type(value.__class__)
    if fixed is not None:
        return fixed
    if isinstance(value, io.IOBase):
        standard = any(value is getattr(sys, name, None) for name in _STANDARD_STREAMS)
        return SKIPPED if standard else Unsavable("an open file")
    if isinstance(value, types.FunctionType):
        return FUNCTION if _is_programs(value) else SKIPPED
    if asked_methods(value) is not None and not isinstance(value, keras.Layer):
        return ASKED
    if isinstance(value, keras.callbacks.Callback):
        return CALLBACK
    if type(value) is object:
        return SKIPPED
    if not hasattr(value, "__dict__") and not object_attributes.slots_of(type(value)):
        return Unsavable(_described(type(value)))
    return OBJECT


@functools.cache
def _by_type(kind: Any) -> Kind | Skipped | Unsavable | None:
    """Return the kind of all objects of a class, or None if it depends on the object."""
    for kinds, words in (*_NAMED, *_named_by_module()):
        if issubclass(kind, kinds):
            return Unsavable(words)
    if issubclass(kind, _SKIPPED_TYPES):
        return SKIPPED
    if issubclass(kind, keras.Variable | tf.Variable):
        return VARIABLE
    for kinds, each in _FIXED_KINDS:
        if issubclass(kind, kinds):
            return each
    if kind.__module__ == "array" and kind.__name__ == "array":
        return BUFFER
    if issubclass(kind, np.ndarray):
        return Unsavable(_described(kind))
    return _of_library_class(kind)


def _of_library_class(kind: type) -> Kind | Skipped | None:
    """Return the kind of an object of Keras', TensorFlow's or NumPy's own classes, or None."""
    package = kind.__module__.partition(".")[0]
    if issubclass(kind, keras.callbacks.Callback):
        return None  # such a class may have get_state()
    if issubclass(kind, keras.Layer | keras.metrics.Metric):
        return OBJECT
    if issubclass(kind, keras.losses.Loss | keras.optimizers.Optimizer | tf.Module):
        return OBJECT
    if tf_checkpoint.class_serializes(kind):
        return TRACKABLE
    # Keras' objects with variables, and objects that TensorFlow tracks, such as a
    # tf.random.Generator.
    if may_lead_on[kind] and package in ("keras", "tensorflow"):
        return OBJECT
    return SKIPPED if package in ("keras", "tensorflow", "ckptkit") else None


def _described(kind: type) -> str:
    return f"a {kind.__module__}.{kind.__qualname__}"


def _is_programs(function: types.FunctionType) -> bool:
    """Return whether a function belongs to the program, and not to Python or a library."""
    package = (function.__module__ or "").partition(".")[0]
    if package in ("keras", "tensorflow", "numpy", "ckptkit"):
        return False
    return package == "__main__" or package not in sys.stdlib_module_names
