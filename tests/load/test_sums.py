"""`ckptkit verify` of what TensorFlow wrote: what its own checksums find, and what they do not."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ckptkit.cli import main
from ckptkit.errors import CorruptCheckpointError, StorageError
from ckptkit.load import hdf5
from ckptkit.load.keras_archive import check_archive
from ckptkit.load.tf_checksums import check_sums
from tests.cli.test_tree import HDF5, keras

HELD = {
    "w": tf.float32,
    "b": tf.bfloat16,
    "n": tf.int64,
    "s": tf.string,
    "flag": tf.bool,
    "z": tf.complex64,
}


def values(rng: np.random.Generator) -> dict[str, Any]:
    """A value of each kind; strings have lengths, which the format stores among the bytes."""
    return {
        "w": rng.normal(size=(7, 11)).astype("float32"),
        "b": tf.cast(rng.normal(size=(5,)), tf.bfloat16),
        "n": rng.integers(0, 2**40, size=(3,)),
        "s": [rng.bytes(n) for n in (0, 1, 40)],
        "flag": True,
        "z": tf.complex(*rng.normal(size=(2, 3)).astype("float32")),
    }


def saved(prefix: Path, seed: int) -> dict[str, Any]:
    """A checkpoint of TensorFlow's own; returns what is in it, as bytes."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    held = values(np.random.default_rng(seed))
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(held),
        shape_and_slices=[""] * len(held),
        tensors=[tf.constant(value, HELD[name]) for name, value in held.items()],
    )
    return read(prefix)


def read(prefix: Path) -> dict[str, Any]:
    """Every tensor as plain TensorFlow reads it."""
    reader = tf.train.load_checkpoint(str(prefix))
    return {
        name: (
            reader.get_variable_to_dtype_map()[name].name,
            np.asarray(reader.get_tensor(name)).tolist(),
        )
        for name in reader.get_variable_to_shape_map()
    }


@pytest.fixture
def prefix(tmp_path: Path, seed: int) -> Path:
    saved(tmp_path / "old" / "model-7", seed)
    return tmp_path / "old" / "model-7"


def data(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".data-00000-of-00001")


def index(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def is_good(prefix: Path) -> bool:
    try:
        return not check_sums(prefix).damaged
    except CorruptCheckpointError:
        return False


def test_a_good_one(prefix):
    sums = check_sums(prefix)
    assert (sums.tensors, sums.damaged) == (len(HELD), {})
    assert sums.size_bytes == data(prefix).stat().st_size + index(prefix).stat().st_size


@pytest.mark.parametrize("bits", [1, pytest.param(8, marks=pytest.mark.long)])
def test_a_flipped_bit_in_any_byte_of_the_data_is_found(prefix, seed, bits):
    path, chance = data(prefix), random.Random(seed)
    good = path.read_bytes()
    for place in [
        8 * byte + bit for byte in range(len(good)) for bit in chance.sample(range(8), bits)
    ]:
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        path.write_bytes(bytes(bad))
        assert len(check_sums(prefix).damaged) == 1, f"bit {place} of {len(good)} bytes"


def test_a_flipped_bit_of_the_index_is_found_or_changes_nothing(prefix, seed):
    """Its blocks have checksums; its footer has none, and of that not every bit means something."""
    path, chance = index(prefix), random.Random(seed)
    good, held, harmless = path.read_bytes(), read(prefix), []
    for byte in range(len(good)):
        bad = bytearray(good)
        bad[byte] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(bad))
        if is_good(prefix):
            harmless.append(byte - len(good))
            assert read(prefix) == held, f"byte {byte} of {len(good)}: other values, and not a word"
    assert not [place for place in harmless if place < -200], harmless
    print(f"not found, and without effect, counted from the end: {harmless}")


@pytest.mark.parametrize("of", [data, index])
def test_every_length_but_the_right_one_is_found(prefix, of):
    path = of(prefix)
    good = path.read_bytes()
    for length in {*range(0, len(good), 7), len(good) - 1}:
        path.write_bytes(good[:length])
        assert not is_good(prefix), f"{length} of {len(good)} bytes"


@pytest.mark.parametrize("of", [data, index])
def test_a_file_that_is_missing(prefix, of):
    of(prefix).unlink()
    assert not is_good(prefix)


def test_a_shard_that_is_missing_and_slices_of_one_tensor(tmp_path, seed):
    """As TensorFlow 1 writes partitioned variables, in two files."""
    rng = np.random.default_rng(seed)
    whole = rng.normal(size=(6, 4)).astype("float32")
    parts = []
    for number, rows in enumerate((slice(0, 3), slice(3, 6))):
        parts.append(str(tmp_path / f"part-{number}"))
        tf.raw_ops.SaveV2(
            prefix=parts[-1],
            tensor_names=["table"],
            shape_and_slices=[f"6 4 {rows.start},3:0,4"],
            tensors=[whole[rows]],
        )
    prefix = tmp_path / "sharded-3"
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=parts, destination_prefix=str(prefix), delete_old_dirs=False
    )
    shards = sorted(tmp_path.glob("sharded-3.data-*"))
    assert len(shards) == 2
    assert check_sums(prefix).damaged == {}
    for shard in shards:
        good = shard.read_bytes()
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= 4
        shard.write_bytes(bytes(bad))
        assert list(check_sums(prefix).damaged) == ["table"]
        shard.write_bytes(good)
    shards[1].unlink()
    with pytest.raises(CorruptCheckpointError, match="only 1 of 2 data files exist") as caught:
        check_sums(prefix)
    assert caught.value.file == "sharded-3.data-00001-of-00002"


def test_quick_reads_the_index_only(prefix):
    flip(data(prefix))
    assert check_sums(prefix, quick=True).damaged == {}
    flip(index(prefix), 10)
    with pytest.raises(CorruptCheckpointError):
        check_sums(prefix, quick=True)


def flip(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


def test_progress_counts_the_tensors(prefix):
    told: list[int] = []
    check_sums(prefix, progress=told.append)
    assert sum(told) == 7 * 11 * 4 + 5 * 2 + 3 * 8 + 1 + 3 * 8
    assert len(told) == len(HELD)


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["verify", *arguments])
        return (code, *capsys.readouterr())

    return call


def test_every_way_to_name_it(prefix, command, seed):
    for step in (8, 12):
        saved(prefix.with_name(f"model-{step}"), seed)
    (prefix.parent / "checkpoint").write_text('model_checkpoint_path: "model-8"\n')
    for arguments, names in [
        (["old/model-7"], ["model-7"]),
        (["old/model-7.index"], ["model-7"]),
        (["old"], ["model-8"]),
        (["old", "latest"], ["model-8"]),
        (["old", "12"], ["model-12"]),
        (["old", "--all"], ["model-7", "model-8", "model-12"]),
    ]:
        code, out, err = command(*arguments)
        assert (code, err) == (0, "")
        assert [
            line.split(":")[0] for line in out.splitlines() if ": good (6 tensors, " in line
        ] == names
    assert command("old", "--all")[1].endswith("3 checkpoints, none damaged\n")
    (prefix.parent / "checkpoint").unlink()
    assert command("old")[0] == 2, "nobody knows which is the newest"
    assert command("old", "12")[0] == command("old", "--all")[0] == 0
    for arguments, code in [
        (["old", "5"], 1),
        (["old/model-7", "7"], 2),
        (["old/model-7", "--all"], 2),
        (["old", "best"], 2),
        (["nothing"], 10),
    ]:
        assert command(*arguments)[0] == code, arguments


def test_what_is_damaged_is_named(prefix, command, seed):
    saved(prefix.with_name("model-8"), seed)
    content = bytearray(data(prefix).read_bytes())
    content[:] = bytes(255 - byte for byte in content)
    data(prefix).write_bytes(bytes(content))
    code, out, _ = command("old", "--all", "--json")
    found = json.loads(out)
    assert code == 3
    assert (found["run"], found["path"], found["bad"]) == (None, "old", 1)
    first, second = found["checkpoints"]
    assert (first["name"], first["step"], first["damage"], sorted(first["damaged_tensors"])) == (
        "model-7",
        7,
        "digest",
        sorted(HELD),
    )
    assert (second["problem"], second["attempt"], second["damaged_tensors"]) == (None, None, [])
    code, out, _ = command("old/model-7")
    assert code == 3
    assert out.startswith("model-7: DAMAGED: 6 of 6 tensors cannot be read: ")
    assert "; and 1 more" in out
    assert "hecksum" in out


def test_what_a_directory_holds_is_what_a_list_says(prefix, command, tmp_path, seed):
    """Whole or not; and another program's files are none of it."""
    for step in (8, 9, 10):
        saved(prefix.with_name(f"model-{step}"), seed)
    index(prefix.with_name("model-8")).unlink()
    data(prefix.with_name("model-9")).unlink()
    data(prefix.with_name("model-10")).unlink()
    data(prefix.with_name("model-10")).symlink_to("nowhere")
    (prefix.parent / "cat.index").write_bytes(b"another program's")
    (prefix.parent / ".index").write_bytes(b"")
    for options in ([], ["--quick"]):
        code, out, err = command("old", "--all", "--json", *options)
        assert (code, err) == (3, "")
        told = {each["name"]: each["problem"] for each in json.loads(out)["checkpoints"]}
        assert list(told) == ["model-7", "model-8", "model-9", "model-10"]
        assert [name for name, problem in told.items() if problem is None] == ["model-7"]
        assert "model-8.index" in told["model-8"]
        assert "model-9.data-" in told["model-9"]
        assert "model-10.data-00000-of-00001" in told["model-10"]


def test_a_checkpoint_is_looked_at_without_a_gpu(prefix, command, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "0")
    assert command("old/model-7")[0] == 0
    assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["HIP_VISIBLE_DEVICES"]) == ("-1", "-1")


def test_saved_models(tmp_path, command, seed):
    module = tf.Module()
    module.v = tf.Variable(np.random.default_rng(seed).normal(size=(30,)))
    for version in ("1", "2"):
        tf.saved_model.save(module, str(tmp_path / "serving" / version))
    assert command("serving/1")[0] == command("serving")[0] == 0
    flip(tmp_path / "serving" / "1" / "variables" / "variables.data-00000-of-00001", 5)
    assert command("serving")[0] == 0
    code, out, _ = command("serving", "--all")
    assert code == 3
    assert out.endswith("2 SavedModels, 1 damaged\n")
    assert command("serving", "1")[0] == command("serving/1")[0] == 3
    empty = tf.Module()
    tf.saved_model.save(empty, str(tmp_path / "empty"))
    for path in (tmp_path / "empty" / "variables").iterdir():
        path.unlink()
    code, _, err = command("empty")
    assert code == 2
    assert "no variables" in err


def test_files_of_keras(tmp_path, command):
    keras(tmp_path / "m.keras")
    assert command("m.keras")[0] == 0
    good = (tmp_path / "m.keras").read_bytes()
    (tmp_path / "m.keras").write_bytes(good.replace(b"{}", b"[]", 1))
    code, out, _ = command("m.keras")
    assert code == 3
    assert "config.json" in out
    (tmp_path / "m.keras").write_bytes(good[:-5])
    assert command("m.keras")[0] == 3
    (tmp_path / "w.h5").write_bytes(HDF5)
    code, _, err = command("w.h5")
    assert code == 2
    assert "without checksums" in err


@pytest.mark.parametrize("way", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_changed_byte_of_a_file_of_keras_is_damage_or_nothing(tmp_path, seed, way):
    """Such as the number of a way of compression that is not the file's."""
    path, chance = tmp_path / "m.keras", random.Random(seed)
    refused = b"\0\0\5\0" + b"\xff" * 5  # where LZMA has its options
    content = {
        "config.json": b"{" + b" " * 60 + b"}",
        "model.weights.h5": refused + chance.randbytes(90),
    }
    with zipfile.ZipFile(path, "w", way) as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    told: list[int] = []
    assert check_archive(path, told.append) == path.stat().st_size
    assert 0 < sum(told) <= path.stat().st_size
    good = path.read_bytes()
    methods = [place + 10 for place in range(len(good)) if good.startswith(b"PK\x01\x02", place)]
    for place, value in [
        *((place, chance.randrange(256)) for place in range(len(good))),
        *itertools.product(methods, (8, 12, 14)),
    ]:
        bad = bytearray(good)
        bad[place] = value
        path.write_bytes(bytes(bad))
        with contextlib.suppress(CorruptCheckpointError):
            check_archive(path)
        try:
            with hdf5.archive(path) as zipped:
                read = {name: zipped.read(name) for name in content}
        except CorruptCheckpointError:
            continue
        assert read == content, f"byte {place} of {len(good)}: other content, and not a word"


def test_what_the_system_refuses_is_no_damage(prefix, monkeypatch):
    def refuse(self: Path, *arguments: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        check_sums(prefix)
