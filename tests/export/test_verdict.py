"""Which outputs are equal, close enough, or refused: pure decisions, without TensorFlow."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ckptkit.errors import ExportError
from ckptkit.export.output_comparison import Tolerances, compare
from ckptkit.export.proof_verdict import judge, may_need_a_gpu
from ckptkit.exports.export_record import (
    ExportRecord,
    ExportSource,
    Proof,
    SignatureRecord,
    decode_export,
    encode_export,
    is_inside,
)
from ckptkit.exports.version_directories import Version, superseded

USUAL = Tolerances.of(None, None, half=False)


def floats(*values, dtype="float32"):
    return np.array(values, dtype)


@pytest.mark.parametrize(
    ("live", "exported", "equal", "problem"),
    [
        (floats(1, 2), floats(1, 2), True, ""),
        (floats(1, 2), floats(1, 2.001), False, ""),
        (
            floats(1, 2),
            floats(1, 2.01),
            False,
            r"is 2.00999\d+ at \[1\], but the live model gives 2 ",
        ),
        (floats(1000, 0), floats(1000, 0.009), False, ""),
        (
            floats(1, 0),
            floats(1, 0.009),
            False,
            r"is 0.00\d+ at \[1\], but the live model gives 0",
        ),
        (
            floats(1, 2),
            floats(1, np.nan),
            False,
            r"is nan at \[1\], but the live model gives 2.0 \(1 of 2 values\)",
        ),
        (
            floats(1, np.nan),
            floats(1, 2),
            False,
            r"is 2.0 at \[1\], but the live model gives nan",
        ),
        (floats(np.inf, np.nan), floats(np.inf, np.nan), True, ""),
        (
            floats(np.inf, 1),
            floats(-np.inf, 1),
            False,
            r"is -inf at \[0\], but the live model gives inf",
        ),
        (floats(np.inf, 1), floats(np.inf, 1.0001), False, ""),
        (floats(-0.0), floats(0.0), True, ""),
        (
            floats(3, 4, dtype="int64"),
            floats(3, 5, dtype="int64"),
            False,
            r"is 5 at \[1\], but the live model gives 4",
        ),
        (
            floats(10**6, dtype="int64"),
            floats(10**6 + 1, dtype="int64"),
            False,
            r"but the live model gives 1000000",
        ),
        (floats(0, 255, dtype="uint8"), floats(255, 255, dtype="uint8"), False, r"is 255 at \[0\]"),
        (floats(1j, dtype="complex64"), floats(2j, dtype="complex64"), False, r"is "),
        (np.array([b"a", b"b"], object), np.array([b"a", b"c"], object), False, "in 1 of 2 values"),
        (np.array([b"a"], object), np.array([b"a"], object), True, ""),
        (np.array([True]), np.array([False]), False, "in 1 of 1 values"),
        (
            floats(1),
            floats(1, dtype="float64"),
            False,
            r"is float64\[1\]; the live model's is float32\[1\]",
        ),
        (floats(1, 2), floats(1), False, r"is float32\[1\]; the live model's is float32\[2\]"),
        (floats(), floats(), True, ""),
    ],
)
def test_two_outputs(live, exported, equal, problem):
    found = compare({"out": live}, {"out": exported}, USUAL)
    assert (found.equal, bool(found.problem)) == (equal, bool(problem))
    assert re.search(problem, found.problem)


def test_outputs_that_are_missing_or_too_many():
    assert (
        compare({"a": floats(1)}, {"b": floats(1)}, USUAL).problem
        == "its outputs are b; the live model's are a"
    )


def test_tolerances_are_what_was_asked_for():
    live, near = {"out": floats(1)}, {"out": floats(1.01)}
    assert compare(live, near, USUAL).problem
    assert not compare(live, near, Tolerances.of(None, None, half=True)).problem
    assert not compare(live, near, Tolerances.of(0.02, None, half=False)).problem
    assert compare(live, near, Tolerances.of(0.0, 0.0, half=True)).problem


def judged(live, exported, *, again=None, graph=None) -> Proof:
    return judge(
        {"out": live},
        {"out": exported},
        USUAL,
        again=lambda: {"out": live if again is None else again},
        graph=lambda: {"out": live if graph is None else graph},
    )


def test_what_a_comparison_proves():
    live, near, far = floats(1, 2), floats(1, 2.0001), floats(1, 3)
    assert judged(live, live) == Proof(how="equal_bits")
    proof = judged(live, near)
    assert (proof.how, proof.rtol, proof.atol) == ("within_tolerances", USUAL.rtol, USUAL.atol)
    assert proof.largest_difference == pytest.approx(1e-4, rel=0.01)
    assert judged(live, near, graph=near).how == "equal_bits"
    with pytest.raises(ExportError, match="but the live model gives 2"):
        judged(live, far)
    with pytest.raises(ExportError, match="but the live model gives 2"):
        judged(
            live, far, graph=far
        )  # a graph that is another one than the call is the export's mistake, too


def test_a_live_model_that_is_random_is_compared_as_far_as_it_can_be():
    live, other = floats(1, 2), floats(5, 6)
    assert judged(live, floats(8, 9), again=other).how == "runs"
    for exported, said in (
        (floats(8), "is float32"),
        (floats(8, np.nan), "is not finite"),
        (floats(1, 2, dtype="int32"), "is int32"),
    ):
        with pytest.raises(ExportError, match=said):
            judged(live, exported, again=other)


@pytest.mark.parametrize(
    ("said", "needs"),
    [
        (
            "No OpKernel was registered to support Op 'CudnnRNN' used by {{node a}}\nRegistered "
            "devices: [CPU]\nRegistered kernels:\n  device='GPU'",
            True,
        ),
        (
            "The Conv2D op currently only supports the NHWC tensor format on the CPU. The op was "
            "given the format: NCHW",
            True,
        ),
        ("Default MaxPoolingOp only supports NHWC on device type CPU", True),
        (
            "No OpKernel was registered to support Op 'MyOp' used by {{node a}}\nRegistered "
            "devices: [CPU]\nRegistered kernels:\n  <none>",
            False,
        ),
        ("Op type not registered 'MyOp' in binary running on CPU", False),
        ("pyfunc_3: KeyError", False),
    ],
)
def test_what_needs_a_gpu_is_unproven_and_what_is_broken_is_not(said, needs):
    assert may_need_a_gpu(on_gpu=True, said=said) is needs
    assert not may_need_a_gpu(on_gpu=False, said=said)


def version(number: int, *, ours: bool = True) -> Version:
    return Version(number, None, RECORD if ours else None)  # type: ignore[arg-type]


RECORD = ExportRecord(
    exported_at=1.5,
    model="m",
    source=ExportSource(step=3),
    default="serve",
    sample="given",
    variables="v",
    check_secs=1.0,
    signatures={
        "serve": SignatureRecord(
            inputs=(), outputs=(), proof=Proof(how="within_tolerances", largest_difference=1e-5)
        )
    },
)


@pytest.mark.parametrize(
    ("ours", "others", "keep", "going"),
    [
        ([1, 2, 3], [], 2, [1]),
        ([1, 2, 3], [], 1, [1, 2]),
        ([1, 2, 3], [], None, []),
        ([1], [], 1, []),
        ([], [1, 2, 3], 1, []),
        ([9, 10, 100], [], 1, [9, 10]),
        ([1, 3, 5], [2, 9], 1, [1, 3]),
        ([1, 3], [2], 2, []),
    ],
)
def test_which_versions_go(ours, others, keep, going):
    versions = [version(number) for number in ours] + [
        version(number, ours=False) for number in others
    ]
    assert [each.number for each in superseded(versions, keep)] == going


def test_a_record_is_read_as_it_was_written_and_not_when_it_was_changed(tmp_path):
    data = encode_export(RECORD)
    assert decode_export(data, tmp_path) == RECORD
    for index in range(0, len(data), 7):
        with pytest.raises(ExportError):
            decode_export(data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :], tmp_path)
    later = encode_export(
        ExportRecord(
            **{
                **{name: getattr(RECORD, name) for name in RECORD.__struct_fields__},
                "format_version": 2,
            }
        )
    )
    with pytest.raises(ExportError, match="Install a newer one"):
        decode_export(later, tmp_path)


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("a", True),
        ("a/b", True),
        ("../a", False),
        ("/a", False),
        ("a//b", False),
        ("", False),
        ("a/../b", False),
        ("./a", False),
        ("a\0", False),
    ],
)
def test_paths_of_a_record_lead_inside(name, inside):
    assert is_inside(name) is inside
