"""Assigns the values of a checkpoint to the live state: all values, or none."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ckptkit.bundle import tensor_bundle
from ckptkit.compat import keras_models
from ckptkit.errors import IncompatibleStateError
from ckptkit.log import logger
from ckptkit.restore.adapted_restore import drop_traced_functions
from ckptkit.restore.metric_pairs import pair_metrics
from ckptkit.restore.state_comparison import compare, leaf_key, table
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import ATTRIBUTES, DATA, EVALUATED, RESULT, WEIGHTS, TensorEntry
from ckptkit.tracking.attribute_state import moved_attributes, moved_settings
from ckptkit.tracking.leaves import Leaf, LeafGroup, PythonLeaf
from ckptkit.tracking.snapshot import describe_leaves, evaluated_key, result_key
from ckptkit.tracking.state_check import unbuilt_parts
from ckptkit.tracking.tracker import Tracked
from ckptkit.writing.data_anchor_files import read_anchor


def check_compatible(checkpoint: Checkpoint, tracked: Tracked, state: Mapping[str, Any]) -> None:
    """Compare the live state with a checkpoint, before anything is assigned.

    Args:
        checkpoint: the checkpoint to restore.
        tracked: the leaves of the live state.
        state: the user's state, to say what is not built yet.

    Raises:
        IncompatibleStateError: If they do not match, with a table of all differences.
    """
    manifest = checkpoint.manifest
    differences = compare(
        manifest.states,
        manifest.tensors,
        tracked.states,
        describe_leaves(tracked.leaves),
        # Metrics that are not built yet look like removed metrics.
        [
            name
            for name, value in state.items()
            if isinstance(value, keras.Model) and keras_models.compile_metrics_built(value)
        ],
    )
    if not differences:
        return
    # Variables exist only in the checkpoint: most often the program has not built its model yet.
    missing = any(difference.kind == "missing" for difference in differences)
    unbuilt = unbuilt_parts(state) if missing else []
    advice = (
        "Build these first, so that their variables exist: " + ", ".join(unbuilt) + "."
        if unbuilt
        else "Build the model and optimizer as they were when the run began, or name another "
        "directory for a new run."
    )
    raise IncompatibleStateError(
        f"The state in the program does not match {checkpoint.path}. Nothing was "
        f"assigned.\n{table(differences)}\n{advice}"
    )


def restore_state(checkpoint: Checkpoint, tracked: Tracked) -> bool:
    """Read every value of a checkpoint, then assign every value.

    If an assignment fails, all earlier values are restored.

    Args:
        checkpoint: a compatible checkpoint, see `check_compatible`.
        tracked: the leaves of the live state.

    Returns:
        Whether a constant of a layer has changed, so that a traced step is outdated.

    Raises:
        CorruptCheckpointError: If a file cannot be read; nothing was assigned.
    """
    return assign_state(
        checkpoint,
        tracked,
        [entry for entry in checkpoint.manifest.tensors if entry.role not in (RESULT, EVALUATED)],
    )


def assign_state(
    checkpoint: Checkpoint,
    tracked: Tracked,
    entries: Sequence[TensorEntry],
    *,
    best: bool = False,
) -> bool:
    """Read the given tensors of a checkpoint, then assign them all.

    If an assignment fails, all earlier values are restored.

    Args:
        checkpoint: a compatible checkpoint, see `check_compatible`.
        tracked: the leaves of the live state.
        entries: the tensors to assign. If they include a weight's final value, the weight gets that
            value.
        best: see `weights_of`; then the weight gets its evaluated value instead.

    Returns:
        as `restore_state`.

    Raises:
        CorruptCheckpointError: If a file cannot be read; nothing was assigned.
    """
    values = _by_leaf(entries, tensor_bundle.read_tensors(checkpoint.prefix, entries))
    for anchor in filter(operator.attrgetter("name"), checkpoint.manifest.anchors):
        # For a pass of a loop, the number of the pass is a part of the name.
        leaf, rest = leaf_key(anchor.key), anchor.key[len(leaf_key(anchor.key)) + 1 :]
        parts = read_anchor(checkpoint, anchor)
        values.setdefault(leaf, {}).update(
            {f"{rest}/{part}" if rest else part: tensor for part, tensor in parts.items()}
        )
    key_of = evaluated_key if best else result_key
    results = {
        leaf.key: values[key_of(leaf.key)] for leaf in tracked.leaves if key_of(leaf.key) in values
    }
    # A weight's final value replaces the one from which training would continue.
    values |= results
    pairs = pair_metrics(entries, describe_leaves(tracked.leaves))
    if pairs.models:
        logger.info("metrics have changed since the checkpoint was saved: %s", pairs)
    # A leaf without a value is an iterator whose state could not be saved, or a new metric;
    # `compare` has reported all others.
    source = {leaf.key: pairs.taken_from.get(leaf.key, leaf.key) for leaf in tracked.leaves}
    assign_all(
        [(leaf, values[key]) for leaf in tracked.leaves if (key := source[leaf.key]) in values]
    )
    return refresh_layer_constants(tracked.objects)


def assign_all(new: Sequence[tuple[Leaf, Mapping[str, tf.Tensor]]]) -> None:
    """Assign every value; if one assignment fails, restore all earlier values.

    Args:
        new: leaves with the values to assign.
    """
    # Most captured variables share their buffers, so this does not need twice the memory. The
    # iterator of training is not captured: a failed restore ends the pass anyway, and TensorFlow
    # may refuse to save its current state, for example while a cache is filled.
    before = LeafGroup(leaf for leaf, _ in new if leaf.key.split("/")[1] != DATA).capture()
    try:
        for leaf, tensors in new:
            leaf.assign(tensors)
    except BaseException as error:
        for leaf, earlier in zip(before.leaves, before.values, strict=True):
            try:
                leaf.assign(earlier)
            # A leaf that refused its new value may also refuse the old one. The others must still
            # get theirs.
            except Exception as another:
                error.add_note(f"{leaf.path} could not be given its earlier value: {another}")
        raise


def assign_result(checkpoint: Checkpoint, tracked: Tracked) -> None:
    """Assign the weights at the end of training.

    If a checkpoint has no separate final weights, they are the weights from which training
    continues. The program's weights may still differ, because Keras may have averaged them.

    Args:
        checkpoint: the final checkpoint of a run.
        tracked: the leaves of the live state.

    Raises:
        CorruptCheckpointError: If a file cannot be read; nothing was assigned.
    """
    tensors = checkpoint.manifest.tensors
    entries = [entry for entry in tensors if entry.role == RESULT]
    if not entries and checkpoint.manifest.final:
        entries = [entry for entry in tensors if entry.role == WEIGHTS]
    values = _by_leaf(entries, tensor_bundle.read_tensors(checkpoint.prefix, entries))
    for leaf in tracked.leaves:
        ended = values.get(result_key(leaf.key)) or values.get(leaf.key)
        if ended is not None:
            leaf.assign(ended)


@contextmanager
def weights_of(checkpoint: Checkpoint, tracked: Tracked, *, best: bool = False) -> Iterator[None]:
    """Give models the weights of a checkpoint while the block runs, and then their own again.

    Optimizers, positions and random states do not change.

    Args:
        checkpoint: the checkpoint with the weights.
        tracked: the leaves of the live state.
        best: whether the checkpoint was chosen by a metric. Then its weights are those that the
            metric was measured with; otherwise, those that training ended with if it ended there.

    Raises:
        CorruptCheckpointError: If a file cannot be read; nothing was assigned.
        IncompatibleStateError: If it has different weights.
    """
    entries = [entry for entry in checkpoint.manifest.tensors if entry.role in _OF_MODELS]
    values = _by_leaf(entries, tensor_bundle.read_tensors(checkpoint.prefix, entries))
    leaves = [leaf for leaf in tracked.leaves if leaf.key.split("/")[1] in _OF_MODELS]
    # Checked before anything is assigned, so that an error leaves the model as it was.
    missing = [leaf.path for leaf in leaves if leaf.key not in values]
    if missing:
        raise IncompatibleStateError(
            f"{checkpoint.path} lacks {len(missing)} of the weights of this program's model, "
            f"such as {missing[0]}. Nothing was assigned. Build the model as the run did, or "
            "choose another checkpoint."
        )
    before = [(leaf, leaf.capture()) for leaf in leaves]
    try:
        for leaf in leaves:
            other = evaluated_key(leaf.key) if best else result_key(leaf.key)
            leaf.assign(values.get(other, values[leaf.key]))
        refresh_layer_constants(tracked.objects)
        yield
    finally:
        for leaf, tensors in before:
            leaf.assign(tensors)
        refresh_layer_constants(tracked.objects)


# The roles in keys that belong to a model; the others are optimizer, metrics, state and data.
_OF_MODELS = ("weights", "seeds", "extra", "variables", "trackables", RESULT, EVALUATED)


def read_python_state(checkpoint: Checkpoint, key: str) -> Any:
    """Return the Python state that is saved under a key, or None.

    Args:
        checkpoint: the checkpoint to read.
        key: the key of the leaf.

    Raises:
        CorruptCheckpointError: If it cannot be read.
    """
    entries = [entry for entry in checkpoint.manifest.tensors if leaf_key(entry.key) == key]
    values = _by_leaf(entries, tensor_bundle.read_tensors(checkpoint.prefix, entries))
    return PythonLeaf(key, key, dict, dict).value(values[key]) if entries else None


def has_moved(checkpoint: Checkpoint, attribute: str) -> bool:
    """Whether training has changed an attribute of any object of the program.

    Args:
        checkpoint: the checkpoint to read.
        attribute: its name.

    Raises:
        CorruptCheckpointError: if it cannot be read.
    """
    return any(attribute in moved_attributes(text) for text in _attribute_texts(checkpoint))


def read_moved_settings(checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """Return the settings of layers, optimizers and `compile` that training has changed.

    Args:
        checkpoint: the checkpoint to read.

    Raises:
        CorruptCheckpointError: if it cannot be read.
    """
    return {
        path: values
        for text in _attribute_texts(checkpoint)
        for path, values in moved_settings(text).items()
    }


def _attribute_texts(checkpoint: Checkpoint) -> Sequence[tf.Tensor]:
    entries = [
        entry
        for entry in checkpoint.manifest.tensors
        if entry.role == ATTRIBUTES and entry.key == leaf_key(entry.key)
    ]
    return tensor_bundle.read_tensors(checkpoint.prefix, entries)


def _by_leaf(
    entries: Sequence[TensorEntry], tensors: Sequence[tf.Tensor]
) -> dict[str, dict[str, tf.Tensor]]:
    """Return tensors grouped by leaf and part, in the form in which leaves are assigned."""
    values: dict[str, dict[str, tf.Tensor]] = {}
    for entry, tensor in zip(entries, tensors, strict=True):
        leaf, part = _split(entry)
        values.setdefault(leaf, {})[part] = tensor
    return values


def _split(entry: TensorEntry) -> tuple[str, str]:
    """Split the key of a tensor into the key of its leaf and the part."""
    leaf = leaf_key(entry.key)
    return leaf, entry.key[len(leaf) + 1 :]


def refresh_layer_constants(objects: Sequence[Any]) -> bool:
    """Recompute the constants that layers derive from their variables, as Normalization does.

    Traced functions of Keras contain the old constants. They are deleted, so that Keras traces them
    again, except the train function of a running `fit`, which the caller handles.

    Args:
        objects: all objects that the state leads to.

    Returns:
        Whether a constant has changed.
    """
    # Normalization computes mean and variance once, as constants, from the weights that `adapt`
    # set. To assign the weights alone does not change its output.
    changed = False
    for layer in objects:
        if isinstance(layer, keras.layers.Normalization) and layer.built:
            before = _constants_of(layer)
            layer.finalize_state()
            changed |= _constants_of(layer) != before
    if changed:
        drop_traced_functions(objects)
    return changed


def _constants_of(layer: Any) -> list[bytes]:
    return [np.asarray(value).tobytes() for value in (layer.mean, layer.variance)]
