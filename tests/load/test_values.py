"""`tensors --stats` and `diff --values` over real files of every format: what NumPy says of the
live model, and a planted bit.
"""

from __future__ import annotations

import contextlib
import math
import os
import pty
import shutil
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit
from ckptkit.cli import main
from tests.load.conftest import network, saved_in, trained
from tests.support.schemas import printed

RNG = np.random.default_rng()


def said(capsys, command: str, *arguments: object, code: int = 0) -> dict:
    capsys.readouterr()
    assert main([command, *map(str, arguments), "--json"]) == code, capsys.readouterr().err
    return printed(command, capsys.readouterr().out)


@pytest.fixture(scope="module")
def model():
    return trained(network())


def save(directory: Path, state: dict[str, object], step: int = 1) -> Path:
    with ckptkit.CheckpointManager(directory, state) as manager:
        manager.save(step)
    return directory


class Kinds(tf.Module):
    """Random variables of every type that TensorFlow's checkpoints hold."""

    def __init__(self) -> None:
        super().__init__()
        reals = RNG.normal(size=(40, 3)) * 10
        reals[RNG.random(reals.shape) < 0.1] = np.nan
        reals[RNG.random(reals.shape) < 0.1] = np.inf
        self.values = {
            name: tf.Variable(tf.cast(tf.constant(reals), name), trainable=False)
            for name in (
                "float16",
                "float32",
                "float64",
                "bfloat16",
                "float8_e4m3fn",
                "float8_e5m2",
            )
        }
        whole = RNG.integers(0, 100, (7, 5))
        self.values |= {
            name: tf.Variable(tf.constant(whole, name), trainable=False)
            for name in ("int8", "int32", "int64", "uint8", "uint64", "bool")
        }
        self.values["complex64"] = tf.Variable(
            tf.complex(*np.float32(RNG.normal(size=(2, 9)))), trainable=False
        )
        self.values["string"] = tf.Variable(["some", "text"], trainable=False)
        self.values["empty"] = tf.Variable(tf.zeros((0, 4)), trainable=False)
        self.values["clean"] = tf.Variable(RNG.normal(size=5), trainable=False)


# -- tensors


def test_statistics_of_every_type_are_those_of_numpy(tmp_path, capsys):
    kinds = Kinds()
    save(tmp_path / "run", {"kinds": kinds})
    found = {
        tensor["name"]: tensor
        for tensor in said(capsys, "tensors", tmp_path / "run", "--stats")["tensors"]
    }
    by_dtype = {}
    for name, variable in kinds.values.items():
        (tensor,) = [
            each
            for each in found.values()
            if each["key"].startswith("kinds/")
            and each["dtype"] == variable.dtype.name
            and each["shape"] == list(variable.shape)
        ]
        by_dtype[name] = tensor["statistics"]
    for name in (
        "float16",
        "float32",
        "float64",
        "bfloat16",
        "float8_e4m3fn",
        "float8_e5m2",
        "clean",
    ):
        values = kinds.values[name].numpy().astype(np.float64)
        finite = values[np.isfinite(values)]
        told = by_dtype[name]
        assert (told["min"], told["max"]) == (finite.min(), finite.max()), name
        assert told["mean"] == pytest.approx(finite.mean(), rel=1e-12)
        assert (told["nan"], told["inf"], told["elements"], told["note"]) == (
            np.isnan(values).sum(),
            np.isinf(values).sum(),
            values.size,
            None,
        ), name
    for name in ("int8", "int32", "int64", "uint8", "uint64", "bool"):
        values = kinds.values[name].numpy()
        assert (by_dtype[name]["min"], by_dtype[name]["max"]) == (
            int(values.min()),
            int(values.max()),
        ), name
        assert by_dtype[name]["mean"] == pytest.approx(values.mean(dtype=np.float64))
    mean = kinds.values["complex64"].numpy().mean(dtype=np.complex128)
    assert by_dtype["complex64"]["mean"] == pytest.approx([mean.real, mean.imag])
    assert by_dtype["complex64"]["min"] is None
    assert by_dtype["complex64"]["note"] == "complex numbers have no order"
    assert (
        by_dtype["string"]["note"],
        by_dtype["string"]["elements"],
        by_dtype["empty"]["note"],
    ) == ("no numbers", 2, "empty")

    capsys.readouterr()
    assert main(["tensors", str(tmp_path / "run"), "--stats"]) == 0
    text = capsys.readouterr().out
    with_nan = sum(bool(each["nan"]) for each in by_dtype.values())
    assert with_nan >= 3
    assert f"NaN in {with_nan} tensors" in text
    assert main(["tensors", str(tmp_path / "run"), "--stats", "--filter", "*/clean"]) == 0


def test_only_what_was_asked_for_is_read(model, tmp_path, capsys):
    source = saved_in("model.keras", model, tmp_path)
    found = said(capsys, "tensors", source, "--stats", "--filter", "dense")["tensors"]
    assert found
    assert all("dense" in each["name"] or "dense" in each["key"] for each in found)


def test_nan_is_red_on_a_terminal(tmp_path):
    """A pseudo-terminal, which the process of a command takes for a person's."""
    run = save(tmp_path / "run", {"bad": tf.Variable([1.0, np.nan]), "good": tf.Variable([1.0])})
    for environment, red in (
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, False),
    ):
        lines = on_a_terminal(
            ["tensors", str(run), "--stats", "--filter", "variables"], environment
        )
        bad, good, told = (
            next(line for line in lines if name in line)
            for name in ("bad/variables", "good/variables", "NaN in 1 tensor")
        )
        assert ["\x1b[31m" in line for line in (bad, good, told)] == [red, False, red]


def on_a_terminal(arguments: list[str], environment: dict[str, str]) -> list[str]:
    """What a command prints on a terminal of 200 columns; it is run in a child of this process,
    which has TensorFlow.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        code = 70
        try:
            for name in ("NO_COLOR", "FORCE_COLOR"):
                os.environ.pop(name, None)
            os.environ |= {"COLUMNS": "200", **environment}
            sys.stdout = os.fdopen(1, "w", closefd=False)
            code = main(arguments)
            sys.stdout.flush()
        finally:
            os._exit(code)
    printed_bytes = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while more := os.read(terminal, 65536):
            printed_bytes += more
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, printed_bytes
    return printed_bytes.decode().splitlines()


def test_damaged_values_are_an_error(model, sources, tmp_path, capsys):
    """TensorFlow has a checksum of each tensor, and looks at it when the tensor is read."""
    shutil.copytree(sources("prefix").parent, tmp_path / "copy")
    (data,) = (tmp_path / "copy").glob("*.data-*")
    content = bytearray(data.read_bytes())
    raw = np.array(model.weights[0]).tobytes()
    content[content.index(raw) + int(RNG.integers(0, len(raw)))] ^= 1 << int(RNG.integers(0, 8))
    data.write_bytes(content)
    path = str(tmp_path / "copy" / "prefix")
    assert main(["tensors", path]) == 0
    capsys.readouterr()
    assert main(["tensors", path, "--stats"]) == 3
    assert main(["diff", str(sources("prefix")), path, "--values"]) == 3
    text = capsys.readouterr()
    assert (text.out, text.err.count("\n")) == ("", 2)
    assert "TensorFlow cannot read" in text.err


def test_memory_of_one_tensor_is_enough(tmp_path, tf_call):
    taken, whole = tf_call("tests.load.memory:taken_by_statistics", str(tmp_path)).check().result
    assert taken < whole / 2


# -- diff


def flipped(variable: keras.Variable) -> tuple[tuple[int, ...], float, float]:
    """Flips one bit of a variable; returns where, and the values before and after."""
    before = np.array(variable)
    after = before.copy()
    at = tuple(int(RNG.integers(0, size)) for size in before.shape)
    after.view(np.uint8).reshape(*before.shape, before.itemsize)[at][
        int(RNG.integers(0, before.itemsize))
    ] ^= np.uint8(1 << RNG.integers(0, 8))
    variable.assign(after)
    assert np.array(variable).tobytes() == after.tobytes() != before.tobytes()
    return at, float(before[at]), float(after[at])


def test_one_planted_bit_is_found_and_named(model, tmp_path, capsys):
    a = save(tmp_path / "a", {"model": model})
    for role, variables in (("weights", model.weights), ("optimizer", model.optimizer.variables)):
        number = int(
            RNG.choice(
                [
                    number
                    for number, each in enumerate(variables)
                    if each.dtype == "float32" and len(each.shape)
                ]
            )
        )
        variable = variables[number]
        original = np.array(variable)
        at, before, after = flipped(variable)
        b = save(tmp_path / role, {"model": model})
        variable.assign(original)

        assert not said(capsys, "diff", a, b)["differ"]
        found = said(capsys, "diff", a, b, "--values", code=1)
        (only,) = found["values"]["differing"]
        assert (only["a_key"], only["name"]) == (f"model/{role}/{number}", variable.path)
        assert (only["at"], only["differing"], only["elements"]) == (
            list(at),
            1,
            math.prod(variable.shape),
        )
        assert (float(only["a"]), float(only["b"])) == pytest.approx(
            (before, after), nan_ok=True, rel=0
        )
        assert float(only["largest_absolute"]) == pytest.approx(
            abs(before - after), nan_ok=True, rel=1e-12
        )
        assert found["values"]["not_compared"] == []
        assert found["values"]["same"] == found["tensors"]["both"] - 1
    assert main(["diff", str(a), str(b), "--values"]) == 1
    text = capsys.readouterr().out
    assert "1 tensor differs" in text
    assert variable.path in text
    assert not said(capsys, "diff", a, a, "--values")["differ"]


def test_nan_of_the_same_bits_is_no_difference(tmp_path, capsys):
    kinds = Kinds()
    a, b = (save(tmp_path / name, {"kinds": kinds}) for name in ("a", "b"))
    found = said(capsys, "diff", a, b, "--values")
    assert (found["values"]["differing"], found["differ"]) == ([], False)
    kinds.values["string"].assign(["some", "texts"])
    kinds.values["bool"].assign(~kinds.values["bool"])
    kinds.values["int64"].assign_add(tf.constant(2**60, "int64", kinds.values["int64"].shape))
    found = said(capsys, "diff", a, save(tmp_path / "c", {"kinds": kinds}), "--values", code=1)[
        "values"
    ]["differing"]
    by_dtype = {each["dtype"]: each for each in found}
    assert set(by_dtype) == {"string", "bool", "int64"}
    assert (
        by_dtype["string"]["a"],
        by_dtype["string"]["b"],
        by_dtype["string"]["largest_absolute"],
    ) == ("text", "texts", None)
    assert (by_dtype["int64"]["largest_absolute"], by_dtype["int64"]["differing"]) == (2**60, 35)
    assert by_dtype["bool"]["differing"] == 35


def test_steps_of_a_training(tmp_path, capsys):
    """Only what training changes differs, and NumPy finds the same difference."""
    here = network()
    here.layers[0].trainable = False
    trained(
        here,
        ckptkit.CheckpointCallback(
            tmp_path / "run", save=ckptkit.EveryNSteps(2), keep=ckptkit.KeepLatest(9), export=False
        ),
    )
    found = said(capsys, "diff", f"{tmp_path / 'run'}@2", "@4", "--values", code=1)
    assert {each["name"] for each in found["position"]} >= {"step"}
    differing = {each["a_key"]: each for each in found["values"]["differing"]}
    readers = [
        tf.train.load_checkpoint(str(ckptkit.open_run(tmp_path / "run").find(step).prefix))
        for step in (2, 4)
    ]
    for number, weight in enumerate(here.weights):
        a, b = (
            reader.get_tensor(f"model/weights/{number}/.ATTRIBUTES/VARIABLE_VALUE")
            for reader in readers
        )
        key = f"model/weights/{number}"
        assert (key in differing) == (a.tobytes() != b.tobytes()), weight.path
        if key in differing:
            gap = np.abs(a.astype(np.float64) - b)
            assert differing[key]["largest_absolute"] == gap.max()
            assert differing[key]["largest_relative"] == pytest.approx(
                (gap / np.maximum(np.abs(a), np.abs(b)))[gap > 0].max(), rel=1e-6
            )
            assert differing[key]["differing"] == (a != b).sum()
    assert {"model/weights/0", "model/weights/1"}.isdisjoint(
        differing
    )  # of the layer that does not train


@pytest.fixture(scope="module")
def sources(model, tmp_path_factory):
    """The model in each format, saved when it is asked for first."""
    directory = tmp_path_factory.mktemp("sources")
    return cache(lambda form: saved_in(form, model, directory / form.replace(" ", "-")))


WHOLE = [
    "run",
    "model.keras",
    "model.h5",
    "prefix",
    "model.weights.h5",
    "root",
    "tf.saved_model.save",
]


@pytest.mark.parametrize(("one", "other"), list(pairwise(WHOLE)), ids=str)
def test_across_formats_every_weight_and_the_optimizer_are_paired(
    model, sources, one, other, capsys
):
    found = said(capsys, "diff", sources(one), sources(other), "--values")
    everything = len(model.weights) + len(model.optimizer.variables)
    assert (found["tensors"]["both"], found["values"]["same"]) == (everything, everything)
    assert found["a"]["format"] != found["b"]["format"]


def test_an_export_has_no_optimizer(model, sources, capsys):
    found = said(
        capsys, "diff", sources("tf.saved_model.save"), sources("keras export"), "--values", code=1
    )
    assert (found["tensors"]["both"], found["values"]["same"]) == (
        len(model.weights),
        len(model.weights),
    )
    assert {each["name"].partition("/")[0] for each in found["tensors"]["removed"]} == {"adam"}
