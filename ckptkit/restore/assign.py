"""Assigns the values of a checkpoint to the live state: all values, or none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from ckptkit.compat import keras_models
from ckptkit.errors import IncompatibleStateError
from ckptkit.log import logger
from ckptkit.restore.leaf_assignment import assign_all, refresh_layer_constants
from ckptkit.restore.metric_pairs import pair_metrics
from ckptkit.restore.replica_numbers import entries_by_leaf, fit_replicas
from ckptkit.restore.saved_values import Values, add_anchors, read_values
from ckptkit.restore.state_comparison import compare, table
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import EVALUATED, RESULT, WEIGHTS
from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.tracking.snapshot import describe_leaves, evaluated_key, result_key
from ckptkit.tracking.state_check import unbuilt_parts
from ckptkit.tracking.tracker import Tracked


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
        "directory for a new run. It begins with the weights of this run if you pass "
        f"init_from={str(checkpoint.path.parent.parent)!r}."
    )
    raise IncompatibleStateError(
        f"The state in the program does not match {checkpoint.path}. Nothing was "
        f"assigned.\n{table(differences)}\n{advice}"
    )


def read_state(checkpoint: Checkpoint) -> Values:
    """Read every value of a checkpoint that a resume assigns.

    Args:
        checkpoint: the checkpoint.

    Raises:
        CorruptCheckpointError: If a file cannot be read.
    """
    return read_values(checkpoint, _entries_of_state(checkpoint))


def restore_state(checkpoint: Checkpoint, tracked: Tracked, values: Values | None = None) -> bool:
    """Read every value of a checkpoint, then assign every value.

    If an assignment fails, all earlier values are restored.

    Args:
        checkpoint: a compatible checkpoint, see `check_compatible`.
        tracked: the leaves of the live state.
        values: the result of `read_state`, if the values were read already.

    Returns:
        Whether a constant of a layer has changed, so that a traced step is outdated.

    Raises:
        CorruptCheckpointError: If a file cannot be read; nothing was assigned.
    """
    return assign_state(checkpoint, tracked, _entries_of_state(checkpoint), values=values)


def _entries_of_state(checkpoint: Checkpoint) -> list[TensorEntry]:
    tensors = checkpoint.manifest.tensors
    return [entry for entry in tensors if entry.role not in (RESULT, EVALUATED)]


def assign_state(
    checkpoint: Checkpoint,
    tracked: Tracked,
    entries: Sequence[TensorEntry],
    *,
    best: bool = False,
    values: Values | None = None,
) -> bool:
    """Read the given tensors of a checkpoint, then assign them all.

    If an assignment fails, all earlier values are restored.

    Args:
        checkpoint: a compatible checkpoint, see `check_compatible`.
        tracked: the leaves of the live state.
        entries: the tensors to assign. If they include a weight's final value, the weight gets that
            value.
        best: see `weights_of`; then the weight gets its evaluated value instead.
        values: the values of these tensors, if they were read already.

    Returns:
        as `restore_state`.

    Raises:
        CorruptCheckpointError: If a file cannot be read; nothing was assigned.
    """
    values = read_values(checkpoint, entries) if values is None else values
    add_anchors(values, checkpoint)
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
    saved = entries_by_leaf(entries)
    assign_all(
        [
            (leaf, fit_replicas(leaf, values[key], saved.get(key)))
            for leaf in tracked.leaves
            if (key := source[leaf.key]) in values
        ]
    )
    return refresh_layer_constants(tracked.objects)


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
    values = read_values(checkpoint, entries)
    saved = entries_by_leaf(entries)
    for leaf in tracked.leaves:
        key = result_key(leaf.key) if result_key(leaf.key) in values else leaf.key
        if key in values:
            leaf.assign(fit_replicas(leaf, values[key], saved.get(key)))


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
    values = read_values(checkpoint, entries)
    leaves = [leaf for leaf in tracked.leaves if leaf.key.split("/")[1] in _OF_MODELS]
    saved = entries_by_leaf(entries)
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
            parts = values.get(other, values[leaf.key])
            leaf.assign(fit_replicas(leaf, parts, saved.get(leaf.key)))
        refresh_layer_constants(tracked.objects)
        yield
    finally:
        for leaf, tensors in before:
            leaf.assign(tensors)
        refresh_layer_constants(tracked.objects)


# The roles in keys that belong to a model; the others are optimizer, metrics, state and data.
_OF_MODELS = ("weights", "seeds", "extra", "variables", "trackables", RESULT, EVALUATED)
