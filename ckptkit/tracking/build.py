"""Models and optimizers must be built before they can be saved or restored: what is built here, and
what is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from ckptkit.compat import keras_models, tf_checkpoint
from ckptkit.errors import ConfigError
from ckptkit.tracking.leaves import python_accessors
from ckptkit.tracking.tracker import optimizers_in
from ckptkit.tracking.walk import walk


def build(state: Mapping[str, Any]) -> None:
    """Builds the optimizers whose variables are known, and checks that everything else is built.

    Args:
        state: the user's state.

    Raises:
        ConfigError: where a model or an optimizer is not built, and its shapes are not known; with
            the line that builds it.
    """
    things = [
        pair for name, value in state.items() for pair in _things(name, f"state[{name!r}]", value)
    ]
    models = [thing for _, _, thing in things if isinstance(thing, keras.Model)]
    for name, where, thing in things:
        if isinstance(thing, keras.Layer):
            check_built(name, where, thing)
        elif _is_empty(thing):
            raise ConfigError(
                f"{where}, a {type(thing).__name__}, has no variable yet, and nothing else to "
                "save. Where it makes its variables "
                "when it is first called, call it once on a batch before; otherwise leave it out "
                "of state."
            )
        optimizer = getattr(thing, "optimizer", None)
        if (
            isinstance(thing, keras.Model)
            and isinstance(optimizer, keras.optimizers.Optimizer)
            and not optimizer.built
        ):
            optimizer.build(thing.trainable_variables)
    for name, _, thing in things:
        if isinstance(thing, keras.Model):
            continue
        for path, optimizer in optimizers_in(thing):
            if optimizer.built:
                continue
            named = ".".join(filter(None, (name, path)))
            if len(models) != 1:
                raise ConfigError(
                    f"The optimizer {named!r} ({type(optimizer).__name__}) has no variables yet, "
                    "and it is not known which model "
                    "it trains. Build it first: "
                    f"{named}.build(the_model_that_it_trains.trainable_variables)."
                )
            optimizer.build(models[0].trainable_variables)


def _things(name: str, where: str, value: Any) -> list[tuple[str, str, Any]]:
    """What the user has named, taken out of lists and dictionaries: how to call it, where it is,
    and itself.
    """
    if isinstance(value, list | tuple | Mapping):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        return [
            found
            for key, item in items
            for found in _things(f"{name}[{key!r}]", f"{where}[{key!r}]", item)
        ]
    return [(name, where, value)]


def check_built(name: str, where: str, layer: Any) -> None:
    """Checks that a layer has its variables.

    Args:
        name: how to call it in a line of code.
        where: where the user has named it.
        layer: it.

    Raises:
        ConfigError: where it has none yet, with the line that builds it.
    """
    if not _is_built(layer):
        kind = "model" if isinstance(layer, keras.Model) else "layer"
        raise ConfigError(
            f"The {kind} in {where} ({type(layer).__name__} {layer.name!r}) has no variables yet, "
            "because the shape of its "
            f"inputs is not known. Build it first: call it once on a batch, {name}(batch), or "
            f"{name}.build(input_shape)."
        )


def _is_built(layer: Any) -> bool:
    """Whether a layer has its variables: Keras says so, or, for a model that is only a frame around
    others and never called, they have theirs.
    """
    if layer.built:
        return True
    inner = [other for other in keras_models.layers_of(layer) if other is not layer]
    return bool(inner) and all(other.built for other in inner)


def _is_empty(thing: Any) -> bool:
    """Whether something of TensorFlow's has nothing to save."""
    if not tf_checkpoint.is_trackable(thing) or python_accessors(thing) is not None:
        return False
    return next(walk(thing), None) is None


def unbuilt_parts(state: Mapping[str, Any]) -> list[str]:
    """What in the state has no variables yet, in words, to explain a difference."""
    parts = []
    for name, value in state.items():
        if isinstance(value, keras.Layer):
            parts += [
                f"layer {layer.name!r} of {name!r}"
                for layer in keras_models.layers_of(value)
                if not layer.built
            ]
        if isinstance(value, keras.Model) and not keras_models.compile_metrics_built(value):
            parts.append(
                f"the compiled metrics of {name!r} (they are made in the first batch: "
                f"{name}.test_on_batch(x, y))"
            )
        parts += [
            f"optimizer {'.'.join(filter(None, (name, path)))!r}"
            for path, optimizer in optimizers_in(value)
            if not optimizer.built
        ]
    return parts
