"""Matches saved weights with a model's weights. Pure: it reads and assigns nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ckptkit.policies.warm_start import is_left_out
from ckptkit.restore.renumbered_names import renumbered
from ckptkit.restore.state_comparison import StateDifference, fits, shown_form

STRUCTURE, NAME = "structure", "name"

ORDER = "order"
"""The difference of two weights that only an order pairs, in which others could have the place."""

_NUMBER = re.compile(r"_\d+$")
_WRAPPED = re.compile(r"^(?:forward|backward)_")
"""What a Bidirectional layer puts before the names of its two layers."""


@dataclass(frozen=True)
class Weight:
    """One weight, of a model or of a saved source, or what a preprocessing layer has learnt.

    Args:
        key: the weight's name on its own side: a path in the model, or the key it is read by.
        address: its place in the structure; empty if it has no place that both sides know.
        name: a name by which the other side may recognise it.
        shape: its dimensions; None if any will do.
        dtype: TensorFlow's name of the type.
        words: what it is, if that is not a weight; for messages.
        rivals: a label that several weights of the model share if the address is only a place in an
            order, which they could have exchanged; empty if the address identifies the weight.
    """

    key: str
    address: str
    name: str
    shape: tuple[int | None, ...] | None
    dtype: str
    words: str = ""
    rivals: str = ""

    @property
    def form(self) -> str:
        """Shape and type as text."""
        return self.words or shown_form(self.shape, self.dtype)


@dataclass(frozen=True)
class Pair:
    """A model's weight and the saved weight that provides its value.

    Args:
        live: index of the model's weight.
        saved: index of the saved weight.
        by: `structure` or `name`.
    """

    live: int
    saved: int
    by: str


@dataclass(frozen=True)
class MatchPlan:
    """The complete result of matching: what to assign, and what does not fit.

    Args:
        pairs: in the order of the model's weights.
        left: the indices of unmatched weights: a model's weight with the saved weight that should
            match but does not, or only one of both.
        differences: `left` as text; empty if every weight has a pair.
    """

    pairs: tuple[Pair, ...]
    left: tuple[tuple[int | None, int | None], ...]
    differences: tuple[StateDifference, ...]


def match(
    live: Sequence[Weight], saved: Sequence[Weight], automatic: Collection[str] | None = None
) -> MatchPlan:
    """Pair weights by structure, then by name.

    If the structure matches completely, and no name shows that two weights have changed places, the
    structure decides. Otherwise names decide, if all of them match. If neither matches completely,
    each weight is paired by place if shape and name allow it, then by name. The rest is reported.
    A place in an order that others could have taken is no match unless the names agree.

    Args:
        live: the model's weights.
        saved: the source's weights.
        automatic: the names that Keras gives to layers by itself, without their numbers. They say
            in which order layers were made, not what they are, so they identify no weight. None if
            they are not known: then the order of their numbers identifies weights, too.
    """
    live_names, saved_names = _names(live, automatic), _names(saved, automatic)
    by_structure = _paired([each.address for each in live], [each.address for each in saved])
    by_name = _paired(live_names, saved_names)
    known_live, known_saved = Counter(live_names), Counter(saved_names)
    known_rivals = Counter((each.rivals, _variable(each.name)) for each in live)

    def guessed(i: int, j: int) -> bool:
        """Return whether only an order pairs two weights, and others could have the same place."""
        if not live[i].rivals or by_name.get(i) == j:
            return False
        name = _variable(live[i].name)
        return name != _variable(saved[j].name) or known_rivals[live[i].rivals, name] > 1

    def agree(i: int, j: int) -> bool:
        return live[i].dtype == saved[j].dtype and fits(saved[j].shape, live[i].shape)

    def moved(i: int, j: int) -> bool:
        """Return whether the names differ but one of them also exists on the other side.

        A name that several weights of its own side have, as the parts of two layers of attention
        with automatic names, says nothing about any of them.
        """
        a, b = live_names[i], saved_names[j]
        return (
            bool(a and b)
            and a != b
            and (
                (a in known_saved and known_live[a] == 1)
                or (b in known_live and known_saved[b] == 1)
            )
        )

    for pairs, how in ((by_structure, STRUCTURE), (by_name, NAME)):
        whole = len(pairs) == len(live) == len(saved) and all(agree(i, j) for i, j in pairs.items())
        if whole and (
            how == NAME or not any(moved(i, j) or guessed(i, j) for i, j in pairs.items())
        ):
            return MatchPlan(tuple(Pair(i, j, how) for i, j in sorted(pairs.items())), (), ())
    chosen = {
        i: Pair(i, j, STRUCTURE)
        for i, j in by_structure.items()
        if agree(i, j) and not moved(i, j) and not guessed(i, j)
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


def match_without(
    live: Sequence[Weight],
    saved: Sequence[Weight],
    automatic: Collection[str] | None,
    patterns: tuple[str, ...],
) -> MatchPlan:
    """Pair the weights of which no path matches a pattern; see `match` and `is_left_out`.

    A weight that is left out is removed before the others are paired. Otherwise its value could
    land in another layer of the same form.

    Args:
        live, saved, automatic: as for `match`.
        patterns: what is left out, on either side.
    """
    kept = [i for i, each in enumerate(live) if not is_left_out(each.key, patterns)]
    rest = [
        j
        for j, each in enumerate(saved)
        if not is_left_out(each.name, patterns) and not is_left_out(each.key, patterns)
    ]
    plan = match([live[i] for i in kept], [saved[j] for j in rest], automatic)
    left = [(None if i is None else kept[i], None if j is None else rest[j]) for i, j in plan.left]
    # Nothing needs a saved weight at the place of one that is left out. Its name may be unknown.
    places = {each.address for i, each in enumerate(live) if i not in set(kept)} - {""}
    needed = [
        number
        for number, (i, j) in enumerate(left)
        if i is not None or j is None or saved[j].address not in places
    ]
    return MatchPlan(
        tuple(Pair(kept[pair.live], rest[pair.saved], pair.by) for pair in plan.pairs),
        tuple(left[number] for number in needed),
        tuple(plan.differences[number] for number in needed),
    )


def without_effect(
    live: Sequence[Weight], saved: Sequence[Weight], patterns: tuple[str, ...]
) -> list[str]:
    """Return the patterns that match no weight of either side."""
    paths = {each.key for each in live}.union(*((each.name, each.key) for each in saved))
    return [each for each in patterns if not any(is_left_out(path, (each,)) for path in paths)]


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
    kind = (
        "shape"
        if not fits(saved[j].shape, live[i].shape)
        else "dtype"
        if saved[j].dtype != live[i].dtype
        else ORDER
    )
    name = live[i].key if saved[j].key == live[i].key else f"{live[i].key}  (from {saved[j].key})"
    return StateDifference(kind, name, saved[j].form, live[i].form)


def _called(weight: Weight) -> str:
    return (
        weight.key
        if not weight.name or weight.name in weight.key
        else f"{weight.key}  ({weight.name})"
    )


def _variable(name: str) -> str:
    """Return the last part of a weight's name, without an automatic number."""
    return _NUMBER.sub("", name.removesuffix(":0").rpartition("/")[2])


def _paired(live: Sequence[str], saved: Sequence[str]) -> dict[int, int]:
    """Return the pairs of weights with the same unique, non-empty label on both sides."""
    several = {
        mark for marks in (live, saved) for mark, times in Counter(marks).items() if times > 1
    }
    where = {mark: number for number, mark in enumerate(saved) if mark and mark not in several}
    return {number: where[mark] for number, mark in enumerate(live) if mark in where}


def _names(weights: Sequence[Weight], automatic: Collection[str] | None) -> list[str]:
    """Return names without the parts that only one program or file adds.

    These are the model's own name as a prefix, and automatic numbers such as in `dense_1`. A name
    without any part that the user has chosen is left out.
    """
    names = [weight.name.removesuffix(":0") for weight in weights]
    given = [name.split("/") for name in names if name]
    if (
        len(given) > 1
        and all(len(parts) > 2 for parts in given)
        and len({parts[0] for parts in given}) == 1
    ):
        names = [name.partition("/")[2] for name in names]
    if automatic is not None:
        return [_chosen(name, automatic) for name in names]
    return [new if name else "" for new, name in zip(renumbered(names), names, strict=True)]


def _chosen(name: str, automatic: Collection[str]) -> str:
    """Return a name without automatic numbers, or "" if no layer in it has a name of its own.

    Of two layers in a named block, `dense` and `dense_1`, only the block is known by its name.
    """
    *layers, variable = name.split("/")
    known = ["" if _is_automatic(layer, automatic) else layer for layer in layers]
    return "" if layers and not any(known) else "/".join([*known, variable])


def _is_automatic(layer: str, automatic: Collection[str]) -> bool:
    return _WRAPPED.sub("", _NUMBER.sub("", layer)) in automatic
