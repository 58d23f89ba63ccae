"""Builds a Keras model from a configuration, with one clear error for each cause."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ckptkit.errors import (
    CheckpointError,
    ConfigError,
    CorruptCheckpointError,
)
from ckptkit.storage.proof_of_damage import not_read, proven_damage
from ckptkit.tracking.model_architecture import code_in_configuration

_UNKNOWN = re.compile(r"(?:Could not (?:locate|deserialize)|Unknown) ([a-z ]+?):? '([\w>.<]+)'")
"""Finds Keras' message about a missing class in a text with the whole configuration."""


def refuse_code(path: Path, config: Any) -> None:
    """Refuse a configuration that contains code.

    Raises:
        ConfigError: If it contains code.
    """
    reason = code_in_configuration(config)
    if reason:
        raise ConfigError(
            f"The model in {path} is not built: {reason}. If you trust its origin, "
            "keras.saving.load_model(..., safe_mode=False) runs it; or build the model with its "
            "code, and call ckptkit.load_weights(model, ...)."
        )


@contextmanager
def building(path: Path) -> Iterator[None]:
    """Turn Keras' exceptions in the block into one clear error for each cause."""
    try:
        yield
    except CheckpointError:
        raise
    except (TypeError, ImportError, AttributeError) as error:
        _say_missing(path, error)
        raise ConfigError(
            f"The model in {path} cannot be built: {_said(error)}. Pass your own classes and "
            "functions as custom_objects={'Name': Name}; get_config of each class must return "
            "all its arguments."
        ) from error
    except (
        ValueError,
        KeyError,
        IndexError,
        RuntimeError,
        NotImplementedError,
        ArithmeticError,
        AssertionError,
        RecursionError,
    ) as error:
        _say_missing(path, error)
        raise CorruptCheckpointError(f"Keras cannot load {path}: {_said(error)}.") from error
    except MemoryError as error:
        raise not_read(path, errno.ENOMEM) from error
    except OSError as error:
        if error.errno is not None and proven_damage(error, path) is None:
            raise not_read(path, error.errno, _said(error)) from error
        raise CorruptCheckpointError(f"Keras cannot load {path}: {_said(error)}.") from error


def _say_missing(path: Path, error: BaseException) -> None:
    """Raise an error that names the missing class, if a missing class is the cause.

    Raises:
        ConfigError: If a class is missing.
    """
    missing = _UNKNOWN.search(str(error))
    if missing is not None:
        raise ConfigError(
            f"The model in {path} needs the {missing[1]} {missing[2]!r}, which is unknown here. "
            f"Pass custom_objects={{{missing[2]!r}: {missing[2]}}}, or register it with "
            "keras.saving.register_keras_serializable."
        ) from error


def _said(error: BaseException) -> str:
    """Return the cause in Keras' message, without the whole configuration around it."""
    text = str(error)
    for mark in ("Error encountered during deserialization:", "Exception encountered:"):
        text = text.rpartition(mark)[2]
    text = (
        " ".join(text.partition("Full object config")[0].partition("config={")[0].split())
        or type(error).__name__
    )
    return text.rstrip(".") if len(text) <= 400 else f"{text[:400]} [...]"
