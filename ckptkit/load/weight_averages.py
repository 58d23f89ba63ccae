"""Takes the averages that an optimizer kept (`use_ema`) in place of the weights of a run."""

from __future__ import annotations

from dataclasses import replace

from ckptkit.errors import CheckpointNotFoundError
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
    """
    state = source.saved[0].key.partition("/")[0] if source.saved else ""
    tensors = [entry for entry in checkpoint.manifest.tensors if not entry.replica]
    trained = [
        entry
        for entry in tensors
        if entry.role == WEIGHTS and entry.key.startswith(f"{state}/") and entry.trainable
    ]
    averages = _of_one_optimizer(tensors, trained)
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


def _of_one_optimizer(tensors: list[TensorEntry], trained: list[TensorEntry]) -> list[TensorEntry]:
    """Return the averages of one optimizer, one for each trained weight, in order."""
    found: dict[str, list[TensorEntry]] = {}
    for entry in tensors:
        if entry.role == OPTIMIZER and entry.path.endswith(_AVERAGE):
            found.setdefault(entry.key.partition("/")[0], []).append(entry)
    forms = [(entry.shape, entry.dtype) for entry in trained]
    return next(
        (
            averages
            for averages in found.values()
            if forms and [(entry.shape, entry.dtype) for entry in averages] == forms
        ),
        [],
    )
