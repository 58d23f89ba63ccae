"""Which tensor of one checkpoint is which of another one, and how their forms differ. Pure, and
imports no TensorFlow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ckptkit.load.tensor_list import VARIABLE, Tensor, TensorPart
from ckptkit.load.weight_matching import Weight, match
from ckptkit.run.manifest import RESULT, WEIGHTS


@dataclass(frozen=True)
class Pairing:
    """The tensors of two sides.

    Args:
        pairs: those of both, as `(a, b)`, in the order of `a`.
        removed: those that only `a` has.
        added: those that only `b` has.
    """

    pairs: tuple[tuple[Tensor, Tensor], ...]
    removed: tuple[Tensor, ...]
    added: tuple[Tensor, ...]

    @property
    def reshaped(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """The pairs of different shapes."""
        return tuple((a, b) for a, b in self.pairs if a.shape != b.shape)

    @property
    def retyped(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """The pairs of different types, or of a variable and something else."""
        return tuple((a, b) for a, b in self.pairs if a.dtype != b.dtype or a.kind != b.kind)

    @property
    def same_form(self) -> bool:
        """Whether each has its pair, of the same shape and type."""
        return not (self.removed or self.added or self.reshaped or self.retyped)


def pair(a: Sequence[Tensor], b: Sequence[Tensor], *, one_format: bool) -> Pairing:
    """Pairs the tensors of two sides.

    Variables of two runs are paired state by state and role by role, by their keys, as far as no
    name says that two have changed places; the rest of a run by keys alone. Of other formats,
    weights are paired with weights and optimizers with optimizers, by keys and then by names
    without their automatic numbers. Where one side has numbers in the place of variables' names, a
    layer's name and the order in it count.

    Args:
        a, b: the tensors of each side, in the order of their files.
        one_format: whether both sides are of one format; else only what `of_two_formats` lets
            through is compared.
    """
    if not one_format:
        a, b = of_two_formats(a), of_two_formats(b)
    pairs: list[tuple[int, int]] = []
    ours, theirs = _grouped(a, one_format), _grouped(b, one_format)
    for group, mine in ours.items():
        other = theirs.get(group, [])
        found = (_paired if group else _by_key)(
            [a[number] for number in mine], [b[number] for number in other]
        )
        pairs += [(mine[i], other[j]) for i, j in found]
    pairs.sort()
    return Pairing(
        tuple((a[i], b[j]) for i, j in pairs),
        _others(a, {i for i, _ in pairs}),
        _others(b, {j for _, j in pairs}),
    )


def _paired(a: Sequence[Tensor], b: Sequence[Tensor]) -> list[tuple[int, int]]:
    names = [tensor.name for tensor in a], [tensor.name for tensor in b]
    if _only_numbers(a) != _only_numbers(b):
        names = _by_order(a), _by_order(b)
    plan = match(_weights(a, names[0]), _weights(b, names[1]))
    return [(each.live, each.saved) for each in plan.pairs] + [
        (i, j) for i, j in plan.left if i is not None and j is not None
    ]


def _by_key(a: Sequence[Tensor], b: Sequence[Tensor]) -> list[tuple[int, int]]:
    where = {tensor.key: number for number, tensor in enumerate(b)}
    return [(number, where[tensor.key]) for number, tensor in enumerate(a) if tensor.key in where]


def of_two_formats(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What can be compared with another format: weights and optimizers; of weights that training
    has ended with, not those it would go on from.
    """
    keys = {tensor.key for tensor in tensors}
    return tuple(
        tensor
        for tensor in tensors
        if tensor.part is not TensorPart.REST and _result_of(tensor.key) not in keys
    )


def _result_of(key: str) -> str:
    """The key of the weight that training has ended with, for one that it would go on from."""
    state, _, rest = key.partition(f"/{WEIGHTS}/")
    return f"{state}/{RESULT}/{rest}" if rest else ""


def _grouped(tensors: Sequence[Tensor], one_format: bool) -> dict[str, list[int]]:
    """Numbers of tensors, by what is compared with each other; of what is no variable, by nothing."""
    groups: dict[str, list[int]] = {}
    for number, tensor in enumerate(tensors):
        group = (
            ""
            if tensor.kind != VARIABLE
            else tensor.group
            if one_format and tensor.group
            else str(tensor.part)
        )
        groups.setdefault(group, []).append(number)
    return groups


def _weights(tensors: Sequence[Tensor], names: Sequence[str]) -> list[Weight]:
    return [
        Weight(
            key=tensor.key,
            address=tensor.key,
            name=name,
            shape=(-1,) if tensor.shape is None else tensor.shape,
            dtype=tensor.dtype,
        )
        for tensor, name in zip(tensors, names, strict=True)
    ]


def _only_numbers(tensors: Iterable[Tensor]) -> bool:
    return all(_last(tensor.name).isdecimal() for tensor in tensors)


def _by_order(tensors: Sequence[Tensor]) -> list[str]:
    """`dense_1/0` for the first variable of a layer, whatever it is called."""
    before: Counter[str] = Counter()
    names = []
    for tensor in tensors:
        owner = tensor.name.rpartition("/")[0]
        number = _last(tensor.name)
        names.append(f"{_last(owner)}/{number if number.isdecimal() else before[owner]}")
        before[owner] += 1
    return names


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _others(tensors: Sequence[Tensor], paired: set[int]) -> tuple[Tensor, ...]:
    return tuple(tensor for number, tensor in enumerate(tensors) if number not in paired)
