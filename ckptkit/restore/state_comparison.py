"""Compares the structure of the live state with a checkpoint, before anything is assigned."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ckptkit.restore.metric_pairs import pair_metrics
from ckptkit.restore.renumbered_names import renumbered
from ckptkit.run.manifest import (
    ADAPTED,
    ATTRIBUTES,
    CAPTURED,
    DATA,
    EVALUATED,
    RESULT,
    WORKER,
    StateEntry,
)
from ckptkit.run.tensor_entry import TensorEntry, leaf_key

_MOST_ROWS = 30
_MAY_BE_MISSING = (DATA, ATTRIBUTES, CAPTURED, WORKER)


@dataclass(frozen=True)
class StateDifference:
    """A difference that prevents a restore.

    Args:
        kind: `missing` (in the checkpoint, not in the program), `extra`, `shape`, `dtype`, `kind`,
            `order`, `optimizer`.
        name: the key, with the path if that explains more.
        saved: the form in the checkpoint.
        received: the form in the program.
    """

    kind: str
    name: str
    saved: str
    received: str


def compare(
    saved_states: Sequence[StateEntry],
    saved: Sequence[TensorEntry],
    live_states: Sequence[StateEntry],
    live: Sequence[TensorEntry],
    changing_metrics: Collection[str] = (),
) -> list[StateDifference]:
    """Return all differences in structure between a saved state and the live state.

    Args:
        saved_states, saved: the entries and tensors of the checkpoint.
        live_states, live: the entries and tensors of the program.
        changing_metrics: names of models whose metrics may change.

    Returns:
        The differences; empty if the checkpoint can be restored.
    """
    # Compared by class, because slots of two optimizers may have the same shapes and order by
    # accident.
    differences = _classes(saved_states, live_states)
    pairs = pair_metrics(saved, live, changing_metrics)
    # The parts of a table, an iterator or a Python object may change from save to save, so only
    # their leaf is compared. Data is not compared, because its state may be missing on either side.
    # Nor are further replicas: their number may change.
    saved_by = {
        entry.key if entry.kind == "variable" else leaf_key(entry.key): entry
        for entry in saved
        if entry.role not in (RESULT, EVALUATED, *_MAY_BE_MISSING)
        and not entry.replica
        and not pairs.covers(entry)
    }
    # Older checkpoints lack the learned state of preprocessing layers.
    adapted = any(entry.role == ADAPTED for entry in saved)
    live_by = {
        entry.key: entry
        for entry in live
        if entry.role not in _MAY_BE_MISSING
        and (adapted or entry.role != ADAPTED)
        and not pairs.covers(entry)
    }
    for key, entry in saved_by.items():
        if key not in live_by:
            differences.append(StateDifference("missing", _named(key, entry), _form(entry), "-"))
    for key, entry in live_by.items():
        other = saved_by.get(key)
        if other is None:
            differences.append(StateDifference("extra", _named(key, entry), "-", _form(entry)))
        elif other.kind != entry.kind:
            differences.append(StateDifference("kind", _named(key, entry), other.kind, entry.kind))
        elif entry.kind == "variable" and not fits(other.shape, entry.shape):
            differences.append(
                StateDifference("shape", _named(key, entry), _form(other), _form(entry))
            )
        elif entry.kind == "variable" and other.dtype != entry.dtype:
            differences.append(
                StateDifference("dtype", _named(key, entry), _form(other), _form(entry))
            )
    # Checked last: if variables are missing, most of the others have moved too.
    if not differences:
        differences = _reordered(saved_by, live_by)
    return differences


def _classes(saved: Sequence[StateEntry], live: Sequence[StateEntry]) -> list[StateDifference]:
    """Return the optimizers whose class has changed."""
    now = {entry.name: entry.classes for entry in live}
    differences = []
    for entry in saved:
        for path, name in entry.classes.items():
            received = now.get(entry.name, {}).get(path)
            if received is not None and received != name:
                differences.append(
                    StateDifference(
                        "optimizer", ".".join(filter(None, (entry.name, path))), name, received
                    )
                )
    return differences


def fits(saved: Sequence[int | None] | None, live: Sequence[int | None] | None) -> bool:
    """Return whether a variable can take a value of a saved shape; unknown sizes fit."""
    if saved is None or live is None:
        return True
    return len(saved) == len(live) and all(
        b is None or a is None or a == b for a, b in zip(saved, live, strict=True)
    )


def _reordered(
    saved: Mapping[str, TensorEntry], live: Mapping[str, TensorEntry]
) -> list[StateDifference]:
    """Return variables of the same form whose order has changed.

    Names that differ only in their number (`dense_3` and `dense`) count as the same name. If a name
    is at different places on both sides, values would go to the wrong layer.
    """
    differences = []
    for group in sorted({_group(key) for key in live}):
        keys = [
            key
            for key, entry in live.items()
            if _group(key) == group and (entry.kind == "variable" or entry.role == ADAPTED)
        ]
        then = dict(zip(keys, renumbered([saved[key].path for key in keys]), strict=True))
        now = dict(zip(keys, renumbered([live[key].path for key in keys]), strict=True))
        differences += _other_places([(key, saved[key], live[key]) for key in keys])
        known_then, known_now = set(then.values()), set(now.values())
        for key in keys:
            if then[key] != now[key] and now[key] in known_then and then[key] in known_now:
                differences.append(StateDifference("order", key, saved[key].path, live[key].path))
    return differences


def _other_places(
    both: Sequence[tuple[str, TensorEntry, TensorEntry]],
) -> list[StateDifference]:
    """Return weights that belong to another attribute of the model now.

    Their order is that in which layers are made, and so are the numbers of automatic names.
    """
    known_then = {then.place for _, then, _ in both}
    known_now = {now.place for _, _, now in both}
    return [
        StateDifference("order", key, then.place, now.place)
        for key, then, now in both
        if then.place
        and now.place
        and then.place != now.place
        and then.place in known_now
        and now.place in known_then
    ]


def _group(key: str) -> str:
    """Return the entry and the role of a tensor; the order of variables matters inside both."""
    return "/".join(key.split("/")[:2])


def _named(key: str, entry: TensorEntry) -> str:
    """Return a key, with the path if that explains more."""
    return f"{key}  ({entry.path})" if entry.path and entry.path != key else key


def _form(entry: TensorEntry) -> str:
    """Return the shape and type of a variable, or the kind of another leaf."""
    if entry.kind != "variable":
        return entry.kind
    return shown_form(entry.shape, entry.dtype)


def shown_form(shape: Sequence[int | None] | None, dtype: str) -> str:
    """Return a shape and a type as text for messages."""
    sizes = (
        "?" if shape is None else ", ".join("?" if size is None else str(size) for size in shape)
    )
    return f"({sizes}) {dtype}"


def table(differences: Sequence[StateDifference]) -> str:
    """Return the differences as a table for a message."""
    # Imported here, because a restore without differences does not need it.
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="")
    for column in ("what", "name", "checkpoint", "program"):
        grid.add_column(column, overflow="fold")
    for difference in differences[:_MOST_ROWS]:
        grid.add_row(difference.kind, difference.name, difference.saved, difference.received)
    console = Console(file=io.StringIO(), width=140, color_system=None)
    console.print(grid, markup=False)
    text = str(console.file.getvalue())  # type: ignore[attr-defined]
    more = len(differences) - _MOST_ROWS
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n".join(lines + ([f"... and {more} more"] if more > 0 else []))
