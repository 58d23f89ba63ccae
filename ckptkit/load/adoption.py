"""Takes over the training state of another system: weights, optimizers and the position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ckptkit.bundle import tensor_bundle
from ckptkit.errors import ConfigError, IncompatibleStateError
from ckptkit.load.adopted_sources import AdoptedSource, System, find_source
from ckptkit.load.graph_pairing import pair_graphs
from ckptkit.load.keras_state import read_optimizer, read_orbax
from ckptkit.load.object_graph import Graph, read_graph
from ckptkit.load.weight_loading import load_weights
from ckptkit.policies.adopt import Adopt
from ckptkit.restore.leaf_assignment import assign_all
from ckptkit.restore.state_comparison import StateDifference, fits, shown_form, table
from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.tracking.leaves import VariableLeaf
from ckptkit.tracking.trackable_graph import trackable_graph
from ckptkit.tracking.tracker import track

_NEEDED = ("weights", "optimizer", "variables", "extra")
"""The roles of what training continues with. Seeds and metrics begin anew if they are missing."""


@dataclass(frozen=True)
class AdoptionReport:
    """What a run has taken over from another system.

    Args:
        system: the name of the system.
        source: the file, prefix or directory that was read.
        matched: the number of variables that were set, by role.
        missing: the paths of variables that keep the program's values.
        unused: the number of values of the source that no object of the program has.
        step: the number of finished training batches.
        epoch: the number of finished epochs; None if nothing says it.
        batch: the batches after the last finished epoch, which are trained again.
    """

    system: str
    source: str
    matched: Mapping[str, int]
    missing: tuple[str, ...]
    unused: int
    step: int
    epoch: int | None
    batch: int

    def __str__(self) -> str:
        found = ", ".join(f"{count} {role}" for role, count in self.matched.items())
        text = f"{found} of {self.system} from {self.source}, step {self.step}"
        if self.epoch is not None:
            text += f", epoch {self.epoch}"
        if self.batch:
            text += f"; the {self.batch} batches after that epoch are trained again"
        if self.missing:
            shown = ", ".join(self.missing[:5]) + (", ..." if len(self.missing) > 5 else "")
            text += f"; not in it, so they begin anew: {len(self.missing)} variables ({shown})"
        if self.unused:
            text += f"; {self.unused} of its values belong to no object of the program"
        return text + "; positions in data, random states and callbacks begin anew"


def adopt(given: Adopt, state: Mapping[str, Any]) -> AdoptionReport:
    """Set the objects of a program to the training state of another system, all or nothing.

    The source is only read.

    Args:
        given: the source, and what it does not say.
        state: the objects of the program by name, which must be built.

    Raises:
        ConfigError: If the source is none of another system, or state has no model or several
            models and the source has one.
        IncompatibleStateError: If the state does not match, with a table; nothing was assigned.
        CheckpointNotFoundError, CorruptCheckpointError, StorageError: If it cannot be read.
    """
    source = find_source(given.source)
    leaves = [leaf for leaf in track(state).leaves if isinstance(leaf, VariableLeaf)]
    if source.system is System.TENSORFLOW:
        done, unused = _of_tensorflow(source, state, leaves, strict=given.strict)
    else:
        done, unused = _of_keras(source, state, leaves, strict=given.strict), 0
    roles = Counter(leaf.key.split("/")[1] for leaf in leaves if leaf.key in done)
    return AdoptionReport(
        system=str(source.system),
        source=str(source.path),
        matched=dict(roles),
        missing=tuple(leaf.path for leaf in leaves if leaf.key not in done),
        unused=unused,
        step=_iterations(leaves) if given.step is None else given.step,
        epoch=source.epoch if given.epoch is None else given.epoch,
        batch=source.batch if given.epoch is None else 0,
    )


def _iterations(leaves: Sequence[VariableLeaf]) -> int:
    """Return the updates of the optimizer that has done the most."""
    counted = [
        int(np.asarray(leaf.capture()[""]))
        for leaf in leaves
        if leaf.path.rpartition("/")[2] == "iteration" and leaf.key.split("/")[1] == "optimizer"
    ]
    return max(counted, default=0)


def _of_tensorflow(
    source: AdoptedSource,
    state: Mapping[str, Any],
    leaves: Sequence[VariableLeaf],
    *,
    strict: bool,
) -> tuple[set[str], int]:
    """Set the variables that a checkpoint of `tf.train.Checkpoint` has.

    Returns:
        The keys of what was set, and the number of values that no object has.
    """
    reader = tensor_bundle.open_reader(source.path)
    shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    graph = Graph.of(read_graph(reader, source.path), str(source.path))
    pairs = pair_graphs(trackable_graph(state, leaves).nodes, graph.nodes)
    pairs = {key: saved for key, saved in pairs.items() if saved in shapes}
    entries, differences = [], []
    for leaf in leaves:
        form = (tuple(leaf.variable.shape.as_list()), leaf.variable.dtype.name)
        if leaf.key not in pairs:
            if leaf.key.split("/")[1] in _NEEDED and strict:
                differences.append(StateDifference("extra", leaf.path, "-", shown_form(*form)))
            continue
        saved = pairs[leaf.key]
        shape, dtype = tuple(shapes[saved]), types[saved].name
        if dtype != form[1] or not fits(shape, form[0]):
            differences.append(
                StateDifference("shape", leaf.path, shown_form(shape, dtype), shown_form(*form))
            )
        key = saved.removesuffix(tensor_bundle.SUFFIX)
        entries.append(TensorEntry(key=key, kind="variable", path="", shape=shape, dtype=dtype))
    _refuse(differences, source, found=bool(pairs))
    chosen = [leaf for leaf in leaves if leaf.key in pairs]
    values = tensor_bundle.read_tensors(source.path, entries)
    assign_all([(leaf, {"": value}) for leaf, value in zip(chosen, values, strict=True)])
    stored = {node.key for node in graph.nodes if node.key and node.name != "save_counter"}
    return set(pairs), len(stored - set(pairs.values()))


def _of_keras(
    source: AdoptedSource,
    state: Mapping[str, Any],
    leaves: Sequence[VariableLeaf],
    *,
    strict: bool,
) -> set[str]:
    """Set the model and its optimizer from files of Keras; return the keys of what was set."""
    models = {name: value for name, value in state.items() if isinstance(value, keras.Model)}
    if len(models) != 1:
        raise ConfigError(
            f"{source.path} ({source.system}) has one model, and state has {len(models)}. Adopt it "
            "in a run with one model."
        )
    ((name, model),) = models.items()
    by_role = {
        role: [leaf for leaf in leaves if leaf.key.startswith(f"{name}/{role}/")]
        for role in ("weights", "optimizer")
    }
    if source.system is System.ORBAX:
        return _of_orbax(source, model, [*by_role["weights"], *by_role["optimizer"]], strict=strict)
    slots = read_optimizer(source.path)
    differences = _optimizer_differences(by_role["optimizer"], slots)
    if strict or slots:
        _refuse(differences, source, found=True)
    load_weights(model, source.path)
    done = {leaf.key for leaf in by_role["weights"]}
    if slots:
        values = [{"": tf.convert_to_tensor(value)} for value in slots]
        assign_all(list(zip(by_role["optimizer"], values, strict=True)))
        done |= {leaf.key for leaf in by_role["optimizer"]}
    return done


def _of_orbax(
    source: AdoptedSource, model: Any, leaves: Sequence[VariableLeaf], *, strict: bool
) -> set[str]:
    """Set a model and its optimizer from Orbax; return the keys of what was set."""
    values = read_orbax(source.path, model)
    differences, chosen = [], []
    for leaf in leaves:
        form = shown_form(tuple(leaf.variable.shape.as_list()), leaf.variable.dtype.name)
        value = values.get(id(leaf.variable))
        other = "-" if value is None else shown_form(value.shape, value.dtype.name)
        if value is not None and form == other:
            chosen.append((leaf, {"": tf.convert_to_tensor(value)}))
        elif value is not None or strict:
            kind = "extra" if value is None else "shape"
            differences.append(StateDifference(kind, leaf.path, other, form))
    _refuse(differences, source, found=bool(chosen))
    assign_all(chosen)
    return {leaf.key for leaf, _ in chosen}


def _optimizer_differences(
    live: Sequence[VariableLeaf], saved: Sequence[np.ndarray]
) -> list[StateDifference]:
    differences = []
    for number in range(max(len(live), len(saved))):
        mine = live[number] if number < len(live) else None
        form = (
            shown_form(tuple(mine.variable.shape.as_list()), mine.variable.dtype.name)
            if mine is not None
            else "-"
        )
        value = saved[number] if number < len(saved) else None
        other = shown_form(value.shape, value.dtype.name) if value is not None else "-"
        if form != other:
            kind = "missing" if mine is None else "extra" if value is None else "shape"
            path = mine.path if mine is not None else f"optimizer/vars/{number}"
            differences.append(StateDifference(kind, path, other, form))
    return differences


def _refuse(differences: list[StateDifference], source: AdoptedSource, *, found: bool) -> None:
    """Raise if the state does not match.

    Raises:
        IncompatibleStateError: If there are differences, or nothing was found.
    """
    if found and not differences:
        return
    advice = (
        "Build the model and the optimizer as they were. If only weights are to be taken over, "
        f"begin with them: init_from={str(source.path)!r}. To continue without what is missing, "
        f"pass adopt=ckptkit.Adopt({str(source.path)!r}, strict=False)."
        if found
        else "Nothing in it matches the objects of the program by the names that lead to them."
    )
    raise IncompatibleStateError(
        f"The state of the program does not match {source.path} ({source.system}). Nothing was "
        f"assigned.\n{table(differences)}\n{advice}"
    )
