"""Reads weights from TensorFlow's files: of a run, of `tf.train.Checkpoint`, of a SavedModel."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckptkit.bundle import tensor_bundle
from ckptkit.compat import keras_models, keras_saving, tf_checkpoint
from ckptkit.errors import CheckpointError, CheckpointNotFoundError, ConfigError
from ckptkit.layout import CheckpointName
from ckptkit.load.known_order import exchangeable
from ckptkit.load.object_graph import Graph, read_graph
from ckptkit.load.weight_matching import Weight, match
from ckptkit.load.weight_source import WeightSource, form_of, live_weights
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import EVALUATED, RESULT, WEIGHTS
from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.tracking.leaves import path_of

VARIABLES = Path("variables") / "variables"
"""The prefix of the checkpoint inside a SavedModel."""

_OURS = re.compile(
    r"([A-Za-z_][A-Za-z0-9_-]*)/(weights|result)/(\d+)" + re.escape(tensor_bundle.SUFFIX)
)


def of_run(
    checkpoint: Checkpoint, model: Any, name: str | None, *, best: bool = False
) -> WeightSource:
    """Return the weights of a model in a checkpoint of a run.

    For a checkpoint from the end of training, these are the final weights. For one that was chosen
    by a metric, they are those that the metric was measured with.

    Args:
        checkpoint: the checkpoint.
        model: the model that gets the weights.
        name: the name of the model in the run, or None for the only one that matches.
        best: whether the checkpoint was chosen by a metric.

    Raises:
        ConfigError: If several models match and none was named.
        CheckpointNotFoundError: If no model has that name.
    """
    entries = {
        entry.key: entry
        for entry in checkpoint.manifest.tensors
        if entry.role in (WEIGHTS, EVALUATED if best else RESULT) and not entry.replica
    }
    return _ours(str(checkpoint.path), checkpoint.prefix, entries, model, name)


def in_a_run(prefix: Path) -> Checkpoint | None:
    """Return the checkpoint of a run whose files a prefix names, if its manifest can be read."""
    name = CheckpointName.parse(prefix.parent.name)
    if name is None or name.prefix != prefix.name:
        return None
    checkpoint = Checkpoint(name, prefix.parent)
    try:
        return checkpoint if checkpoint.manifest.tensors else None
    except CheckpointError:
        return None  # TensorFlow's files may have been copied alone


def of_tensorflow(prefix: Path, model: Any, name: str | None) -> WeightSource:
    """Return the weights of a model in any checkpoint that TensorFlow can read.

    Raises:
        CorruptCheckpointError: If it cannot be read.
        ConfigError: If several models match and none was named.
        CheckpointNotFoundError: If no model has that name, or the checkpoint has no object graph,
            as in TensorFlow 1.
    """
    reader = tensor_bundle.open_reader(prefix)
    shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    ours = {
        match[0].removesuffix(tensor_bundle.SUFFIX): match
        for key in shapes
        if (match := _OURS.fullmatch(key))
    }
    if ours:
        ordered = sorted(ours, key=lambda key: (ours[key][1], ours[key][2], int(ours[key][3])))
        entries = {
            key: TensorEntry(
                key=key,
                kind="variable",
                path="",
                shape=tuple(shapes[key + tensor_bundle.SUFFIX]),
                dtype=types[key + tensor_bundle.SUFFIX].name,
            )
            for key in ordered
        }
        return _ours(str(prefix), prefix, entries, model, name)
    if tf_checkpoint.OBJECT_GRAPH not in shapes:
        raise CheckpointNotFoundError(
            f"{prefix} has no object graph, like checkpoints of TensorFlow 1. Expected a "
            f"checkpoint of tf.train.Checkpoint. tf.train.load_checkpoint({str(prefix)!r}) reads "
            f"single "
            "tensors of it."
        )
    graph = Graph.of(read_graph(reader, prefix), str(prefix))
    nodes = graph.weights_of(model, name)
    saved = tuple(
        Weight(
            key=node.key.removesuffix(tensor_bundle.SUFFIX),
            address=address,
            name=node.name,
            shape=tuple(shapes[node.key]),
            dtype=types[node.key].name,
        )
        for node, address in nodes.saved
        if node.key in shapes
    )
    return WeightSource(
        str(prefix),
        saved,
        live_weights(
            model,
            {id(variable): (address, path_of(variable)) for variable, address in nodes.live},
            {
                identity: label
                for identity, label in exchangeable(model).items()
                if identity in nodes.ordered
            },
        ),
        lambda chosen: read_weights(prefix, [saved[number] for number in chosen]),
    )


def of_saved_model(directory: Path, model: Any, name: str | None) -> WeightSource:
    """Return the weights of a model in a SavedModel, without running any part of it.

    Raises:
        CorruptCheckpointError: If its variables cannot be read.
        ConfigError, CheckpointNotFoundError: As for `of_tensorflow`.
    """
    if not (directory / f"{VARIABLES}.index").is_file():
        raise CheckpointNotFoundError(
            f"{directory} has no {VARIABLES}.index, so this SavedModel has no variables."
        )
    return of_tensorflow(directory / VARIABLES, model, name)


def read_weights(prefix: Path, weights: Sequence[Weight]) -> list[Any]:
    """Read the values of saved weights, all or none."""
    return list(
        tensor_bundle.read_tensors(
            prefix,
            [
                TensorEntry(
                    key=weight.key,
                    kind="variable",
                    path=weight.name,
                    shape=weight.shape,
                    dtype=weight.dtype,
                )
                for weight in weights
            ],
        )
    )


def _ours(
    where: str, prefix: Path, entries: Mapping[str, TensorEntry], model: Any, name: str | None
) -> WeightSource:
    """Return the weights stored under ckptkit's keys, `<state name>/weights/<index>`."""
    models: dict[str, list[Weight]] = {}
    for entry in entries.values():
        state, role, index = entry.key.split("/")
        if role == WEIGHTS:
            newest = entries.get(
                f"{state}/{RESULT}/{index}", entries.get(f"{state}/{EVALUATED}/{index}", entry)
            )
            models.setdefault(state, []).append(
                Weight(
                    key=newest.key,
                    address=entry.place or index,
                    name=entry.path,
                    **form_of(entry.shape, entry.dtype),
                )
            )
    live = _live_by_place(model) if any(entry.place for entry in entries.values()) else None
    live = live or live_weights(
        model,
        {
            id(variable): (str(number), path_of(variable))
            for number, variable in enumerate(model.weights)
        },
    )
    saved = (
        models[name]
        if name in models
        else _the_one(where, models, live, keras_models.automatic_names(model), name)
    )
    state = next(each for each, weights in models.items() if weights is saved)
    return WeightSource(
        f"{where} ({state})" if len(models) > 1 else where,
        tuple(saved),
        live,
        lambda chosen: read_weights(prefix, [saved[number] for number in chosen]),
        state=state,
    )


def _live_by_place(model: Any) -> tuple[Weight, ...]:
    """Return a model's weights by their places among its attributes, as a run stores them."""
    places = keras_saving.addresses_in_h5(model)
    return live_weights(
        model,
        {
            id(variable): (places.get(id(variable), (str(number), ""))[0], path_of(variable))
            for number, variable in enumerate(model.weights)
        },
    )


def _the_one(
    where: str,
    models: Mapping[str, list[Weight]],
    live: Sequence[Weight],
    automatic: Collection[str],
    name: str | None,
) -> list[Weight]:
    """Return the named model, else the only model, else the only one with matching weights."""
    known = ", ".join(repr(each) for each in models)
    if not models:
        raise CheckpointNotFoundError(
            f"{where} contains no Keras model. The training did not pass one in `state`. Choose a "
            "run that saved a model."
        )
    if name is not None:
        raise CheckpointNotFoundError(f"{where} holds no model {name!r}. Expected one of: {known}.")
    if len(models) == 1:
        return next(iter(models.values()))
    fitting = [
        each for each, weights in models.items() if not match(live, weights, automatic).differences
    ]
    if len(fitting) != 1:
        which = "all with these shapes" if len(fitting) > 1 else "none with these shapes"
        raise ConfigError(
            f"{where} holds several models ({known}), {which}. Name one, as in "
            f"name={next(iter(models))!r}."
        )
    return models[fitting[0]]
