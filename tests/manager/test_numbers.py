"""Statistics and differences of tensors against NumPy's own, over random values of every type."""

from __future__ import annotations

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from ckptkit.load import numeric_values as cut
from ckptkit.load.tensor_differences import difference
from ckptkit.load.tensor_statistics import EMPTY, NO_NUMBERS, NO_ORDER, NOT_FINITE, statistics

RNG = np.random.default_rng()

FLOATS = [
    np.float16,
    np.float32,
    np.float64,
    ml_dtypes.bfloat16,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e5m2,
]
WHOLE = [
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    ml_dtypes.int4,
    ml_dtypes.uint4,
]
COMPLEX = [np.complex64, np.complex128]
SHAPES = [(), (1,), (7, 3), (3, 1, 5), (1000,)]


def named(dtype: object) -> str:
    return np.dtype(dtype).name


@pytest.fixture(autouse=True, params=["one piece", "many"])
def _pieces_of_every_size(request, monkeypatch):
    """What is computed must not depend on how tensors are cut."""
    if request.param == "many":
        monkeypatch.setattr(cut, "_PIECE", int(RNG.integers(1, 40)))


def bits_of(dtype: object, shape: tuple[int, ...]) -> np.ndarray:
    """Values of all kinds that a type has: NaN of several bits, infinite, subnormal, both zeros."""
    width, count = np.dtype(dtype).itemsize, math.prod(shape)
    if np.dtype(dtype).name in ("int4", "uint4"):
        low = -8 if np.dtype(dtype).name == "int4" else 0
        return RNG.integers(low, low + 16, shape).astype(dtype)
    return np.frombuffer(RNG.bytes(width * count), dtype).reshape(shape).copy()


def some(dtype: object, shape: tuple[int, ...]) -> np.ndarray:
    """Values as a model has them, with a few NaN and infinite ones."""
    values = RNG.normal(size=shape) * 10.0 ** RNG.integers(-3, 3)
    values = np.where(RNG.random(shape) < 0.1, RNG.choice([np.nan, np.inf, -np.inf], shape), values)
    return np.asarray(values).astype(dtype)


def wide(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=named)
@pytest.mark.parametrize("made", [some, bits_of])
def test_statistics_of_floats(dtype, shape, made):
    values = made(dtype, shape)
    found = statistics(values)
    with np.errstate(invalid="ignore"):
        all_values = wide(values)
    finite = all_values[np.isfinite(all_values)]
    assert found.elements == values.size
    assert (found.nan, found.inf) == (np.isnan(all_values).sum(), np.isinf(all_values).sum())
    if not finite.size:
        assert (found.min, found.max, found.mean, found.note) == (None, None, None, NOT_FINITE)
        return
    assert (found.min, found.max, found.note) == (finite.min(), finite.max(), "")
    exact = float(sum(map(Fraction, finite.tolist())) / finite.size)
    assert found.mean == pytest.approx(exact, rel=1e-9, abs=1e-12 * np.abs(finite).max())
    assert math.isfinite(found.mean)


@pytest.mark.parametrize("dtype", WHOLE, ids=named)
def test_statistics_of_whole_numbers_are_exact(dtype):
    values = bits_of(dtype, (41, 5))
    found = statistics(values)
    numbers = [int(value) for value in values.reshape(-1)]
    assert (found.min, found.max, found.nan, found.inf, found.note) == (
        min(numbers),
        max(numbers),
        0,
        0,
        "",
    )
    assert type(found.min) is type(found.max) is int
    assert found.mean == pytest.approx(
        sum(numbers) / len(numbers), rel=1e-12, abs=1e-6 * max(map(abs, numbers))
    )


def test_statistics_of_bool_are_those_of_0_and_1():
    values = RNG.random(100) < 0.3
    found = statistics(values)
    assert (found.min, found.max, found.mean) == (
        int(values.min()),
        int(values.max()),
        values.mean(),
    )


@pytest.mark.parametrize("dtype", COMPLEX, ids=named)
def test_complex_numbers_have_a_mean_and_no_order(dtype):
    values = (RNG.normal(size=50) + 1j * RNG.normal(size=50)).astype(dtype)
    values[[3, 4, 5]] = complex(np.nan, 1), complex(np.inf, 0), complex(np.nan, np.inf)
    found = statistics(values)
    assert (found.min, found.max, found.note, found.nan, found.inf) == (None, None, NO_ORDER, 2, 2)
    finite = values[np.isfinite(values)].astype(np.complex128)
    assert finite.size == 47
    assert found.mean == pytest.approx(finite.mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (np.array([b"text", b""], object), NO_NUMBERS),
        (np.array([b"ab"], "S2"), NO_NUMBERS),
        (np.zeros(2, [("x", "f4")]), NO_NUMBERS),
        (np.zeros((0, 3), np.float32), EMPTY),
        (np.zeros(0, np.int64), EMPTY),
        (np.zeros(0, complex), EMPTY),
        (np.full(3, np.nan), NOT_FINITE),
        (np.array([np.inf, -np.inf]), NOT_FINITE),
    ],
    ids=lambda each: each if isinstance(each, str) else str(each.dtype),
)
def test_where_a_statistic_has_no_meaning_that_is_said(values, note):
    found = statistics(values)
    assert (found.min, found.max, found.mean, found.note, found.elements) == (
        None,
        None,
        None,
        note,
        values.size,
    )


def test_a_mean_does_not_overflow():
    largest = np.finfo(np.float64).max
    assert statistics(np.full(100, largest)).mean == pytest.approx(largest)
    assert statistics(np.array([largest, largest, -largest])).mean == pytest.approx(largest / 3)
    assert (
        statistics(np.full(70_000, 1.0, np.float16)).mean == 1
    )  # in float16 itself the sum would be infinite


def test_a_view_is_read_as_it_is():
    values = RNG.normal(size=(60, 40)).astype(np.float32)
    assert statistics(values.T[::2]).mean == pytest.approx(values.T[::2].mean(dtype=np.float64))
    assert difference(values.T, values.T.copy()).equal


# -- differences


def expected(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The largest absolute and relative difference, value by value in plain Python."""
    absolute, relative = [], []
    for x, y in zip(a.reshape(-1), b.reshape(-1), strict=True):
        p, q = (complex(x), complex(y)) if a.dtype.kind == "c" else (float(x), float(y))
        either_nan, both_nan = (p != p) or (q != q), (p != p) and (q != q)
        if p == q or both_nan:
            absolute.append(0.0)
            relative.append(0.0)
        elif either_nan:
            absolute.append(math.nan)
            relative.append(math.nan)
        elif not math.isfinite(abs(p)) or not math.isfinite(abs(q)):
            absolute.append(math.inf)
            relative.append(math.inf)
        else:
            absolute.append(abs(p - q))
            relative.append(abs(p / 4 - q / 4) / max(abs(p / 4), abs(q / 4)))
    return (max(each, key=lambda value: (value != value, value)) for each in (absolute, relative))


@pytest.mark.parametrize("dtype", FLOATS, ids=named)
@pytest.mark.parametrize("made", [some, bits_of])
def test_differences_of_floats(dtype, made):
    a, b = made(dtype, (23, 4)), made(dtype, (23, 4))
    same = RNG.random(a.shape) < 0.5
    b[same] = a[same]
    found = difference(a, b)
    as_bits = np.dtype(f"u{a.dtype.itemsize}")
    assert found.differing == (a.view(as_bits) != b.view(as_bits)).sum()
    with np.errstate(all="ignore"):
        absolute, relative = expected(a, b)
    assert found.largest_absolute == pytest.approx(absolute, nan_ok=True, rel=1e-12)
    assert found.largest_relative == pytest.approx(relative, nan_ok=True, rel=1e-9)
    np.testing.assert_equal([found.a, found.b], [float(a[found.at]), float(b[found.at])])


@pytest.mark.parametrize("dtype", WHOLE, ids=named)
def test_differences_of_whole_numbers_are_exact(dtype):
    a, b = bits_of(dtype, (60,)), bits_of(dtype, (60,))
    found = difference(a, b)
    gaps = [abs(int(x) - int(y)) for x, y in zip(a, b, strict=True)]
    assert (found.differing, found.largest_absolute, found.at) == (
        sum(map(bool, gaps)),
        max(gaps),
        (gaps.index(max(gaps)),),
    )
    assert (found.a, found.b) == (int(a[found.at]), int(b[found.at]))


@pytest.mark.parametrize("dtype", COMPLEX, ids=named)
def test_differences_of_complex_numbers(dtype):
    a = (RNG.normal(size=30) + 1j * RNG.normal(size=30)).astype(dtype)
    b = a.copy()
    b[7] += 0.5j
    found = difference(a, b)
    assert (found.differing, found.at) == (1, (7,))
    assert found.largest_absolute == pytest.approx(0.5, rel=1e-6)
    assert found.a == complex(a[7])


@pytest.mark.parametrize("dtype", [*FLOATS, *WHOLE[:8], *COMPLEX, np.bool_], ids=named)
def test_one_bit_is_found(dtype):
    a = bits_of(dtype, (5, 67)) if dtype is not np.bool_ else RNG.random((5, 67)) < 0.5
    b = a.copy()
    at = tuple(int(RNG.integers(0, size)) for size in a.shape)
    here = b.view(np.uint8).reshape(*a.shape, a.dtype.itemsize)
    here[at][int(RNG.integers(0, a.dtype.itemsize))] ^= (
        1 if dtype is np.bool_ else np.uint8(1 << RNG.integers(0, 8))
    )
    found = difference(a, b)
    assert (found.differing, found.at) == (1, at)
    assert not found.equal
    assert difference(a, a.copy()).equal


def test_what_differs_in_its_bits_alone():
    zeros = difference(np.array([0.0, 1.0]), np.array([-0.0, 1.0]))
    assert (zeros.differing, zeros.largest_absolute, zeros.largest_relative, zeros.at) == (
        1,
        0.0,
        0.0,
        (0,),
    )
    other_nan = np.array([np.nan]).view(np.uint64) | 1
    assert difference(np.array([np.nan]), np.array([np.nan])).equal
    nans = difference(np.array([np.nan]), other_nan.view(np.float64))
    assert (nans.differing, nans.largest_absolute) == (1, 0.0)


def test_texts_are_compared_one_by_one():
    found = difference(np.array([b"a", b"b", b"c"], object), np.array([b"a", b"x", b"y"], object))
    assert (found.differing, found.largest_absolute, found.at, found.a, found.b) == (
        2,
        None,
        (1,),
        b"b",
        b"x",
    )


def test_two_types_are_compared_as_numbers():
    a = RNG.normal(size=40).astype(np.float32)
    a[0] = np.nan
    assert difference(a, a.astype(np.float64)).equal
    half = difference(a, a.astype(np.float16))
    assert half.differing > 0
    assert half.largest_relative < 2**-10
    assert half.note


def test_empty_tensors_are_equal():
    assert difference(np.zeros((0, 4)), np.zeros((0, 4))).equal


def test_the_largest_is_found_wherever_it_is():
    a = RNG.normal(size=(11, 13))
    b = a + RNG.normal(size=a.shape) * 1e-3
    at = tuple(int(RNG.integers(0, size)) for size in a.shape)
    b[at] += 5
    found = difference(a, b)
    assert (found.at, found.differing) == (at, a.size)
    assert found.largest_absolute == np.abs(a - b).max()
