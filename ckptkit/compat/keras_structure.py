"""Reads and sets what training may change in a Keras model besides its values.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ckptkit.compat.keras_attributes import settings

Values = dict[str, Any]
"""Values by name; they are compared by identity first, so they are the objects themselves."""

LORA, POLICY = "lora", "dtype_policy"
"""The names of a layer's LoRA (its rank and alpha) and of its dtype policy, quantized or not."""

_OF_OPTIMIZERS = frozenset(
    {
        "weight_decay",
        "clipnorm",
        "global_clipnorm",
        "clipvalue",
        "use_ema",
        "ema_momentum",
        "ema_overwrite_frequency",
        "loss_scale_factor",
        "gradient_accumulation_steps",
    }
)
"""Arguments that every optimizer has. Those of its own class are found in its constructor."""

_OF_COMPILE = ("run_eagerly", "jit_compile", "loss", "loss_weights")


def structure_of(layer: Any) -> Values:
    """Return the dtype policy, the LoRA and the public settings of a layer.

    Reason: LoRA has public attributes, but they are set by each class of layers that has it.
    """
    own = vars(layer)
    found = {
        name: own[name]
        for name in _settings(layer.__class__)
        if type(own.get(name, layer)) in _PLAIN or _is_plain(own.get(name, layer))
    }
    found[POLICY] = layer.dtype_policy
    if own.get("lora_enabled"):
        found[LORA] = (own["lora_rank"], own["lora_alpha"])
    return found


_PLAIN = frozenset({type(None), bool, int, float, str})


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


@functools.cache
def _settings(kind: Any) -> tuple[str, ...]:
    return tuple(sorted(settings(kind)))


def optimizer_arguments(optimizer: Any) -> Values:
    """Return the arguments of an optimizer that a traced step contains as constants.

    Reason: `get_config` reads the learning rate from a variable, which takes long.
    """
    own = vars(optimizer)
    return {name: own[name] for name in _arguments(optimizer.__class__) if name in own}


@functools.cache
def _arguments(kind: Any) -> tuple[str, ...]:
    own = set(inspect.signature(kind.__init__).parameters)
    return tuple(sorted((own | _OF_OPTIMIZERS) - {"self", "name", "learning_rate"}))


def compile_arguments(model: Any) -> Values:
    """Return the arguments of `compile` that decide what a step computes.

    Reason: only private attributes contain the weights of losses, and `jit_compile` as resolved.
    """
    compiled = getattr(model, "_compile_loss", None)
    return {
        "run_eagerly": model._run_eagerly,
        "jit_compile": model._jit_compile,
        "loss": model.loss,
        "loss_weights": getattr(compiled, "_user_loss_weights", None),
    }


def set_compile_arguments(model: Any, values: Mapping[str, Any]) -> None:
    """Set arguments that `compile_arguments` returned, and leave the optimizer and metrics.

    Reason: `compile` would make the metrics anew. The object with the losses has no public name.

    Args:
        model: a compiled model.
        values: some of the arguments, by name.
    """
    if "run_eagerly" in values:
        model._run_eagerly = values["run_eagerly"]
    if "jit_compile" in values:
        model._jit_compile = values["jit_compile"]
    if values.keys() & {"loss", "loss_weights"}:
        merged = {**compile_arguments(model), **values}
        model.loss = merged["loss"]
        if merged["loss"] is not None:
            model._compile_loss = type(_any_compile_loss(model))(
                merged["loss"],
                merged["loss_weights"],
                output_names=getattr(model, "output_names", None),
            )


def _any_compile_loss(model: Any) -> Any:
    from keras.src.trainers.compile_utils import CompileLoss

    return model._compile_loss if model._compile_loss is not None else CompileLoss(model.loss)


def trains_replaced_weights(model: Any) -> bool:
    """Return whether a model's optimizer was built for weights that are no longer trained.

    `quantize` replaces a kernel, and LoRA freezes it. The optimizer keeps its values for it.

    Reason: an optimizer has no public list of the variables that it was built for.
    """
    outer = getattr(model, "optimizer", None)
    optimizer: Any = getattr(outer, "inner_optimizer", outer)
    if optimizer is None or not optimizer.built:
        return False
    trained = {id(variable) for variable in model.trainable_variables}
    return any(id(variable) not in trained for variable in optimizer._trainable_variables)


def build_optimizer(model: Any) -> None:
    """Build a model's optimizer for the weights that the model trains now.

    Reason: it stands beside `trains_replaced_weights`, which says when to do so.
    """
    model.optimizer.build(model.trainable_variables)


def change_structure(layer: Any, values: Mapping[str, Any]) -> None:
    """Quantize a layer, enable its LoRA, or set its dtype policy, and its public settings.

    Reason: `quantize` is called with a mode, which only the policy contains afterwards.

    Args:
        layer: a built layer.
        values: some of the values that `structure_of` returned.

    Raises:
        ValueError: If Keras refuses, because the layer is not built or is quantized otherwise.
    """
    for name, value in values.items():
        if name not in (POLICY, LORA):
            setattr(layer, name, tuple(value) if isinstance(value, list) else value)
    policy = values.get(POLICY)
    if policy is not None:
        mode = getattr(policy, "quantization_mode", None)
        if mode is not None and mode != layer.dtype_policy.quantization_mode:
            layer.quantize(mode)
        layer.dtype_policy = policy
    if values.get(LORA) is not None:
        rank, alpha = values[LORA]
        layer.enable_lora(rank, lora_alpha=alpha)


@contextmanager
def repeated_changes_allowed(layers: Iterable[Any]) -> Iterator[None]:
    """Make `quantize` and `enable_lora` of layers do nothing in the block.

    A callback that has changed a layer in an epoch does so again if it is told that this epoch
    begins.

    Reason: Keras refuses both if they were called before, and has no way to allow that.

    Args:
        layers: layers that were changed already.
    """
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    for layer in layers:
        own = vars(layer)
        for name in ("quantize", "enable_lora"):
            replaced.append((own, name, own.get(name)))
            own[name] = _do_nothing
    try:
        yield
    finally:
        for own, name, before in replaced:
            own.pop(name)
            if before is not None:
                own[name] = before


def _do_nothing(*positional: Any, **named: Any) -> None:
    """Take the place of a method."""
