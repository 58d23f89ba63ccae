"""What a checkpoint says of itself: written and read back, and never believed blindly."""

from __future__ import annotations

import contextlib
import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ckptkit
from ckptkit.run.data_anchor_entry import AnchorEntry
from ckptkit.run.manifest import (
    FileEntry,
    LaterFormatError,
    decode,
    encode,
    format_version,
    from_numbers,
    read_manifest,
    seal,
    to_number,
    to_numbers,
)
from ckptkit.run.tensor_entry import TensorEntry
from tests.support.stored_run import manifest

WHERE = Path("somewhere/manifest.json")
TENSOR = {"key": "model/weights/0", "kind": "variable", "path": "", "shape": [], "dtype": "int8"}


@given(st.dictionaries(st.text(max_size=5), st.floats()))
def test_every_float_survives(values):
    read = from_numbers(json.loads(json.dumps(to_numbers(values), allow_nan=False)))
    assert read.keys() == values.keys()
    assert all(
        read[name] == value or (math.isnan(read[name]) and math.isnan(value))
        for name, value in values.items()
    )


@given(
    step=st.integers(0, 10**18 - 1),
    epoch=st.integers(0, 10**9),
    batch=st.integers(0, 10**9),
    attempt=st.integers(1, 10**9 - 1),
    saved_at=st.floats(0, 1e11),
    trigger=st.text(max_size=20),
    metrics=st.dictionaries(st.text(max_size=5), st.floats()),
    extremes=st.dictionaries(
        st.text(max_size=5),
        st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False)),
    ),
    shape=st.one_of(
        st.none(), st.lists(st.one_of(st.none(), st.integers(0, 2**40)), max_size=4).map(tuple)
    ),
    hyperparameters=st.dictionaries(
        st.text(max_size=5),
        st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text()),
    ),
    versions=st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
    final=st.booleans(),
    total=st.one_of(st.none(), st.integers(0, 10**9)),
    files=st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), unique=True, max_size=3),
)
def test_a_manifest_is_read_as_it_was_written(
    step, attempt, metrics, extremes, shape, files, **fields
):
    written = manifest(
        step,
        attempt,
        metrics=to_numbers(metrics),
        extremes={
            name: (to_number(low), to_number(high)) for name, (low, high) in extremes.items()
        },
        tensors=(
            TensorEntry(
                key="m/weights/0",
                kind="variable",
                path="p",
                shape=shape,
                dtype="float32",
                trainable=None,
            ),
        ),
        files=tuple(
            FileEntry(name=name, size_bytes=len(name), digest="xxh3_128:0") for name in files
        ),
        **fields,
    )
    assert decode(encode(written), WHERE) == written


def test_the_form_on_disk():
    """A change here is a change of the format: raise its version, and keep this form readable."""
    form = json.loads(
        encode(
            manifest(
                metrics={"loss": 0.5, "val_loss": "nan"},
                extremes={"loss": (0.25, 1.0)},
                total=3,
                fresh_labels=("b",),
            )
        )
    )
    assert re.fullmatch("xxh3_128:[0-9a-f]{32}", form.pop("digest"))
    assert form == {
        "step": 100,
        "epoch": 1,
        "batch": 2,
        "attempt": 1,
        "saved_at": 1.5e9,
        "trigger": "every 100 steps",
        "states": [{"name": "model", "class_name": "Functional", "classes": {"optimizer": "Adam"}}],
        "tensors": [
            {
                "key": "model/weights/0",
                "kind": "variable",
                "path": "dense/kernel",
                "shape": [2, None],
                "dtype": "float32",
                "trainable": True,
                "place": "",
            },
            {
                "key": "model/state/0/arrays/1",
                "kind": "python",
                "path": "x",
                "shape": None,
                "dtype": "int64",
                "trainable": None,
                "place": "",
            },
        ],
        "files": [],
        "anchors": [],
        "metrics": {"loss": 0.5, "val_loss": "nan"},
        "extremes": {"loss": [0.25, 1.0]},
        "hyperparameters": {},
        "versions": {},
        "running_averages": False,
        "not_finite": [],
        "final": False,
        "total": 3,
        "early_stop": {},
        "fresh_labels": ["b"],
        "format_version": 2,
    }


def test_what_earlier_readers_would_overlook_makes_a_manifest_of_the_next_format():
    """They would resume at the start of the epoch, or take a part of a sum for the sum."""
    anchor = AnchorEntry(name="", key="fit/data/0", parts=(), batches=0, since=5)
    one, two = (
        TensorEntry(
            key="model/metrics/0",
            kind="variable",
            path="total",
            shape=(),
            dtype="float32",
            replicas=count,
            aggregation="sum",
        )
        for count in (1, 2)
    )
    assert [format_version((), ()), format_version((), (one,))] == [2, 2]
    assert format_version((anchor,), (one,)) == 3
    assert [format_version(anchors, (one, two)) for anchors in ((), (anchor,))] == [4, 4]
    split = manifest(tensors=(two,), format_version=4)
    assert decode(encode(split), WHERE) == split
    counted = manifest(anchors=(anchor,), format_version=3)
    assert decode(encode(counted), WHERE) == counted


def test_fields_of_later_versions_are_skipped():
    assert decode(changed({"colour": "blue"}), WHERE) == manifest()


def changed(fields):
    """A manifest with other fields, and the digest that belongs to them."""
    return seal(
        json.dumps(
            {
                name: value
                for name, value in (json.loads(encode(manifest())) | fields).items()
                if name != "digest"
            }
        ).encode()
    )


def test_a_manifest_of_the_first_format_is_read():
    """It had no digest."""
    data = json.dumps(
        {name: value for name, value in json.loads(encode(manifest())).items() if name != "digest"}
        | {"format_version": 1}
    )
    assert decode(data.encode(), WHERE) == manifest(format_version=1)


def test_a_manifest_of_a_later_format_is_told_from_a_damaged_one():
    with pytest.raises(LaterFormatError, match="Install a newer one"):
        decode(changed({"format_version": 5}), WHERE)
    with pytest.raises(ckptkit.CorruptCheckpointError, match="digest differs") as caught:
        decode(encode(manifest()).replace(b'"format_version": 2', b'"format_version": 5'), WHERE)
    assert not isinstance(caught.value, LaterFormatError)


def test_a_digest_that_is_lost_is_damage():
    with pytest.raises(ckptkit.CorruptCheckpointError, match="digest is missing"):
        decode(encode(manifest()).replace(b'"digest"', b'"dogest"', 1), WHERE)


def test_every_flipped_bit_is_found():
    good = encode(manifest(metrics={"loss": 0.5}))
    for place in range(8 * len(good)):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        with pytest.raises(ckptkit.CorruptCheckpointError):
            decode(bytes(bad), WHERE)


@given(st.binary())
def test_garbage_is_corruption_and_nothing_else(data):
    with pytest.raises(ckptkit.CorruptCheckpointError, match=r"somewhere/manifest\.json"):
        decode(data, WHERE)


@given(st.data())
def test_flipped_bytes_are_a_manifest_or_corruption(data):
    good = bytearray(encode(manifest(metrics={"loss": 0.5})))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ckptkit.CorruptCheckpointError):
        decode(bytes(good), WHERE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"format_version": 5},
            "has format version 5; this ckptkit reads up to 4. Install a newer one.",
        ),
        (
            {
                "tensors": [
                    {"key": "model", "kind": "variable", "path": "", "shape": [], "dtype": "int8"}
                ]
            },
            "is not the key of a tensor",
        ),
        ({"tensors": [{**TENSOR, "replicas": 0}]}, "0 is not a number of replicas"),
        ({"tensors": [{**TENSOR, "replicas": 10**9}]}, "is not a number of replicas"),
        ({"tensors": [{**TENSOR, "replicas": "two"}]}, "is not a manifest"),
        ({"format_version": "1"}, "is not a manifest"),
        ({"step": -1}, "is not a manifest"),
        ({"step": None}, "is not a manifest"),
        ({"metrics": {"loss": "low"}}, "is not a manifest"),
        ({"extremes": {"loss": [1]}}, "is not a manifest"),
        (
            {"files": [{"name": "../../etc/passwd", "size_bytes": 1, "digest": ""}]},
            "is not the name of a file in the manifest's directory",
        ),
        (
            {"files": [{"name": "manifest.json", "size_bytes": 1, "digest": ""}]},
            "is not the name of a file in the manifest's directory",
        ),
        (
            {"files": [{"name": "..", "size_bytes": 1, "digest": ""}]},
            "is not the name of a file in the manifest's directory",
        ),
        (
            {"files": [{"name": "a", "size_bytes": 1, "digest": ""}] * 2},
            "the same file is named twice",
        ),
    ],
    ids=str,
)
def test_a_manifest_that_cannot_be_right(change, said):
    with pytest.raises(ckptkit.CorruptCheckpointError, match="somewhere") as caught:
        decode(changed(change), WHERE)
    assert said in str(caught.value)


def test_deep_json_is_corruption():
    with pytest.raises(ckptkit.CorruptCheckpointError):
        decode(
            b'{"format_version": 1, "hyperparameters": {"a": '
            + b"[" * 100_000
            + b"]" * 100_000
            + b"}}",
            WHERE,
        )


def test_a_manifest_belongs_to_its_directory(save, layout):
    moved = save(100).rename(layout.checkpoints / "ckpt-200-1")
    with pytest.raises(
        ckptkit.CorruptCheckpointError,
        match="is the manifest of ckpt-100-1: files of two checkpoints were mixed",
    ):
        read_manifest(moved)


def test_a_directory_without_a_manifest_is_no_checkpoint(tmp_path):
    with pytest.raises(ckptkit.CorruptCheckpointError, match=r"manifest\.json is missing"):
        read_manifest(tmp_path)


def test_a_tensor_knows_its_role_and_size():
    weight, state = manifest().tensors
    assert (weight.role, state.role) == ("weights", "state")
    assert weight.size_bytes == 0, "of a size that is not fixed nothing can be said"
    assert (
        TensorEntry(
            key="m/optimizer/3", kind="variable", path="", shape=(2, 3), dtype="bfloat16"
        ).size_bytes
        == 12
    )
    assert (
        TensorEntry(
            key="m/optimizer/3", kind="variable", path="", shape=(), dtype="int64"
        ).size_bytes
        == 8
    )
