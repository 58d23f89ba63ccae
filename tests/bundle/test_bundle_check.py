"""What TensorFlow writes passes the check of its files, and impossible numbers do not."""

from __future__ import annotations

import json
import struct

import pytest

import ckptkit
from tests.support.forged_bundles import (
    entry,
    field,
    header,
    masked_crc,
    varint,
    write_bundle,
)

GOOD = """
import json, random, sys
from pathlib import Path
import numpy as np, tensorflow as tf
from ckptkit.bundle.bundle_check import check_bundle

here, chosen = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
NUMBERS = [tf.float32, tf.float64, tf.int8, tf.uint64, tf.bool, tf.bfloat16, tf.complex64, tf.half]
ODD = [tf.dtypes.experimental.int4, tf.dtypes.experimental.uint4]


def shape():
    return [chosen.choice([0, 1, 2, 5, 30]) for _ in range(chosen.choice([0, 1, 2, 3]))]


def number():
    return tf.cast(tf.ones(shape()), chosen.choice(NUMBERS))


def odd():
    return tf.cast(tf.ones(shape(), tf.int8), chosen.choice(ODD))


def quantized():
    return tf.bitcast(tf.ones(shape(), tf.uint8), tf.qint8)


def texts():
    sizes = shape()
    lengths = [chosen.choice([0, 1, 127, 128, 5000]) for _ in range(np.prod(sizes, dtype=int))]
    values = [chosen.randbytes(length) for length in lengths]
    return tf.constant(np.array(values, object).reshape(sizes), tf.string, shape=sizes)


def variant():
    return tf.raw_ops.TensorListReserve(
        element_shape=[2], num_elements=chosen.randint(0, 3), element_dtype=tf.float32
    )


def save(prefix, names, slices, tensors):
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=names, shape_and_slices=slices, tensors=tensors
    )


tensors = parts = 0
for trial in range(40):
    made = [chosen.choice([number, number, texts, odd, quantized, variant])() for _ in range(9)]
    names = [f"k{chosen.choice(['/', '.', ' ', 'é'])}{number}" for number in range(len(made))]
    prefix = here / f"tensors-{trial}"
    save(prefix, names, [""] * len(made), made)
    check_bundle(prefix, None)
    check_bundle(prefix, names)
    tensors += len(made)
for trial in range(40):
    rows, columns = chosen.choice([2, 7, 130, 20000]), chosen.choice([1, 3, 70])
    cuts = sorted({0, rows, *(chosen.randint(1, rows - 1) for _ in range(chosen.randint(1, 4)))})
    whole = np.random.rand(rows, columns).astype("float32")
    name = chosen.choice([b"w", b"a/b", b"z\\xff", b"n\\0ul"])
    written = []
    for number, (begin, end) in enumerate(zip(cuts, cuts[1:])):
        extent = chosen.choice(["-", f"0,{columns}"])
        written.append(here / f"part-{trial}-{number}")
        save(
            written[-1], [name], [f"{rows} {columns} {begin},{end - begin}:{extent}"],
            [whole[begin:end]],
        )
        parts += 1
    prefix = here / f"parts-{trial}"
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(each) for each in written], destination_prefix=str(prefix)
    )
    check_bundle(prefix, None)
print(json.dumps([tensors, parts]))
"""


def test_what_tensorflow_writes_passes(tf_process, tmp_path, seed):
    """All types, texts, variants, several data files, and tensors in parts."""
    process = tf_process(GOOD, tmp_path, seed).check()
    tensors, parts = json.loads(process.stdout.splitlines()[-1])
    assert tensors == 360
    assert parts > 80


DATA = bytes(64)
CRC = masked_crc(DATA[:16])
BIG = 2**62


def texts(*lengths):
    """The data of texts with these lengths, whose checksum is right."""
    numbers = b"".join(struct.pack("<I" if length < 2**32 else "<Q", length) for length in lengths)
    return b"".join(map(varint, lengths)) + struct.pack("<I", masked_crc(numbers)) + DATA


def part(*extents):
    return field(
        7, b"".join(field(1, field(1, start) + field(2, length)) for start, length in extents)
    )


IMPOSSIBLE = {
    "a negative size": ({b"x": entry(1, [4], 0, -1, CRC)}, "-1 bytes at 0"),
    "a negative offset": ({b"x": entry(1, [4], -1, 16, CRC)}, "16 bytes at -1"),
    "a negative dimension": ({b"x": entry(1, [-1], 0, 16, CRC)}, r"shape is \[-1\]"),
    "too many elements": ({b"x": entry(1, [BIG, BIG], 0, 16, CRC)}, "shape is"),
    "too many dimensions": ({b"x": entry(1, [1] * 255, 0, 4, CRC)}, "255 dimensions"),
    "another size": ({b"x": entry(1, [4], 0, 15, CRC)}, "takes 16 bytes, not 15"),
    "an unknown type": ({b"x": entry(99, [4], 0, 16, CRC)}, "no type 99"),
    "a reference": ({b"x": entry(101, [4], 0, 16, CRC)}, "never stored"),
    "no such data file": ({b"x": entry(1, [4], 0, 16, CRC, shard=1)}, "data file 1 of 1"),
    "no message": ({b"x": b"\xff"}, "not a message"),
    "no header": ({b"": b"\xff"}, "header is not a message"),
    "a part outside": (
        {b"x": entry(1, [4], 0, 0, CRC, slices=part((3, 2)))},
        "outside of it",
    ),
    "a part of another rank": (
        {b"x": entry(1, [4], 0, 0, CRC, slices=part((0, 2), (0, 2)))},
        "has 2 dimensions",
    ),
    "a part twice": (
        {b"x": entry(1, [4], 0, 0, CRC, slices=part((0, 2)) * 2)},
        "same part twice",
    ),
    "a part that is missing": (
        {b"x": entry(1, [4], 0, 0, CRC, slices=part((0, 2)))},
        "missing in the index",
    ),
    "a tensor beyond the file": ({b"x": entry(1, [BIG // 4], 0, BIG, CRC)}, "ends at byte"),
    "a text beyond the file": (
        {b"x": entry(7, [2], 64, len(texts(5, BIG)), CRC)},
        "takes 4611686018427387",
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_impossible_numbers_are_refused_before_tensorflow_uses_them(tmp_path, case):
    from ckptkit.bundle.tensor_bundle import open_reader, read_value

    values, said = IMPOSSIBLE[case]
    prefix = write_bundle(tmp_path / "model-1", {b"": header(), **values}, DATA + texts(5, BIG))
    with pytest.raises(ckptkit.CorruptCheckpointError, match=said):
        read_value(open_reader(prefix), prefix, "x")


@pytest.mark.parametrize(
    ("footer", "said"),
    [
        (varint(0) + varint(8) + varint(BIG) + varint(8), "ends beyond"),
        (varint(0) + varint(8) + varint(0) + varint(BIG), "ends beyond"),
        (varint(0) + varint(8) + b"\xff" * 20, "too large"),
    ],
)
def test_an_index_that_leads_out_of_itself_is_refused(tmp_path, footer, said):
    from ckptkit.bundle.tensor_bundle import open_reader

    prefix = write_bundle(tmp_path / "model-1", {b"": header()}, DATA)
    path = prefix.with_name("model-1.index")
    path.write_bytes(path.read_bytes()[:-48] + footer.ljust(40, b"\0") + path.read_bytes()[-8:])
    with pytest.raises(ckptkit.CorruptCheckpointError, match=said):
        open_reader(prefix)


def test_a_missing_file_is_left_to_tensorflow(tmp_path):
    from ckptkit.bundle.tensor_bundle import open_reader

    prefix = write_bundle(tmp_path / "model-1", {b"": header()}, DATA)
    prefix.with_name("model-1.index").unlink()
    with pytest.raises(ckptkit.CorruptCheckpointError) as caught:
        open_reader(prefix)
    assert caught.value.damage == "missing"
