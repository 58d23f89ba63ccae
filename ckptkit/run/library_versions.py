"""Versions of what decides on bits."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version


def versions() -> dict[str, str]:
    """Versions of Python, TensorFlow, Keras, NumPy and ckptkit."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    """Read once: packages' files are parsed for it, and every save tells it."""
    found = {"python": platform.python_version()}
    for package in ("tensorflow", "keras", "numpy", "ckptkit"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
