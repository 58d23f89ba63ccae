"""`ckptkit show` of models and weights that are no run: described, and nothing of them is run."""

from __future__ import annotations

import json
from collections import Counter

import keras
import pytest

import ckptkit
from ckptkit.cli import main
from tests.load.conftest import FORMS, network, saved_in, trained
from tests.support.schemas import printed


def listed(capsys, *arguments: object, command: str = "tensors") -> str:
    capsys.readouterr()
    assert main([command, *map(str, arguments)]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def shown(capsys, *arguments: object) -> str:
    return listed(capsys, *arguments, command="show")


@pytest.fixture(scope="module")
def model():
    return trained(network())


@pytest.mark.parametrize(
    "form",
    [
        form
        for form in FORMS
        if form not in ("run", "checkpoint of a run", "prefix of a run", "root", "exported")
    ],
)
def test_every_format_is_recognised_and_its_variables_are_told(model, tmp_path, form, capsys):
    source = saved_in(form, model, tmp_path)
    found = printed("show", shown(capsys, source, "--json"))
    shapes = {tuple(variable["shape"]) for variable in found["variables"]}
    assert {tuple(weight.shape) for weight in model.weights} <= shapes
    assert sum(v["size_bytes"] for v in found["variables"]) <= found["size_bytes"]
    if form.startswith("model."):
        assert found["model"] == ("" if form == "model.weights.h5" else "Sequential")
        assert found["compiled"] == (form != "model.weights.h5")
    if form in ("versions", "keras export"):
        (inputs,) = found["signatures"]["serving_default"]["inputs"].values()
        assert inputs == {"shape": [None, 4], "dtype": "float32"}
    if form == "versions":
        assert found["published"] == [int(next(source.glob("[0-9]*")).name)]
    values = printed("tensors", listed(capsys, source, "--stats", "--json"))["tensors"]
    told = [
        (tuple(each["shape"]), each["statistics"]["min"], each["statistics"]["max"])
        for each in values
        if each["part"] == "weights"
    ]
    for weight in model.weights:
        assert (
            tuple(weight.shape),
            float(weight.numpy().min()),
            float(weight.numpy().max()),
        ) in told, weight.path
    parts = Counter(each["part"] for each in values)
    assert parts["optimizer"] == (
        0 if form in ("versions", "keras export") else len(model.optimizer.variables)
    )
    assert parts["weights"] - (form == "directory") == len(
        model.weights
    )  # in the directory there is a counter of the program's own
    text = shown(capsys, source)
    assert f"{len(found['variables'])} variables" in text
    assert str(found["path"]) in text


@pytest.mark.parametrize("form", ["checkpoint of a run", "prefix of a run"])
def test_one_checkpoint_of_a_run_by_its_path(model, tmp_path, form, capsys):
    source = saved_in(form, model, tmp_path)
    assert shown(capsys, source).startswith("ckpt-1-1: step 1")
    assert main(["show", str(source), "best"]) == 2


def test_a_version_by_its_number(model, tmp_path, capsys):
    for version in (3, 4):
        ckptkit.export_saved_model(model, tmp_path / "export", version=version)
    assert json.loads(shown(capsys, tmp_path / "export", "3", "--json"))["path"].endswith("/3")
    assert "versions    3  4" in shown(capsys, tmp_path / "export")
    assert main(["show", str(tmp_path / "export"), "5"]) == 1
    assert main(["show", str(tmp_path / "export"), "best"]) == 2
    assert main(["show", str(tmp_path / "export" / "3"), "3"]) == 2


def test_nothing_is_run(tmp_path, capsys):
    """Not even what loading would refuse."""
    keras.Sequential(
        [keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2), keras.layers.Dense(2)]
    ).save(tmp_path / "code.keras")
    assert "Sequential" in shown(capsys, tmp_path / "code.keras")


@pytest.mark.parametrize(
    ("name", "code"), [("notes.txt", 10), ("model.keras", 3), ("weights.h5", 3)]
)
def test_what_is_nothing_of_it(tmp_path, name, code, capsys):
    (tmp_path / name).write_bytes(b"nothing of the kind")
    assert main(["show", str(tmp_path / name)]) == code
    assert capsys.readouterr().err.count("\n") == 1
