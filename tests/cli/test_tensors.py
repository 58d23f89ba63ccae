"""`ckptkit tensors` of a run: from its manifest alone."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys

import pytest

from ckptkit.cli.path_target import find_target
from ckptkit.cli.tensor_source import open_tensor_source
from ckptkit.errors import CheckpointNotFoundError, CorruptCheckpointError
from ckptkit.run.tensor_entry import TensorEntry
from tests.cli.conftest import ROOT
from tests.support.schemas import printed


def entry(
    key: str,
    path: str,
    shape: tuple[int | None, ...] | None,
    dtype: str = "float32",
    kind: str = "variable",
) -> TensorEntry:
    return TensorEntry(
        key=key,
        kind=kind,
        path=path,
        shape=shape,
        dtype=dtype,
        trainable=True if kind == "variable" else None,
    )


TENSORS = (
    *(
        entry(f"model/weights/{number}", f"dense_{number}/kernel", (number + 1, 4))
        for number in range(12)
    ),
    entry("model/result/0", "dense_0/kernel", (1, 4)),
    entry("model/optimizer/0", "adam/iteration", (), "int64"),
    entry("model/optimizer/1", "adam/momentum", (3,), "bfloat16"),
    entry("model/metrics/0", "loss/total", (2,), "float64"),
    entry("table/trackables/0", "table", (None, 2), "string", "trackable"),
    entry("process/state/0", "process", None, "string", "python"),
)


@pytest.fixture
def run(dummy_run):
    dummy_run.attempt()
    dummy_run.save(100)
    shuffled = list(TENSORS)
    random.shuffle(shuffled)
    dummy_run.save(200, tensors=tuple(shuffled), metrics={"loss": 1.0})
    return dummy_run


def keys(called, *arguments: str) -> list[str]:
    return [
        tensor["key"]
        for tensor in printed("tensors", called("tensors", "run", *arguments, "--json").stdout)[
            "tensors"
        ]
    ]


def test_names_shapes_types_sizes_and_totals(run, called):
    done = called("tensors", "run")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "ckpt-200-1: 18 tensors"
    assert "dense_11/kernel model/weights/11 (12, 4) float32 192 B" in lines
    assert "adam/momentum model/optimizer/1 (3) bfloat16 6 B" in lines
    assert "table table/trackables/0 (?, 2) string -" in lines
    assert "process process/state/0 ? string -" in lines
    weights = sum(4 * 4 * (number + 1) for number in range(12)) + 16
    assert "weights 13 tensors 1.26 kB" in lines
    assert round(weights / 1000, 2) == 1.26
    assert "optimizer 2 tensors 14 B" in lines
    assert "rest 3 tensors 16 B" in lines
    assert "total 18 tensors 1.29 kB" in lines


def test_json_form(run, called):
    found = printed("tensors", called("tensors", "run", "latest", "--json").stdout)
    assert {
        name: found[name]
        for name in ("version", "format", "path", "checkpoint", "step", "there_are")
    } == {
        "version": 1,
        "format": "run",
        "path": "run/checkpoints/ckpt-200-1",
        "checkpoint": "ckpt-200-1",
        "step": 200,
        "there_are": 18,
    }
    assert found["totals"]["rest"] == {"tensors": 3, "size_bytes": 16}
    assert next(each for each in found["tensors"] if each["key"] == "model/weights/3") == {
        "key": "model/weights/3",
        "name": "dense_3/kernel",
        "part": "weights",
        "kind": "variable",
        "shape": [4, 4],
        "dtype": "float32",
        "size_bytes": 64,
        "trainable": True,
        "statistics": None,
    }


def test_a_step_latest_and_best(run, called):
    assert len(keys(called, "100")) == 4
    assert len(keys(called, "latest")) == len(keys(called, "best")) == len(keys(called)) == 18
    assert called("tensors", "run", "7").returncode == 1
    assert called("tensors", "run", "newest").returncode == 2


def test_sorted(run, called):
    by_key = keys(called, "--sort", "key")
    assert [key.split("/")[1] for key in keys(called)] == [
        "result",
        *["weights"] * 12,
        *["optimizer"] * 2,
        "metrics",
        "state",
        "trackables",
    ]
    assert sorted(keys(called)) == sorted(by_key)
    assert [key for key in by_key if "weights" in key] == [
        f"model/weights/{number}" for number in range(12)
    ]  # 2 before 10
    assert keys(called, "--sort", "name")[:3] == [
        "model/optimizer/0",
        "model/optimizer/1",
        "model/result/0",
    ]
    assert keys(called, "--sort", "size")[:2] == ["model/weights/11", "model/weights/10"]
    types = printed("tensors", called("tensors", "run", "--sort", "type", "--json").stdout)[
        "tensors"
    ]
    assert [each["dtype"] for each in types] == sorted(each["dtype"] for each in types)
    assert called("tensors", "run", "--sort", "colour").returncode == 2


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["adam"], 2),
        (["optimizer"], 2),
        (["dense_1"], 3),
        (["dense_1/*"], 1),
        (["*/kernel"], 13),
        (["model/weights/?"], 10),
        (["*_1[01]/*"], 2),
        (["adam", "loss"], 3),
        (["adam", "momentum"], 2),
        (["nothing"], 0),
        (["ADAM"], 0),
    ],
)
def test_filtered_by_part_of_a_name_or_by_a_pattern(run, called, patterns, expected):
    arguments = [word for pattern in patterns for word in ("--filter", pattern)]
    found = printed("tensors", called("tensors", "run", *arguments, "--json").stdout)
    assert len(found["tensors"]) == expected
    assert found["totals"]["total"]["tensors"] == expected
    assert found["there_are"] == 18
    assert called("tensors", "run", *arguments).stdout.startswith(
        f"ckpt-200-1: 18 tensors, {expected} of them listed\n"
    )


def test_a_damaged_checkpoint_is_an_error(run, called):
    (run.layout.checkpoints / "ckpt-200-1" / "ckpt-200.index").unlink()
    assert called("tensors", "run").returncode == 3
    assert called("tensors", "run", "100").returncode == 0


def test_what_is_no_run(tmp_path, called):
    (tmp_path / "notes.txt").write_text("x")
    for name in ("missing", "notes.txt"):
        assert called("tensors", name).returncode == 10


def test_names_of_a_file_do_not_reach_the_terminal_as_commands(dummy_run, called):
    dummy_run.attempt()
    dummy_run.save(1, tensors=(entry("model/weights/0", "\x1b[31mred[/] \x07", (1,)),))
    text = called("tensors", "run").stdout
    assert "\x1b" not in text
    assert "\x07" not in text
    assert r"\x1b[31mred[/]" in text


@pytest.mark.parametrize(
    "arguments",
    [["tensors", "run"], ["tensors", "run", "--json"], ["diff", "run@100", "run"]],
    ids=str,
)
def test_a_closed_pipe_is_no_error(run, ckptkit, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = ckptkit(*arguments, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode in (0, 1), done.stderr) == (True, "")


def test_training_leaves_what_is_read(run):
    """A note of the reader lies in `pins/` for as long as it reads."""
    run.layout.pins.mkdir()
    with open_tensor_source(find_target(str(run.root), 100), with_values=False) as found:
        assert found.checkpoint == "ckpt-100-1"
        notes = [note.read_text() for note in run.layout.pins.glob(".reading-*")]
    assert len(notes) == 1
    assert "ckpt-100-1" in notes[0]
    assert not list(run.layout.pins.glob(".reading-*"))


def test_one_that_was_taken_away_while_it_was_read_is_gone_and_not_damaged(run):
    found = find_target(str(run.root), 100)
    with (
        pytest.raises(CheckpointNotFoundError, match="was deleted while it was read"),
        open_tensor_source(found, with_values=False),
    ):
        shutil.rmtree(run.layout.checkpoints / "ckpt-100-1")
        raise CorruptCheckpointError("a file is missing")


def test_neither_needs_tensorflow(run, tmp_path):
    program = """
import sys
from ckptkit.cli import main
assert main(["tensors", "run"]) == 0
assert main(["tensors", "run", "--json"]) == 0
assert main(["diff", "run@100", "@200", "--json"]) == 1
imported = {name.partition(".")[0] for name in sys.modules}
print(sorted(imported & {"tensorflow", "keras", "h5py", "numpy"}), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
