"""The orders of `ckptkit audit` to a training: directories, extra checkpoints, where to pause.

The audit names a file with the orders in an environment variable, so the training's code does not
change. Whatever would go into a run or an export of the user goes into the audit's directory.
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
"""The environment variable that names the file, for the training and all that it starts."""

HELD = "held"
"""The phase of a training that waits until it is interrupted."""

ORDERS_VERSION = 1
ELSEWHERE = "elsewhere"


@dataclass(frozen=True, kw_only=True)
class Orders:
    """The orders for one start of an audited training.

    Args:
        home: the directory of this training; everything below belongs to it.
        every: steps between two checkpoints that are saved and kept in addition to those of the
            code; 0 spreads some over the run, see `Spread`.
        hold_step: the step at which it waits until it is interrupted; 0 for none.
        hold_run: the run in which it waits, absolute; empty for the first one to reach that step.
        hold: a file; the training waits until it is removed.
        version: the version of this format.
    """

    home: str
    every: Annotated[int, msgspec.Meta(ge=0)] = 0
    hold_step: Annotated[int, msgspec.Meta(ge=0)] = 0
    hold_run: str = ""
    hold: str = ""
    version: int = ORDERS_VERSION

    def own(self, path: Path) -> Path:
        """Return the path to write to, in place of `path` in the user's code.

        That is `path` itself if it lies below `home`, else a place below `home`.
        """
        home, wanted = Path(os.path.realpath(self.home)), Path(os.path.realpath(path))
        return (
            path
            if wanted.is_relative_to(home)
            else home / ELSEWHERE / wanted.relative_to(wanted.anchor)
        )

    def found(self, path: Path) -> Path:
        """Return the path to read from: the training's own version of `path`, if there is one."""
        own = self.own(path)
        return own if own.exists() else path


def write_orders(path: Path, orders: Orders) -> None:
    """Write the orders for a training that is about to be started.

    Raises:
        OSError: If the system refuses.
    """
    path.write_bytes(msgspec.json.encode(orders) + b"\n")


def orders_of(environment: Mapping[str, str]) -> Orders | None:
    """Return the orders for this process; None if no audit has started it.

    Raises:
        ConfigError: If the orders cannot be read. Without them the process might write
            into the user's own run.
    """
    name = environment.get(ENVIRONMENT)
    if not name:
        return None
    try:
        orders = msgspec.json.decode(read_small(Path(name)), type=Orders)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{ENVIRONMENT}={name} names a file of orders of `ckptkit audit` that cannot be read: "
            f"{error}. Unset {ENVIRONMENT} to train outside of an audit."
        ) from error
    if orders.version > ORDERS_VERSION:
        raise ConfigError(
            f"{name} has version {orders.version}; this ckptkit reads up to {ORDERS_VERSION}. "
            "Start the audit with the version of ckptkit that trains."
        )
    return orders


def written(path: Path) -> Path:
    """Return the path to write to, in place of `path` in the user's code.

    Raises:
        ConfigError: see `orders_of`.
    """
    orders = orders_of(os.environ)
    return path if orders is None else orders.own(path)


def looked_at(path: Path) -> Path:
    """Return the path to read from, in place of `path` in the user's code.

    Raises:
        ConfigError: see `orders_of`.
    """
    orders = orders_of(os.environ)
    return path if orders is None else orders.found(path)
