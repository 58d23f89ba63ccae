"""`RUN@STEP` and what else names a checkpoint in one argument; a path inside a run names its own
checkpoint.
"""

from __future__ import annotations

import json
import os

import pytest

from ckptkit.cli.path_target import split_step
from ckptkit.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run", ("run", "latest")),
        ("run@7", ("run", 7)),
        ("a/run@0100", ("a/run", 100)),
        ("run@best", ("run", "best")),
        ("run@latest", ("run", "latest")),
        ("a@b@5", ("a@b", 5)),
        ("run@", ("run@", "latest")),
        ("run@1.5", ("run@1.5", "latest")),
        ("user@host", ("user@host", "latest")),
        ("@5", ("before", 5)),
        ("@best", ("before", "best")),
        ("@", ("@", "latest")),
        ("run@\N{ARABIC-INDIC DIGIT ONE}", ("run@\N{ARABIC-INDIC DIGIT ONE}", "latest")),
        ("run/@5", ("run/", 5)),
    ],
)
def test_a_path_and_a_checkpoint(tmp_path, monkeypatch, text, expected):
    monkeypatch.chdir(tmp_path)
    assert split_step(text, of="before") == expected


def test_what_is_there_under_the_whole_name_is_that(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run@5").mkdir()
    (tmp_path / "weights@5.index").touch()
    os.symlink("nowhere", tmp_path / "link@5")
    for name in ("run@5", "weights@5", "link@5"):
        assert split_step(name) == (name, "latest")
        assert split_step(f"{name}@3") == (name, 3)
    assert split_step("run/@5") == ("run/", 5)


def test_a_step_of_nothing(dummy_run, called):
    with pytest.raises(ConfigError, match="Expected RUN@5"):
        split_step("@5")
    assert called("diff", "@5", "@6").returncode == 2


@pytest.mark.parametrize("command", ["show", "tensors"])
def test_the_path_of_a_checkpoint_names_that_one(dummy_run, called, command):
    dummy_run.attempt()
    first = dummy_run.save(100)
    dummy_run.attempt()
    dummy_run.save(100)

    def name(*arguments: object) -> str:
        found = json.loads(called(command, *arguments, "--json").stdout)
        return found.get("checkpoint") or found["name"]

    assert (
        name("run", "100") == "ckpt-100-2"
    )  # of a step the highest attempt, but of a path the one that it names
    assert name(first) == name(first.relative_to(dummy_run.root.parent)) == "ckpt-100-1"
    assert called(command, first, "100").returncode == 2
