"""Gives another name to paths with characters that TensorFlow treats as patterns.

Before TensorFlow reads a checkpoint, it searches for files that match the path as a shell pattern.
So it does not find a checkpoint below `runs/lr=[0.1]`. Escaping does not help, because the same
text is used as a path afterwards. So TensorFlow gets every path under a name from here, without
such characters.
"""

from __future__ import annotations

import os
import re
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

_PATTERN = re.compile(r"[][*?\\]")
_DESCRIPTORS = Path("/proc/self/fd")
_NAME = "checkpoint"

T = TypeVar("T")


def is_pattern(path: Path) -> bool:
    """Return whether TensorFlow would treat a path as a pattern."""
    return _PATTERN.search(str(path)) is not None


@contextmanager
def plain_directory(directory: Path, descriptors: Path = _DESCRIPTORS) -> Iterator[Path]:
    """Yield a name of an existing directory that TensorFlow treats literally.

    The name is valid in this process until the end of the block. In most cases it is the
    directory's own path.

    Args:
        directory: the directory.
        descriptors: the directory in which the system shows this process's open files by number.

    Raises:
        OSError: If the directory cannot be opened.
    """
    if not is_pattern(directory):
        yield directory
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # A descriptor's name leaves nothing behind if this process is killed. Without /proc, as on
        # macOS, a link is needed.
        name = descriptors / str(descriptor)
        if _is_same(name, descriptor):
            yield name
        else:
            with _private_directory() as private:
                link = private / _NAME
                link.symlink_to(directory.absolute(), target_is_directory=True)
                yield link
    finally:
        os.close(descriptor)


@contextmanager
def plain_prefix(prefix: Path) -> Iterator[Path]:
    """Yield a name of an existing checkpoint's prefix that TensorFlow treats literally.

    Raises:
        OSError: If its directory cannot be opened.
    """
    if not is_pattern(Path(prefix.name)):
        with plain_directory(prefix.parent) as directory:
            yield directory / prefix.name
        return
    # The file names also contain such characters, so each file gets a link.
    with _private_directory() as private:
        for path in sorted(prefix.absolute().parent.iterdir()):
            if path.name.startswith(f"{prefix.name}."):
                (private / f"{_NAME}{path.name.removeprefix(prefix.name)}").symlink_to(path)
        yield private / _NAME


def opened(names: AbstractContextManager[Path], opener: Callable[[Path], T]) -> T:
    """Open an object that reads again later, and keep the name as long as the object exists.

    Args:
        names: the result of `plain_directory(...)` or `plain_prefix(...)`.
        opener: is called with the name.
    """
    with ExitStack() as stack:
        result = opener(stack.enter_context(names))
        # TensorFlow's reader opens a data file only when its first value is read.
        weakref.finalize(result, stack.pop_all().close)
        return result


def _is_same(name: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(name.stat(), os.fstat(descriptor))
    except OSError:
        return False


@contextmanager
def _private_directory() -> Iterator[Path]:
    default = tempfile.gettempdir()
    place = "/tmp" if is_pattern(Path(default)) else default
    with tempfile.TemporaryDirectory(prefix="ckptkit-", dir=place) as private:
        yield Path(private)
