"""What an attempt is made of, checked once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckptkit.clock import Clock, SystemClock
from ckptkit.errors import ConfigError
from ckptkit.layout import RunLayout, run_layout
from ckptkit.policies import EveryNEpochs, EveryNSeconds, KeepLatest, KeepPolicy, SavePolicy
from ckptkit.policies.even_spread import SpreadKeeps, SpreadSaves
from ckptkit.preemption.policy import Preemption
from ckptkit.restore.hyperparameter_comparison import check_changed
from ckptkit.run.audit_orders import orders_of, written
from ckptkit.run.verify import Depth
from ckptkit.storage.files import FileSystem
from ckptkit.tensorboard.event_file_repair import check_directory
from ckptkit.tracking.hyperparameters import check_hparams

DEFAULT_SAVE: SavePolicy = EveryNSeconds(600) | EveryNEpochs(1, min_secs=60)
DEFAULT_KEEP: KeepPolicy = KeepLatest(2)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What an attempt is made of; nothing is open yet.

    Args:
        layout: where the run lies.
        state: what is saved, by name.
        save: when to save.
        keep: which checkpoints stay.
        preemption: what is done when the run is told to stop.
        background: whether saves are written on a thread of their own.
        hparams: the user's own hyperparameters.
        changed: for a hyperparameter that the code gives another value than the run had, which
            counts.
        exact: what happens where exactness is impossible: `warn`, `require` or `off`.
        verify: how thoroughly a checkpoint is verified before it is restored: `auto`, `full` or
            `quick`.
        fresh: a label under which earlier lives are set aside, once.
        tensorboard: where the program's event files lie, or None.
        clock: where the time comes from.
        files: how the disk is changed.
    """

    layout: RunLayout
    state: Mapping[str, Any]
    save: SavePolicy
    keep: KeepPolicy
    preemption: Preemption
    background: bool
    hparams: Mapping[str, object]
    changed: Mapping[str, str]
    exact: str
    verify: Depth
    fresh: str | None
    tensorboard: Path | None
    clock: Clock
    files: FileSystem


def layout_of(directory: str | os.PathLike[str]) -> RunLayout:
    """Where a run lies that is to be trained: in an audit, never where the user's own does.

    Raises:
        ConfigError: where that is no path.
    """
    return RunLayout(
        written(run_layout(directory).root.absolute())
    )  # absolute: the program may go elsewhere


def make_plan(
    directory: str | os.PathLike[str],
    state: Mapping[str, Any],
    *,
    save: SavePolicy | None = None,
    keep: KeepPolicy | None = None,
    preemption: Preemption | None = None,
    background: bool = True,
    hparams: Mapping[str, Any] | None = None,
    changed: Mapping[str, str] | None = None,
    exact: str = "warn",
    verify: Depth = "auto",
    fresh: str | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    clock: Clock | None = None,
    files: FileSystem | None = None,
) -> RunOptions:
    """A plan of checked arguments, with the defaults where None was given.

    Raises:
        ConfigError: where an argument cannot be right.
    """
    layout = layout_of(directory)
    for name, value, kind, example in (
        ("save", save, SavePolicy, "ckptkit.EveryNSteps(500)"),
        ("keep", keep, KeepPolicy, "ckptkit.KeepLatest(2)"),
        ("preemption", preemption, Preemption, "ckptkit.Preemption(grace_secs=30)"),
    ):
        if value is not None and not isinstance(value, kind):
            raise ConfigError(f"{name} is a policy, such as {example}. Received: {name}={value!r}.")
    if not isinstance(background, bool):
        raise ConfigError(
            "background says whether saves are written on a thread of their own: True or False. "
            f"Received: background={background!r}."
        )
    if fresh is not None and (not isinstance(fresh, str) or not fresh):
        raise ConfigError(
            "fresh is a label, such as 'second-try'; change it for another fresh start. "
            f"Received: fresh={fresh!r}."
        )
    if exact not in ("warn", "require", "off"):
        raise ConfigError(
            "exact says what happens where a run cannot go on bit for bit. Expected 'warn', "
            "'require' (an error) or 'off'. "
            f"Received: exact={exact!r}."
        )
    if verify not in ("auto", "full", "quick"):
        raise ConfigError(
            "verify says how thoroughly a checkpoint is verified before it is restored. Expected "
            "'auto', 'full' (every byte is read) "
            f"or 'quick' (sizes and the index). Received: verify={verify!r}."
        )
    save, keep = save or DEFAULT_SAVE, keep or DEFAULT_KEEP
    if (orders := orders_of(os.environ)) is not None:
        save, keep = save | SpreadSaves(orders.every), keep | SpreadKeeps(orders.every)
    return RunOptions(
        layout=layout,
        state=dict(state),
        save=save,
        keep=keep,
        preemption=preemption or Preemption(),
        background=background,
        hparams=check_hparams(hparams),
        changed=check_changed(changed),
        exact=exact,
        verify=verify,
        fresh=fresh,
        tensorboard=check_directory(tensorboard),
        clock=clock or SystemClock(),
        files=files or FileSystem(),
    )
