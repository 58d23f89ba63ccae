"""Reads and compares facts about a checkpoint other than its tensors. No TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ckptkit.run.manifest import Manifest


@dataclass(frozen=True)
class Facts:
    """The facts that a checkpoint, model or weights file stores about itself; empty if missing.

    Args:
        position: `step`, `epoch` and `batch`.
        classes: the class of each entry of the state and of each optimizer in it.
        hyperparameters: the hyperparameters by name; nested names are joined with dots, as in
            `hparams.width`.
        versions: the versions of the libraries that wrote it.
    """

    position: Mapping[str, object] = field(default_factory=dict)
    classes: Mapping[str, object] = field(default_factory=dict)
    hyperparameters: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, object] = field(default_factory=dict)


TOPICS = ("position", "classes", "hyperparameters", "versions")


@dataclass(frozen=True)
class FactDifference:
    """A fact with different values on two sides.

    Args:
        name: the name of the fact.
        a, b: the value on each side.
        only: `a` or `b` if only that side has the name; else empty.
    """

    name: str
    a: object
    b: object
    only: str = ""


def of_manifest(manifest: Manifest) -> Facts:
    """Return the facts of a checkpoint of a run.

    Time, reason, attempt and metrics of the save are left out, because they are not part of the
    state.
    """
    classes: dict[str, object] = {}
    for state in manifest.states:
        classes[state.name] = state.class_name
        classes |= {
            f"{state.name}.{path}" if path else f"{state.name} (optimizer)": name
            for path, name in state.classes.items()
        }
    return Facts(
        {"step": manifest.step, "epoch": manifest.epoch, "batch": manifest.batch},
        classes,
        dict(_flat(manifest.hyperparameters)),
        dict(manifest.versions),
    )


def changes(a: Facts, b: Facts, *, one_format: bool) -> dict[str, tuple[FactDifference, ...]]:
    """Return the facts that differ between two sides, by topic.

    Args:
        a, b: the sides.
        one_format: whether both sides have the same format; if not, only facts that both have are
            compared.
    """
    return {
        topic: tuple(_changed(getattr(a, topic), getattr(b, topic), one_format)) for topic in TOPICS
    }


def _changed(
    a: Mapping[str, object], b: Mapping[str, object], one_format: bool
) -> Iterator[FactDifference]:
    for name in dict.fromkeys((*a, *b)):
        if name in a and name in b:
            if a[name] != b[name] or isinstance(a[name], bool) != isinstance(b[name], bool):
                yield FactDifference(name, a[name], b[name])
        elif one_format:
            yield FactDifference(name, a.get(name), b.get(name), "a" if name in a else "b")


def _flat(values: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
