"""Which saved weight belongs to which weight of a model: decided whole, before anything is read or
assigned. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ckptkit.restore.state_comparison import StateDifference, fits, renumbered, shown_form

STRUCTURE, NAME = "structure", "name"


@dataclass(frozen=True)
class Weight:
    """A weight, of a model or saved.

    Args:
        key: how its own side calls it: of a model its path, of a source what it is read by.
        address: where it is in the structure; empty where it has no place there that both sides
            know.
        name: a name to be recognised by.
        shape: its sizes.
        dtype: TensorFlow's name of the type.
    """

    key: str
    address: str
    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @property
    def form(self) -> str:
        """Shape and type, for people."""
        return shown_form(self.shape, self.dtype)


@dataclass(frozen=True)
class Pair:
    """A weight of a model and the saved one that it takes its value from.

    Args:
        live: the number of the model's weight.
        saved: the number of the saved weight.
        by: `structure` or `name`.
    """

    live: int
    saved: int
    by: str


@dataclass(frozen=True)
class MatchPlan:
    """What is to be assigned.

    Args:
        pairs: in the order of the model's weights.
        left: numbers of what has no pair: of a model's weight and of the saved one that should fit
            it and does not, or of one of them.
        differences: what keeps the two from being the same, `left` in words; empty where every
            weight has its pair.
    """

    pairs: tuple[Pair, ...]
    left: tuple[tuple[int | None, int | None], ...]
    differences: tuple[StateDifference, ...]


def match(live: Sequence[Weight], saved: Sequence[Weight]) -> MatchPlan:
    """Pairs weights by structure, then by name.

    Where all agree by structure, and no name says that two have changed places, that is the answer;
    else where all agree by name. Otherwise each weight is paired by its place where form and name
    allow, then by its name, and what is left is told.

    Args:
        live: the model's weights.
        saved: what the source has.
    """
    live_names, saved_names = _names(live), _names(saved)
    by_structure = _paired([each.address for each in live], [each.address for each in saved])
    by_name = _paired(live_names, saved_names)
    known_live, known_saved = set(live_names), set(saved_names)

    def agree(i: int, j: int) -> bool:
        return live[i].dtype == saved[j].dtype and fits(saved[j].shape, live[i].shape)

    def moved(i: int, j: int) -> bool:
        """Whether the names say that this is another one, of which the other side has the like."""
        a, b = live_names[i], saved_names[j]
        return bool(a and b) and a != b and (a in known_saved or b in known_live)

    for pairs, how in ((by_structure, STRUCTURE), (by_name, NAME)):
        whole = len(pairs) == len(live) == len(saved) and all(agree(i, j) for i, j in pairs.items())
        if whole and (how == NAME or not any(moved(i, j) for i, j in pairs.items())):
            return MatchPlan(tuple(Pair(i, j, how) for i, j in sorted(pairs.items())), (), ())
    chosen = {
        i: Pair(i, j, STRUCTURE) for i, j in by_structure.items() if agree(i, j) and not moved(i, j)
    }
    taken = {pair.saved for pair in chosen.values()}
    for i, j in by_name.items():
        if i not in chosen and j not in taken and agree(i, j):
            chosen[i] = Pair(i, j, NAME)
            taken.add(j)
    left = tuple(_left(len(live), len(saved), chosen, by_structure, by_name, moved))
    return MatchPlan(
        tuple(chosen[i] for i in sorted(chosen)),
        left,
        tuple(_difference(live, saved, i, j) for i, j in left),
    )


def _left(
    live: int,
    saved: int,
    chosen: Mapping[int, Pair],
    by_structure: Mapping[int, int],
    by_name: Mapping[int, int],
    moved: Callable[[int, int], bool],
) -> Iterable[tuple[int | None, int | None]]:
    told = {pair.saved for pair in chosen.values()}
    for i in range(live):
        if i in chosen:
            continue
        j = by_name.get(i)
        if j is None or j in told:
            place = by_structure.get(i)
            j = place if place is not None and place not in told and not moved(i, place) else None
        if j is not None:
            told.add(j)
        yield i, j
    yield from ((None, j) for j in range(saved) if j not in told)


def _difference(
    live: Sequence[Weight], saved: Sequence[Weight], i: int | None, j: int | None
) -> StateDifference:
    if i is None:
        assert j is not None
        return StateDifference("missing", _called(saved[j]), saved[j].form, "-")
    if j is None:
        return StateDifference("extra", live[i].key, "-", live[i].form)
    kind = "dtype" if fits(saved[j].shape, live[i].shape) else "shape"
    name = live[i].key if saved[j].key == live[i].key else f"{live[i].key}  (from {saved[j].key})"
    return StateDifference(kind, name, saved[j].form, live[i].form)


def _called(weight: Weight) -> str:
    return (
        weight.key
        if not weight.name or weight.name in weight.key
        else f"{weight.key}  ({weight.name})"
    )


def _paired(live: Sequence[str], saved: Sequence[str]) -> dict[int, int]:
    """What has the same, unique, non-empty mark on both sides."""
    several = {
        mark for marks in (live, saved) for mark, times in Counter(marks).items() if times > 1
    }
    where = {mark: number for number, mark in enumerate(saved) if mark and mark not in several}
    return {number: where[mark] for number, mark in enumerate(live) if mark in where}


def _names(weights: Sequence[Weight]) -> list[str]:
    """Names without what only this program or this file has put before or into them: the model's
    own name, automatic numbers.
    """
    names = [weight.name.removesuffix(":0") for weight in weights]
    given = [name.split("/") for name in names if name]
    if (
        len(given) > 1
        and all(len(parts) > 2 for parts in given)
        and len({parts[0] for parts in given}) == 1
    ):
        names = [name.partition("/")[2] for name in names]
    return [new if name else "" for new, name in zip(renumbered(names), names, strict=True)]
