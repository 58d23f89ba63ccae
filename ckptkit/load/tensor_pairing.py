"""Pairs the tensors of two checkpoints, and finds differences in shape and type. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ckptkit.load.tensor_list import VARIABLE, Tensor, TensorPart
from ckptkit.load.weight_matching import Weight, match
from ckptkit.run.manifest import RESULT, WEIGHTS


@dataclass(frozen=True)
class Pairing:
    """The tensors of two sides, paired.

    Args:
        pairs: tensors that both sides have, as `(a, b)`, in the order of `a`.
        removed: tensors that only `a` has.
        added: tensors that only `b` has.
    """

    pairs: tuple[tuple[Tensor, Tensor], ...]
    removed: tuple[Tensor, ...]
    added: tuple[Tensor, ...]

    @property
    def reshaped(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """The pairs with different shapes."""
        return tuple((a, b) for a, b in self.pairs if a.shape != b.shape)

    @property
    def retyped(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """The pairs with different types, or of a variable and something else."""
        return tuple((a, b) for a, b in self.pairs if a.dtype != b.dtype or a.kind != b.kind)

    @property
    def same_form(self) -> bool:
        """Whether every tensor has its pair, with the same shape and type."""
        return not (self.removed or self.added or self.reshaped or self.retyped)


def pair(a: Sequence[Tensor], b: Sequence[Tensor], *, one_format: bool) -> Pairing:
    """Pair the tensors of two sides.

    Variables of two runs are paired by key, separately for each entry and role, unless names show
    that two have changed places. All other tensors of runs are paired by key. In other formats,
    weights are paired with weights and optimizers with optimizers: by key, then by name without
    automatic numbers. If one side has numbers instead of variable names, the layer's name and the
    order in the layer decide.

    Args:
        a, b: the tensors of each side, in the order of their files.
        one_format: whether both sides have the same format; if not, only the tensors that
            `of_two_formats` returns are compared.
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
    """Return the tensors that can be compared with another format: weights and optimizers.

    If the final weights differ from those to resume from, the final weights are returned.
    """
    keys = {tensor.key for tensor in tensors}
    return tuple(
        tensor
        for tensor in tensors
        if tensor.part is not TensorPart.REST and _result_of(tensor.key) not in keys
    )


def _result_of(key: str) -> str:
    """Return the key of the final value of a weight."""
    state, _, rest = key.partition(f"/{WEIGHTS}/")
    return f"{state}/{RESULT}/{rest}" if rest else ""


def _grouped(tensors: Sequence[Tensor], one_format: bool) -> dict[str, list[int]]:
    """Return the indices of tensors by comparison group; "" is for non-variables."""
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
    """Return names by layer and order: `dense_1/0` for the first variable of a layer."""
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
