"""Takes the averages that an optimizer kept (`use_ema`) in place of the weights of a run."""

from __future__ import annotations

from dataclasses import replace

from ckptkit.errors import CheckpointNotFoundError, ConfigError
from ckptkit.load.checkpoint_weights import read_weights
from ckptkit.load.weight_source import WeightSource
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import OPTIMIZER, WEIGHTS
from ckptkit.run.tensor_entry import TensorEntry

_AVERAGE = "_average"
"""What Keras appends to the name of a weight for its average."""


def with_averages(source: WeightSource, checkpoint: Checkpoint) -> WeightSource:
    """Return a source with the averages of the trained weights; the other weights stay.

    Args:
        source: the weights of a model in the checkpoint, without what layers have learnt.
        checkpoint: the checkpoint.

    Raises:
        CheckpointNotFoundError: If no optimizer of the checkpoint kept averages of these weights.
        ConfigError: If several have, and it is not known which of them trained the model.
    """
    state = source.state
    tensors = [entry for entry in checkpoint.manifest.tensors if not entry.replica]
    trained = [
        entry
        for entry in tensors
        if entry.role == WEIGHTS and entry.key.startswith(f"{state}/") and entry.trainable
    ]
    averages = _averages_of(trained, tensors, state)
    if not averages:
        raise CheckpointNotFoundError(
            f"{checkpoint.path} has no averages of the weights of {state!r}: its optimizer was not "
            "made with use_ema=True. Leave out averages=True."
        )
    # By the name of the weight in all its roles: at the end of training, `result` has its value.
    key_of = {
        entry.key.partition("/weights/")[2]: average.key
        for entry, average in zip(trained, averages, strict=True)
    }
    saved = tuple(
        replace(weight, key=key_of.get(weight.key.rpartition("/")[2], weight.key))
        for weight in source.saved
    )
    return replace(
        source,
        saved=saved,
        read=lambda chosen: read_weights(checkpoint.prefix, [saved[number] for number in chosen]),
    )


def _averages_of(
    trained: list[TensorEntry], tensors: list[TensorEntry], state: str
) -> list[TensorEntry]:
    """Return the averages of trained weights, in order, or none if there are none.

    The optimizer with which the model is compiled counts first. Another entry of the state counts
    only if it is no model: the optimizer of another model averages the weights of that one.

    Raises:
        ConfigError: If several optimizers have averages of these weights.
    """
    found: dict[str, dict[str, TensorEntry]] = {}
    for entry in tensors:
        if entry.role == OPTIMIZER and entry.path.endswith(_AVERAGE):
            name = entry.path.rpartition("/")[2]
            found.setdefault(entry.key.partition("/")[0], {})[name] = entry
    if state in found:
        return _paired(trained, found[state])
    models = {entry.key.partition("/")[0] for entry in tensors if entry.role == WEIGHTS}
    fitting = {
        name: pairs
        for name, averages in found.items()
        if name not in models and (pairs := _paired(trained, averages))
    }
    if len(fitting) > 1:
        raise ConfigError(
            f"Several optimizers have averages of weights with the names of those of {state!r}: "
            f"{', '.join(map(repr, fitting))}. It is not known which of them trained that model. "
            "Give its layers names of their own, or leave out averages=True."
        )
    return next(iter(fitting.values()), [])


def _paired(trained: list[TensorEntry], averages: dict[str, TensorEntry]) -> list[TensorEntry]:
    """Return the average of each weight by the name that Keras gives it, or none."""
    names = [entry.path.replace("/", "_") + _AVERAGE for entry in trained]
    if len(set(names)) < len(names):
        return []
    pairs = [averages[name] for name in names if name in averages]
    fit = len(pairs) == len(trained) and all(
        (pair.shape, pair.dtype) == (entry.shape, entry.dtype)
        for pair, entry in zip(pairs, trained, strict=True)
    )
    return pairs if fit else []
