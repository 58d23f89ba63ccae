"""Compares the settings of a model's layers in a run and in the code; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ckptkit.restore.hyperparameter_comparison import ABSENT
from ckptkit.run.architecture_file import LayerSettings

ALL_LAYERS = "*."
"""The prefix of a setting that means "this setting of every layer"."""


@dataclass(frozen=True)
class LayerValues:
    """The settings of layers as hyperparameters, `<layer path>.<setting>`.

    Args:
        then: the run's values of the settings that differ.
        now: the code's values of the settings that differ.
        names: all settings that could have been compared.
    """

    then: Mapping[str, object]
    now: Mapping[str, object]
    names: frozenset[str]


def compare_layers(
    then: Sequence[LayerSettings],
    now: Sequence[LayerSettings],
    model: str,
    *,
    prefix: str = "",
    complete: bool = True,
) -> LayerValues:
    """Compare the settings of a model's layers.

    Layers of the same classes in the same order count as the same layers, even if automatic numbers
    in their names differ. A setting that only one side has is not compared, because another version
    of Keras may have added it.

    Args:
        then: the layers of the run.
        now: the layers of the code.
        model: the name of the model itself.
        prefix: a prefix of the paths of layers, to distinguish several models.
        complete: whether `now` has all layers. A model that is not built may make more.
    """
    if [layer.class_name for layer in then] == [layer.class_name for layer in now]:
        pairs: list[tuple[LayerSettings | None, LayerSettings | None]] = [
            *zip(then, now, strict=True)
        ]
    else:
        old, new = ({layer.path: layer for layer in side} for side in (then, now))
        pairs = [
            (old.get(path), new.get(path)) for path in {**old, **new} if path in new or complete
        ]
    found_then: dict[str, object] = {}
    found_now: dict[str, object] = {}
    names: set[str] = set()
    for before, after in pairs:
        layer = after or before
        assert layer is not None
        name = f"{prefix}{layer.path}" if layer.path else model
        if before is None or after is None or before.class_name != after.class_name:
            names.add(name)
            found_then[name] = before.class_name if before is not None else ABSENT
            found_now[name] = after.class_name if after is not None else ABSENT
            continue
        for key in before.settings.keys() & after.settings.keys():
            names.add(f"{name}.{key}")
            if before.settings[key] != after.settings[key]:
                found_then[f"{name}.{key}"] = before.settings[key]
                found_now[f"{name}.{key}"] = after.settings[key]
    in_order = sorted(found_then)
    return LayerValues(
        {each: found_then[each] for each in in_order},
        {each: found_now[each] for each in in_order},
        frozenset(names),
    )


def for_each_layer(changed: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    """Return the user's decisions, with decisions for all layers expanded to each layer.

    Args:
        changed: the decisions by name; `*.rate` stands for the rate of every layer.
        names: the settings of layers.
    """
    every = {
        name: decision
        for name in names
        if (decision := changed.get(f"{ALL_LAYERS}{name.rpartition('.')[2]}"))
    }
    kept = {
        name: decision
        for name, decision in changed.items()
        if not (name.startswith(ALL_LAYERS) and _setting(name) in map(_setting, names))
    }
    return {**every, **kept}


def _setting(name: str) -> str:
    return name.rpartition(".")[2]
