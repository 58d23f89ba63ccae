"""Reads the versions of the libraries on which the exact results of a training depend."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from ckptkit import __version__


def versions() -> dict[str, str]:
    """Return the versions of Python, TensorFlow, Keras, NumPy and ckptkit."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    # Cached, because each call parses package files, and each save records the versions.
    found = {"python": platform.python_version()}
    for package in ("tensorflow", "keras", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    # Not from the installed metadata: the distribution is called tf-ckptkit, and another project
    # is called ckptkit.
    return {**found, "ckptkit": __version__}
