"""Models and optimizers must be built before they can be saved or restored: what is built here, and what is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from ckptkit import _private
from ckptkit.errors import ConfigError
from ckptkit.save.tracked import optimizers_in


def build(state: Mapping[str, Any]) -> None:
    """Builds the optimizers whose variables are known, and checks that everything else is built.

    Args:
        state: the user's state.

    Raises:
        ConfigError: where a model or an optimizer is not built, and its shapes are not known; with the line that builds it.
    """
    models = {name: value for name, value in state.items() if isinstance(value, keras.Model)}
    for name, model in models.items():
        if not model.built:
            raise ConfigError(
                f"The model in state[{name!r}] ({type(model).__name__} {model.name!r}) has no variables yet, because the shape of its "
                f"inputs is not known. Build it first: call it once on a batch, {name}(batch), or {name}.build(input_shape).")
        optimizer = getattr(model, "optimizer", None)
        if isinstance(optimizer, keras.optimizers.Optimizer) and not optimizer.built:
            optimizer.build(model.trainable_variables)
    for name, value in state.items():
        if isinstance(value, keras.Model):
            continue
        for path, optimizer in optimizers_in(value):
            if optimizer.built:
                continue
            where = ".".join(filter(None, (name, path)))
            if len(models) != 1:
                raise ConfigError(
                    f"The optimizer {where!r} ({type(optimizer).__name__}) has no variables yet, and it is not known which model "
                    f"it trains. Build it first: {where}.build(the_model_that_it_trains.trainable_variables).")
            optimizer.build(next(iter(models.values())).trainable_variables)


def unbuilt_parts(state: Mapping[str, Any]) -> list[str]:
    """What in the state has no variables yet, in words, to explain a difference."""
    parts = []
    for name, value in state.items():
        if isinstance(value, keras.Layer):
            parts += [f"layer {layer.name!r} of {name!r}" for layer in _private.layers_of(value) if not layer.built]
        if isinstance(value, keras.Model) and not _private.compile_metrics_built(value):
            parts.append(f"the compiled metrics of {name!r} (they are made in the first batch: {name}.test_on_batch(x, y))")
        parts += [f"optimizer {'.'.join(filter(None, (name, path)))!r}" for path, optimizer in optimizers_in(value)
                  if not optimizer.built]
    return parts
