"""Giving the state in the program the values of a checkpoint: all of them, or none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from ckptkit.errors import IncompatibleStateError
from ckptkit.restore.state_comparison import compare, leaf_key, table
from ckptkit.run.catalog import Checkpoint
from ckptkit.run.manifest import RESULT, WEIGHTS, TensorEntry
from ckptkit.tracking.build import unbuilt_parts
from ckptkit.tracking.leaves import Leaf, PythonLeaf
from ckptkit.tracking.snapshot import result_key, specs
from ckptkit.tracking.tracker import Tracked
from ckptkit.tracking.walk import visit
from ckptkit.writing import tensor_file


def check_compatible(checkpoint: Checkpoint, tracked: Tracked, state: Mapping[str, Any]) -> None:
    """Compares the program's state with a checkpoint's, before anything is assigned.

    Raises:
        IncompatibleStateError: with a table of all differences.
    """
    manifest = checkpoint.manifest
    differences = compare(manifest.states, manifest.tensors, tracked.states, specs(tracked))
    if not differences:
        return
    missing = any(difference.kind == "missing" for difference in differences)
    unbuilt = unbuilt_parts(state) if missing else []
    advice = (
        "Build these first, so that their variables exist: " + ", ".join(unbuilt) + "."
        if unbuilt
        else "Build the model and optimizer as they were when the run began, or name another "
        "directory for a new run."
    )
    raise IncompatibleStateError(
        f"The state in the program has another form than {checkpoint.path}. Nothing was "
        f"assigned.\n{table(differences)}\n{advice}"
    )


def restore(checkpoint: Checkpoint, tracked: Tracked) -> None:
    """Reads every value, then assigns every value; where assigning fails, the values of before are
    put back.

    Args:
        checkpoint: which; its form was checked.
        tracked: the program's state.

    Raises:
        CorruptCheckpointError: where a file cannot be read; nothing was assigned.
    """
    assign_state(
        checkpoint,
        tracked,
        [entry for entry in checkpoint.manifest.tensors if entry.role != RESULT],
    )


def assign_state(checkpoint: Checkpoint, tracked: Tracked, entries: Sequence[TensorEntry]) -> None:
    """Reads these tensors of a checkpoint, then assigns them all; where assigning fails, the values
    of before are put back.

    Args:
        checkpoint: which; its form was checked.
        tracked: the program's state.
        entries: which tensors. A weight that training has ended with another value of takes that,
            where it is among them.

    Raises:
        CorruptCheckpointError: where a file cannot be read; nothing was assigned.
    """
    values = _by_leaf(entries, tensor_file.read(checkpoint.prefix, entries))
    results = {
        leaf.key: values[result_key(leaf.key)]
        for leaf in tracked.leaves
        if result_key(leaf.key) in values
    }
    values |= results
    # Only an iterator's state may be missing, see `compare`.
    assign_all([(leaf, values[leaf.key]) for leaf in tracked.leaves if leaf.key in values])
    refresh(tracked.roots)


def assign_all(new: Sequence[tuple[Leaf, Mapping[str, tf.Tensor]]]) -> None:
    """Assigns every value; where that fails, the values of before are put back."""
    before = [(leaf, leaf.capture()) for leaf, _ in new]
    try:
        for leaf, tensors in new:
            leaf.assign(tensors)
    except BaseException as error:
        for leaf, earlier in before:
            try:
                leaf.assign(earlier)
            # what could not take its new value may refuse the old one too; the rest goes back
            except Exception as another:
                error.add_note(f"{leaf.path} could not be given its earlier value: {another}")
        raise


def assign_result(checkpoint: Checkpoint, tracked: Tracked) -> None:
    """Gives weights the values that training ended with.

    Where those are not saved beside the state that it would go on from, they are the same; Keras
    may have averaged them in the meantime.

    Raises:
        CorruptCheckpointError: where a file cannot be read; nothing was assigned.
    """
    tensors = checkpoint.manifest.tensors
    entries = [entry for entry in tensors if entry.role == RESULT]
    if not entries and checkpoint.manifest.final:
        entries = [entry for entry in tensors if entry.role == WEIGHTS]
    values = _by_leaf(entries, tensor_file.read(checkpoint.prefix, entries))
    for leaf in tracked.leaves:
        ended = values.get(result_key(leaf.key)) or values.get(leaf.key)
        if ended is not None:
            leaf.assign(ended)


@contextmanager
def weights_of(checkpoint: Checkpoint, tracked: Tracked) -> Iterator[None]:
    """Models have the weights of a checkpoint inside the block, and those of now after it;
    optimizers, positions and random states are not touched.

    Raises:
        CorruptCheckpointError: where a file cannot be read; nothing was assigned.
        IncompatibleStateError: where it has other weights.
    """
    entries = [entry for entry in checkpoint.manifest.tensors if entry.role in _OF_MODELS]
    values = _by_leaf(entries, tensor_file.read(checkpoint.prefix, entries))
    leaves = [leaf for leaf in tracked.leaves if leaf.key.split("/")[1] in _OF_MODELS]
    missing = [leaf.path for leaf in leaves if leaf.key not in values]
    if missing:
        raise IncompatibleStateError(
            f"{checkpoint.path} does not have {missing[0]}"
            + (f" and {len(missing) - 1} more" if missing[1:] else "")
            + " of the model in the program. Nothing was assigned."
        )
    before = [(leaf, leaf.capture()) for leaf in leaves]
    try:
        for leaf in leaves:
            leaf.assign(values.get(result_key(leaf.key), values[leaf.key]))
        refresh(tracked.roots)
        yield
    finally:
        for leaf, tensors in before:
            leaf.assign(tensors)
        refresh(tracked.roots)


_OF_MODELS = ("weights", "seeds", "extra", "variables", "trackables", RESULT)


def read_python(checkpoint: Checkpoint, key: str) -> Any:
    """The saved Python state under a key, or None where there is none.

    Raises:
        CorruptCheckpointError: where it cannot be read.
    """
    entries = [entry for entry in checkpoint.manifest.tensors if leaf_key(entry.key) == key]
    values = _by_leaf(entries, tensor_file.read(checkpoint.prefix, entries))
    return PythonLeaf(key, key, dict, dict).value(values[key]) if entries else None


def _by_leaf(
    entries: Sequence[TensorEntry], tensors: Sequence[tf.Tensor]
) -> dict[str, dict[str, tf.Tensor]]:
    values: dict[str, dict[str, tf.Tensor]] = {}
    for entry, tensor in zip(entries, tensors, strict=True):
        leaf, part = _split(entry)
        values.setdefault(leaf, {})[part] = tensor
    return values


def _split(entry: TensorEntry) -> tuple[str, str]:
    leaf = leaf_key(entry.key)
    return leaf, entry.key[len(leaf) + 1 :]


def refresh(roots: Sequence[Any]) -> None:
    """Lets layers that keep constants computed from their variables compute them anew
    (Normalization does).

    Functions of Keras that were traced before have the old constants in them, so they are traced
    again.
    """
    visited = [value for root in roots for _, value in visit(root)]
    keeps_constants = [
        value for value in visited if isinstance(value, keras.layers.Normalization) and value.built
    ]
    for layer in keeps_constants:
        layer.finalize_state()
    for model in visited if keeps_constants else ():
        if isinstance(model, keras.Model):
            model.test_function = model.predict_function = None
