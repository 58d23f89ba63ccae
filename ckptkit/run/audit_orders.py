"""What `ckptkit audit` has a training do: run directories of its own, further checkpoints, and a
step at which it waits to be interrupted.

The audit names a file by an environment variable. The training's code does not change, and what it
would write into a run or an export of the user's goes into the audit's own directory instead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from ckptkit.errors import ConfigError
from ckptkit.ownership.process_lock import read_small

ENVIRONMENT = "CKPTKIT_AUDIT"
"""Names the file, to the training and to all that it starts."""

HELD = "held"
"""The phase of a training that waits to be interrupted."""

ORDERS_VERSION = 1
ELSEWHERE = "elsewhere"


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What one start of a training is to do.

    Args:
        home: the directory of this training; whatever lies below is its own.
        every: steps between two checkpoints that are saved and kept beside what the code says; 0
            spreads some over the run, see `Spread`.
        hold_step: at this step it waits to be interrupted; 0 for nowhere.
        hold_run: in which run, absolute; empty for whichever comes to that step first.
        hold: a file; it waits for as long as it is there.
        version: of the form.
    """

    home: str
    every: Annotated[int, msgspec.Meta(ge=0)] = 0
    hold_step: Annotated[int, msgspec.Meta(ge=0)] = 0
    hold_run: str = ""
    hold: str = ""
    version: int = ORDERS_VERSION

    def own(self, path: Path) -> Path:
        """Where this training writes what the code would write to `path`: there, where that is its
        own, else below its own directory.
        """
        home, wanted = Path(os.path.realpath(self.home)), Path(os.path.realpath(path))
        return (
            path
            if wanted.is_relative_to(home)
            else home / ELSEWHERE / wanted.relative_to(wanted.anchor)
        )

    def found(self, path: Path) -> Path:
        """Where this training reads `path`: what it has written itself, where that is there, else
        what lies there.
        """
        own = self.own(path)
        return own if own.exists() else path


def write_orders(path: Path, orders: Orders) -> None:
    """Writes them for a training that is about to be started.

    Raises:
        OSError: where the system refuses.
    """
    path.write_bytes(msgspec.json.encode(orders) + b"\n")


def orders_of(environment: Mapping[str, str]) -> Orders | None:
    """What this process was told; None where no audit has started it.

    Raises:
        ConfigError: where it was told something that cannot be read: it must not write where the
            user's own run may lie.
    """
    name = environment.get(ENVIRONMENT)
    if not name:
        return None
    try:
        orders = msgspec.json.decode(read_small(Path(name)), type=Orders)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{ENVIRONMENT}={name} is what `ckptkit audit` tells a training, and it cannot be "
            f"read: {error}. Unset {ENVIRONMENT} to "
            f"train outside of an audit."
        ) from error
    if orders.version > ORDERS_VERSION:
        raise ConfigError(
            f"{name} has version {orders.version}; this ckptkit reads up to {ORDERS_VERSION}. "
            "Start the audit with the version of "
            f"ckptkit that trains."
        )
    return orders


def written(path: Path) -> Path:
    """Where this process writes what is named by `path`.

    Raises:
        ConfigError: see `orders_of`.
    """
    orders = orders_of(os.environ)
    return path if orders is None else orders.own(path)


def looked_at(path: Path) -> Path:
    """Where this process reads what is named by `path`.

    Raises:
        ConfigError: see `orders_of`.
    """
    orders = orders_of(os.environ)
    return path if orders is None else orders.found(path)
