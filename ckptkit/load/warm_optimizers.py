"""Takes over the state of optimizers from a run, for a new run that begins with its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import tensorflow as tf

from ckptkit.errors import ConfigError, IncompatibleStateError
from ckptkit.policies.warm_start import WarmStart
from ckptkit.restore.replica_numbers import entries_by_leaf, fit_replicas
from ckptkit.restore.saved_values import read_values
from ckptkit.restore.state_comparison import compare, table
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import OPTIMIZER, WEIGHTS
from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.tracking.leaves import Leaf, Tensors
from ckptkit.tracking.snapshot import describe_leaves
from ckptkit.tracking.tracker import optimizers_in, track

Assignments = Sequence[tuple[Leaf, Tensors]]
"""Leaves with the values that they get."""

_RATE = "learning_rate"


def check_new_optimizers(starts: Mapping[str, WarmStart], state: Mapping[str, Any]) -> None:
    """Check that no optimizer has trained whose state would stay beside loaded weights.

    Args:
        starts: the sources by the name of each model.
        state: the objects of the program by name.

    Raises:
        ConfigError: If one has, and `optimizer=True` does not replace its state.
    """
    if all(start.optimizer for start in starts.values()):
        return
    models = [name for name, value in state.items() if isinstance(value, keras.Model)]
    for name, value in state.items():
        if name in models:
            if name not in starts or starts[name].optimizer:
                continue
        elif len(starts) < len(models):
            continue  # it may train a model that keeps its weights
        for path, optimizer in optimizers_in(value):
            updates = int(tf.convert_to_tensor(optimizer.iterations.value).numpy())
            if updates:
                raise ConfigError(
                    f"init_from begins a new run, and the optimizer in {name!r}"
                    f"{f' ({path})' if path else ''} has done {updates} updates with other weights."
                    " Was an earlier call interrupted before its first save? Make the optimizer "
                    "anew, as model.compile does, or take that of the source with "
                    "ckptkit.WarmStart(..., optimizer=True)."
                )


def read_optimizers(
    checkpoint: Checkpoint, saved_name: str, name: str, state: Mapping[str, Any]
) -> Assignments:
    """Compare and read the state of the optimizer that trains one model, without its rate.

    This is the optimizer with which the model is compiled. If it has none, these are the optimizers
    of the state, if the model is the only one.

    Args:
        checkpoint: the checkpoint of another run.
        saved_name: the name of the model in it.
        name: the name of the model in the program.
        state: the objects of the program by name.

    Raises:
        IncompatibleStateError: If they differ.
        ConfigError: If it is not known which optimizer trains the model.
        CorruptCheckpointError, StorageError: If it cannot be read.
    """
    tracked = track(state)
    leaves = [leaf for leaf in tracked.leaves if leaf.key.split("/")[1] == OPTIMIZER]
    names = _names(checkpoint, saved_name, name, state, leaves)
    saved = [
        each
        for each in checkpoint.manifest.tensors
        if each.role == OPTIMIZER and _entry(each.key) in names
    ]
    leaves = [leaf for leaf in leaves if _entry(leaf.key) in names.values()]
    renamed = [replace(each, key=_renamed(each.key, names)) for each in saved]
    differences = compare(
        [
            replace(each, name=names[each.name])
            for each in checkpoint.manifest.states
            if each.name in names
        ],
        renamed,
        [each for each in tracked.states if each.name in names.values()],
        describe_leaves(leaves),
    )
    if differences or not leaves:
        shown = table(differences) if differences else "There is no optimizer with variables."
        raise IncompatibleStateError(
            f"The optimizers of the program differ from those of {checkpoint.path}, so their "
            f"state cannot be taken over.\n{shown}"
            "\nBegin with a new optimizer: leave out optimizer=True."
        )
    wanted = [each for each in saved if not each.path.endswith(_RATE)]
    values = read_values(checkpoint, wanted)
    described = entries_by_leaf(wanted)
    by_key = {_renamed(key, names): (parts, described.get(key)) for key, parts in values.items()}
    return [(leaf, fit_replicas(leaf, *by_key[leaf.key])) for leaf in leaves if leaf.key in by_key]


def _names(
    checkpoint: Checkpoint,
    saved_name: str,
    name: str,
    state: Mapping[str, Any],
    leaves: Sequence[Leaf],
) -> dict[str, str]:
    """Return the entries with the optimizers: by the name in the source, that in the program."""
    if any(_entry(leaf.key) == name for leaf in leaves):
        return {saved_name: name}
    models = [each for each, value in state.items() if isinstance(value, keras.Model)]
    if len(models) > 1:
        raise ConfigError(
            f"optimizer=True takes the optimizer of {name!r}, which is not compiled with one, and "
            f"state has several models ({', '.join(map(repr, models))}). Compile each model with "
            "its optimizer, or leave out optimizer=True."
        )
    live = {_entry(leaf.key) for leaf in leaves}
    with_weights = {_entry(each.key) for each in _of_role(checkpoint, WEIGHTS)}
    saved = {_entry(each.key) for each in _of_role(checkpoint, OPTIMIZER)} - with_weights
    if len(live) == len(saved) == 1:
        return dict(zip(saved, live, strict=True))
    return {each: each for each in live | saved}


def _of_role(checkpoint: Checkpoint, role: str) -> list[TensorEntry]:
    return [each for each in checkpoint.manifest.tensors if each.role == role]


def _entry(key: str) -> str:
    return key.partition("/")[0]


def _renamed(key: str, names: Mapping[str, str]) -> str:
    return names[_entry(key)] + key[len(_entry(key)) :]
