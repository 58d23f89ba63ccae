"""Pairs metrics by name if the code adds or removes metrics of a model; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ckptkit.restore.renumbered_names import renumbered
from ckptkit.run.manifest import WEIGHTS
from ckptkit.run.tensor_entry import TensorEntry

METRICS = "metrics"
"""The role of a metric's variables."""


@dataclass(frozen=True)
class MetricPairs:
    """Which saved key fills each variable of a metric.

    Only models whose metrics have changed are listed.

    Args:
        taken_from: the saved key for each key in the program; None for a new variable.
        new: names of variables that only the program has.
        gone: names of variables that only the checkpoint has.
        models: the entries of the state whose metrics have changed.
    """

    taken_from: Mapping[str, str | None]
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    models: frozenset[str] = frozenset()

    def covers(self, entry: TensorEntry) -> bool:
        """Return whether a tensor belongs to a metric that is paired here."""
        return entry.role == METRICS and _owner(entry) in self.models

    def __str__(self) -> str:
        came, went = ({path.split("/")[0]: None for path in side} for side in (self.new, self.gone))
        return "; ".join(
            ([f"{', '.join(came)}: new, counts from here on"] if came else [])
            + ([f"{', '.join(went)}: no longer there"] if went else [])
        )


def pair_metrics(
    saved: Sequence[TensorEntry],
    live: Sequence[TensorEntry],
    only: Collection[str] | None = None,
) -> MetricPairs:
    """Pair the variables of metrics by name and form, in each model whose metrics have changed.

    A metric that is an entry of the state is compared normally, because it belongs to no model.

    Args:
        saved: tensors of the checkpoint.
        live: tensors of the program.
        only: the models whose metrics may have changed, by name in the state; by default all.
    """
    models = {_owner(entry) for entry in (*saved, *live) if entry.role == WEIGHTS}
    taken_from: dict[str, str | None] = {}
    new: list[str] = []
    gone: list[str] = []
    changed = set()
    for model in models if only is None else models.intersection(only):
        then, now = _by_name(saved, model), _by_name(live, model)
        # A metric at the same place with a different name is a different metric.
        if list(then) != list(now):
            changed.add(model)
            taken_from |= {
                entry.key: then[name].key if name in then else None for name, entry in now.items()
            }
            new += [entry.path for name, entry in now.items() if name not in then]
            gone += [entry.path for name, entry in then.items() if name not in now]
    return MetricPairs(taken_from, tuple(new), tuple(gone), frozenset(changed))


def _owner(entry: TensorEntry) -> str:
    return entry.key.split("/")[0]


def _by_name(
    entries: Sequence[TensorEntry], model: str
) -> dict[tuple[str, tuple[int | None, ...] | None, str, int], TensorEntry]:
    """Return a model's metric variables by name, shape, type, and which of those that are equal."""
    metrics = [
        entry
        for entry in entries
        if entry.role == METRICS and _owner(entry) == model and not entry.replica
    ]
    seen: Counter[tuple[str, tuple[int | None, ...] | None, str]] = Counter()
    found = {}
    for entry, path in zip(metrics, renumbered([entry.path for entry in metrics]), strict=True):
        shape = None if entry.shape is None else tuple(entry.shape)
        found[path, shape, entry.dtype, seen[path, shape, entry.dtype]] = entry
        seen[path, shape, entry.dtype] += 1
    return found
