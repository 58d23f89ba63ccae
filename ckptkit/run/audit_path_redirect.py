"""Where a training reads and writes, if it runs in an audit.

An audit must not change the user's files. So its trainings write into the audit's directory.
"""

from __future__ import annotations

import os
from pathlib import Path

from ckptkit.run.audit_settings import instructions_of


def path_to_write(path: Path) -> Path:
    """Return where to write instead of `path`.

    In an audit this lies in the audit's directory; otherwise it is `path` itself.

    Raises:
        ConfigError: See `instructions_of`.
    """
    instructions = instructions_of(os.environ)
    return path if instructions is None else instructions.own(path)


def path_to_read(path: Path) -> Path:
    """Return where to read instead of `path`.

    In an audit this is the training's own copy, if it has one; otherwise it is `path` itself.

    Raises:
        ConfigError: See `instructions_of`.
    """
    instructions = instructions_of(os.environ)
    return path if instructions is None else instructions.found(path)
