"""`ckptkit diff` of runs: from their manifests alone."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ckptkit.run.manifest import StateEntry
from ckptkit.run.tensor_entry import TensorEntry
from tests.cli.conftest import DummyRun
from tests.support.schemas import printed

LAYERS = {
    "embedding": (100, 8),
    "dense": (8, 4),
    "dense_1": (4, 4),
    "dense_2": (4, 4),
    "head": (4, 2),
}


def weights(
    layers: dict[str, tuple[int, ...]], dtype: str = "float32", state: str = "model"
) -> tuple[TensorEntry, ...]:
    """As the writer describes the weights and the optimizer of a model."""
    return (
        *(
            TensorEntry(
                key=f"{state}/weights/{number}",
                kind="variable",
                path=f"{name}/kernel",
                shape=shape,
                dtype=dtype,
                trainable=True,
            )
            for number, (name, shape) in enumerate(layers.items())
        ),
        *(
            TensorEntry(
                key=f"{state}/optimizer/{number}",
                kind="variable",
                path=f"adam/{name}_kernel_momentum",
                shape=shape,
                dtype=dtype,
            )
            for number, (name, shape) in enumerate(layers.items())
        ),
        TensorEntry(
            key="process/state/0", kind="python", path="process", shape=None, dtype="string"
        ),
    )


@pytest.fixture
def saved(tmp_path):
    """Saves a checkpoint of step 100 in a run of its own."""

    def save(name: str, tensors: tuple[TensorEntry, ...] = weights(LAYERS), **fields: Any) -> str:
        run = DummyRun(tmp_path / name)
        run.attempt()
        run.save(100, tensors=tensors, **fields)
        return name

    return save


def diff(called, *arguments: str) -> dict[str, Any]:
    done = called("diff", *arguments, "--json")
    found = printed("diff", done.stdout)
    assert done.returncode == (1 if found["differ"] else 0), done.stderr
    assert called("diff", *arguments).returncode == done.returncode
    return found


def names(found: list[dict[str, Any]]) -> list[str]:
    return [each["name"] if "name" in each else each["a"]["name"] for each in found]


def test_two_equal_checkpoints(saved, called):
    a, b = saved("a"), saved("b", saved_at=1.5e9, trigger="another reason", metrics={"loss": 0.5})
    found = diff(called, a, b)
    assert not found["differ"]
    assert found["tensors"] == {
        "both": 11,
        "added": [],
        "removed": [],
        "reshaped": [],
        "retyped": [],
    }
    assert found["values"] is None
    assert (
        called("diff", a, b).stdout.splitlines()[-1]
        == "no difference: 11 tensors, values were not compared (--values)"
    )


def test_position_hyperparameters_versions_and_classes(saved, called):
    a = saved(
        "a",
        epoch=1,
        hyperparameters={"batch_size": 8, "same": 5, "hparams": {"width": [4, 2], "name": "x"}},
        versions={"keras": "3.14.0"},
        states=(StateEntry(name="model", class_name="Sequential", classes={"optimizer": "Adam"}),),
    )
    b = saved(
        "b",
        epoch=2,
        hyperparameters={"batch_size": 16, "same": 5, "hparams": {"width": [4, 3], "depth": None}},
        versions={"keras": "3.15.1", "numpy": "2.0"},
        states=(StateEntry(name="model", class_name="Model", classes={"optimizer": "SGD"}),),
    )
    found = diff(called, a, b)
    assert found["position"] == [{"name": "epoch", "a": 1, "b": 2, "only": None}]
    assert found["hyperparameters"] == [
        {"name": "batch_size", "a": 8, "b": 16, "only": None},
        {"name": "hparams.width", "a": [4, 2], "b": [4, 3], "only": None},
        {"name": "hparams.name", "a": "x", "b": None, "only": "a"},
        {"name": "hparams.depth", "a": None, "b": None, "only": "b"},
    ]
    assert found["versions"] == [
        {"name": "keras", "a": "3.14.0", "b": "3.15.1", "only": None},
        {"name": "numpy", "a": None, "b": "2.0", "only": "b"},
    ]
    assert found["classes"] == [
        {"name": "model", "a": "Sequential", "b": "Model", "only": None},
        {"name": "model.optimizer", "a": "Adam", "b": "SGD", "only": None},
    ]
    lines = [" ".join(line.split()) for line in called("diff", a, b).stdout.splitlines()]
    assert {
        "epoch 1 2",
        "batch_size 8 16",
        "hparams.name x -",
        "hparams.depth - null",
        "hparams.width [4, 2] [4, 3]",
        "keras 3.14.0 3.15.1",
    } <= {*lines}


def test_steps_of_one_run(dummy_run, called):
    dummy_run.attempt()
    for step in (100, 200):
        dummy_run.save(step, metrics={"loss": 1 / step})
    for a, b, steps in (
        ("run@100", "run@200", (100, 200)),
        ("run@100", "@200", (100, 200)),
        ("run@200", "@100", (200, 100)),
        ("run@100", "run", (100, 200)),
        ("run@100", "@latest", (100, 200)),
        ("run", "run@100", (200, 100)),
        ("run@100", "run@best", (100, 200)),
        ("run/checkpoints/ckpt-100-1", "run", (100, 200)),
    ):
        found = diff(called, a, b)
        assert (found["a"]["step"], found["b"]["step"]) == steps
        assert found["position"] == [{"name": "step", "a": steps[0], "b": steps[1], "only": None}]
    assert not diff(called, "run@200", "run")["differ"]
    for arguments, code in (
        (["run@300", "run"], 1),
        (["run", "run@x"], 10),
        (["run", "missing@100"], 10),
        (["run"], 2),
        (["run", "a", "b"], 2),
    ):
        done = called("diff", *arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr


def test_added_removed_and_reshaped(saved, called):
    before = {"embedding": (100, 8), "stem": (8, 4), "body": (4, 4), "neck": (4, 4), "head": (4, 2)}
    gone = random.choice(
        [*before][:4]
    )  # the last one would have its place taken by the new one, and count as that
    wider = random.choice([name for name in before if name != gone])
    after = {
        name: shape if name != wider else (shape[0], shape[1] + 1)
        for name, shape in before.items()
        if name != gone
    } | {"extra": (2, 2)}
    a, b = saved("a", weights(before)), saved("b", weights(after))
    found = diff(called, a, b)["tensors"]
    assert names(found["removed"]) == [f"{gone}/kernel", f"adam/{gone}_kernel_momentum"]
    assert names(found["reshaped"]) == [f"{wider}/kernel", f"adam/{wider}_kernel_momentum"]
    assert names(found["added"]) == ["extra/kernel", "adam/extra_kernel_momentum"]
    assert (found["both"], found["retyped"]) == (9, [])
    lines = [" ".join(line.split()) for line in called("diff", a, b).stdout.splitlines()]
    assert "added extra/kernel (model/weights/4) - (2, 2) float32" in lines
    assert (
        f"removed {gone}/kernel (model/weights/{[*before].index(gone)}) "
        f"({', '.join(map(str, before[gone]))}) float32 -" in lines
    )
    assert "tensors: 2 added, 2 removed, 2 reshaped, of 9 pairs" in lines


def test_a_layer_that_came_in_between_moves_nothing(saved, called):
    """Keys count places; a name that is on both sides says more."""
    between = {"embedding": LAYERS["embedding"], "attention": (8, 8), **LAYERS}
    found = diff(called, saved("a"), saved("b", weights(between)))["tensors"]
    assert names(found["added"]) == ["attention/kernel", "adam/attention_kernel_momentum"]
    assert (found["removed"], found["reshaped"], found["retyped"], found["both"]) == (
        [],
        [],
        [],
        11,
    )


def test_automatic_numbers_are_no_difference(saved, called):
    later = {
        name.replace("dense", "dense_7")
        if name == "dense"
        else name.replace("_1", "_8").replace("_2", "_9"): shape
        for name, shape in LAYERS.items()
    }
    assert list(later) == ["embedding", "dense_7", "dense_8", "dense_9", "head"]
    assert not diff(called, saved("a"), saved("b", weights(later)))["differ"]


def test_another_type(saved, called):
    found = diff(called, saved("a"), saved("b", weights(LAYERS, "bfloat16")))["tensors"]
    assert len(found["retyped"]) == 10
    assert {(each["a"]["dtype"], each["b"]["dtype"]) for each in found["retyped"]} == {
        ("float32", "bfloat16")
    }
    assert found["added"] == found["removed"] == found["reshaped"] == []


def test_another_name_in_the_state(saved, called):
    found = diff(called, saved("a"), saved("b", weights(LAYERS, state="net")))["tensors"]
    assert (len(found["added"]), len(found["removed"]), found["both"]) == (10, 10, 1)


def test_a_damaged_checkpoint_is_an_error(saved, called, tmp_path):
    a, b = saved("a"), saved("b")
    (tmp_path / "b" / "checkpoints" / "ckpt-100-1" / "ckpt-100.index").unlink()
    done = called("diff", a, b)
    assert (done.returncode, done.stdout) == (3, "")
