"""What a checkpoint says of itself beside its tensors, and what two of them say differently. Pure,
and imports no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ckptkit.run.manifest import Manifest


@dataclass(frozen=True)
class Facts:
    """What a checkpoint, a model or weights say of themselves; empty is what is not said.

    Args:
        position: `step`, `epoch`, `batch`.
        classes: of each state, and of each optimizer in it.
        hyperparameters: by name, those inside others with dots: `hparams.width`.
        versions: of what wrote it.
    """

    position: Mapping[str, object] = field(default_factory=dict)
    classes: Mapping[str, object] = field(default_factory=dict)
    hyperparameters: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, object] = field(default_factory=dict)


TOPICS = ("position", "classes", "hyperparameters", "versions")


@dataclass(frozen=True)
class FactDifference:
    """A fact that is another one on the other side.

    Args:
        name: of the fact.
        a, b: what each side says.
        only: `a` or `b` where only that side knows the name; else empty.
    """

    name: str
    a: object
    b: object
    only: str = ""


def of_manifest(manifest: Manifest) -> Facts:
    """What a checkpoint of a run says of itself. When and why it was saved, by which attempt, and
    with which metrics, is not of the state.
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
    """What two sides say differently, by topic.

    Args:
        a, b: the sides.
        one_format: whether both are of one format; else only what both say is compared.
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
