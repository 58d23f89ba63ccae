"""Whether the state in the program has the form of a checkpoint's: decided whole, before anything
is assigned.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ckptkit.run.manifest import DATA, RESULT, StateEntry, TensorEntry

_NUMBERED = re.compile(r"_(\d+)(?=/|$)")
_MOST_ROWS = 30


@dataclass(frozen=True)
class StateDifference:
    """One thing that keeps a checkpoint from being restored.

    Args:
        kind: `missing` (in the checkpoint, not in the program), `extra`, `shape`, `dtype`, `kind`,
            `order`, `optimizer`.
        name: the key, and the path where it explains something.
        saved: what the checkpoint has.
        received: what the program has.
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
) -> list[StateDifference]:
    """Everything in which two states differ in form.

    Args:
        saved_states, saved: of the checkpoint.
        live_states, live: of the program.

    Returns:
        The differences; empty where the checkpoint can be restored.
    """
    differences = _classes(saved_states, live_states)
    # What a table, an iterator or a Python object consists of may change from save to save: only
    # that it is there counts.
    saved_by = {
        entry.key if entry.kind == "variable" else leaf_key(entry.key): entry
        for entry in saved
        if entry.role not in (RESULT, DATA)
    }
    live_by = {entry.key: entry for entry in live if entry.role != DATA}
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
    if not differences:
        differences = _reordered(saved_by, live_by)
    return differences


def leaf_key(key: str) -> str:
    """The first three parts of a key: the leaf that a tensor belongs to."""
    return "/".join(key.split("/")[:3])


def _classes(saved: Sequence[StateEntry], live: Sequence[StateEntry]) -> list[StateDifference]:
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
    """Whether a saved value has a shape that a variable can take."""
    if saved is None or live is None:
        return True
    return len(saved) == len(live) and all(
        b is None or a is None or a == b for a, b in zip(saved, live, strict=True)
    )


def _reordered(
    saved: Mapping[str, TensorEntry], live: Mapping[str, TensorEntry]
) -> list[StateDifference]:
    """Variables of one form that stand in another order.

    A name that only moved its number (`dense_3` for `dense`) is the same name; a name that is in
    both, at another place, means that values would go to another layer.
    """
    differences = []
    for group in sorted({_group(key) for key in live}):
        keys = [key for key in live if _group(key) == group and live[key].kind == "variable"]
        then = dict(zip(keys, renumbered([saved[key].path for key in keys]), strict=True))
        now = dict(zip(keys, renumbered([live[key].path for key in keys]), strict=True))
        known_then, known_now = set(then.values()), set(now.values())
        for key in keys:
            if then[key] != now[key] and now[key] in known_then and then[key] in known_now:
                differences.append(StateDifference("order", key, saved[key].path, live[key].path))
    return differences


def _group(key: str) -> str:
    return "/".join(key.split("/")[:2])


def renumbered(paths: Sequence[str]) -> list[str]:
    """Paths with the numbers of automatic names replaced by their rank among the numbers that occur
    with that name.
    """
    numbers: dict[str, set[int]] = {}
    for path in paths:
        for name, number in _components(path):
            numbers.setdefault(name, set()).add(number)
    ranks = {
        name: {number: rank for rank, number in enumerate(sorted(found))}
        for name, found in numbers.items()
    }
    return [
        "/".join(f"{name}#{ranks[name][number]}" for name, number in _components(path))
        for path in paths
    ]


def _components(path: str) -> list[tuple[str, int]]:
    parts = []
    for part in path.split("/"):
        match = _NUMBERED.search(part)
        parts.append((part[: match.start()], int(match[1])) if match else (part, 0))
    return parts


def _named(key: str, entry: TensorEntry) -> str:
    return f"{key}  ({entry.path})" if entry.path and entry.path != key else key


def _form(entry: TensorEntry) -> str:
    if entry.kind != "variable":
        return entry.kind
    return shown_form(entry.shape, entry.dtype)


def shown_form(shape: Sequence[int | None] | None, dtype: str) -> str:
    """Shape and type, for people."""
    sizes = (
        "?" if shape is None else ", ".join("?" if size is None else str(size) for size in shape)
    )
    return f"({sizes}) {dtype}"


def table(differences: Sequence[StateDifference]) -> str:
    """The differences as a table for a message."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="")
    for column in ("what", "name", "checkpoint", "program"):
        drawn.add_column(column, overflow="fold")
    for difference in differences[:_MOST_ROWS]:
        drawn.add_row(difference.kind, difference.name, difference.saved, difference.received)
    console = Console(file=io.StringIO(), width=140, color_system=None)
    console.print(drawn, markup=False)
    text = str(console.file.getvalue())  # type: ignore[attr-defined]
    more = len(differences) - _MOST_ROWS
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n".join(lines + ([f"... and {more} more"] if more > 0 else []))
