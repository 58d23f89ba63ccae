"""Each `--json` form is what its schema in docs/schemas says, whatever it has to tell."""

from __future__ import annotations

import copy
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ckptkit.cli.console import JSON_VERSION
from ckptkit.cli.list_changes import ListChange, changes_of_run, changes_of_tree
from ckptkit.cli.list_follow import ListWatch
from ckptkit.cli.run_listing import RunListing
from ckptkit.run.events import AttemptEnded, Finished
from tests.cli.test_tree import index, keras, run_in, saved_model

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"


def validator(name: str) -> Draft202012Validator:
    """What checks documents of one form."""
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def valid(name: str, document: Any) -> Any:
    """The document, which has that form, and no other version."""
    problems = [
        f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(document)
    ]
    assert not problems
    assert not validator(name).is_valid(document | {"version": 2})
    assert validator(name).is_valid(document | {"a field of later": 1})
    return document


def required(schema: Any, document: Any) -> list[Any]:
    """The document without one of its required fields, once for each of them."""
    assert schema["required"], "a form without required fields would make every test of them pass"
    return [
        {key: value for key, value in document.items() if key != missing}
        for missing in schema["required"]
    ]


@pytest.fixture
def rich(tmp_path, called):
    """A run of which there is everything to tell."""
    run = run_in(tmp_path / "all" / "run")
    run.save(200, metrics={"val_loss": float("nan"), "loss": float("inf")}, final=True)
    (run.save(300) / "manifest.json").write_text("{")
    (run.save(400) / "ckpt-400.index").unlink()
    assert called("pin", "all/run", "200", "--note", "x").returncode == 0
    for place in ("quarantine/ckpt-1-1", "aside/checkpoints", "aside/rolled-back-000003/ckpt-5-1"):
        (run.root / place).mkdir(parents=True)
    with run.layout.attempt_journal(1).open("ab") as file:
        file.write(b"{\n")
    return run


def test_list_of_a_run(rich, tmp_path, called):
    found = valid("list", json.loads(called("list", "all/run", "--json").stdout))
    assert [each["problem"] is None for each in found["checkpoints"]] == [True, True, False, False]
    assert found["checkpoints"][1]["metrics"] == {"val_loss": "nan", "loss": "inf"}
    schema = validator("list").schema
    assert not any(validator("list").is_valid(each) for each in required(schema, found))
    for number, checkpoint in enumerate(found["checkpoints"]):
        for broken in required(schema["properties"]["checkpoints"]["items"], checkpoint):
            other = copy.deepcopy(found)
            other["checkpoints"][number] = broken
            assert not validator("list").is_valid(other)
    (tmp_path / "new" / "journal").mkdir(parents=True)
    (tmp_path / "new" / "journal" / "attempt-000001.jsonl").write_bytes(b"")
    assert valid("list", json.loads(called("list", "new", "--json").stdout))["last_event"] is None


def test_list_of_a_tree(rich, tmp_path, called):
    index(tmp_path / "all" / "model-5", shards=2).with_name("model-5.data-00000-of-00002").unlink()
    keras(tmp_path / "all" / "x.keras")
    (tmp_path / "all" / "y.h5").write_bytes(b"")
    saved_model(tmp_path / "all" / "serving" / "3")
    os.symlink(".", tmp_path / "all" / "loop")
    found = valid("list-tree", json.loads(called("list", "all", "--json").stdout))
    assert (len(found["runs"]), len(found["others"]), found["links_not_followed"]) == (1, 4, 1)
    assert (
        found["runs"][0]["damaged"],
        found["runs"][0]["damaged_journal_lines"],
        found["runs"][0]["quarantined"],
    ) == (2, 1, 1)
    schema = validator("list-tree").schema
    assert not any(validator("list-tree").is_valid(each) for each in required(schema, found))
    for kind in ("runs", "others"):
        for broken in required(schema["properties"][kind]["items"], found[kind][0]):
            assert not validator("list-tree").is_valid(found | {kind: [broken]})
    assert not validator("list").is_valid(found)


def lines_of(changes: list[ListChange]) -> list[dict[str, Any]]:
    """As they are printed."""
    told = [
        {
            "version": JSON_VERSION,
            "time": time.time(),
            "change": each.change,
            "path": each.path,
            **each.values,
        }
        for each in changes
    ]
    return json.loads(json.dumps(told))


def test_lines_that_follow(rich, tmp_path, monkeypatch, called):
    monkeypatch.chdir(tmp_path)
    watch, kinds = ListWatch("all"), set()
    before = None

    def look() -> None:
        nonlocal before
        after = watch.look(time.time())
        for line in lines_of(list(changes_of_tree(before, after))):
            kinds.add(valid("list-follow", line)["change"])
        before = after

    look()
    keras(tmp_path / "all" / "x.keras")
    run = rich.save(500)
    assert called("unpin", "all/run", "200").returncode == 0
    look()
    assert called("pin", "all/run", "100").returncode == 0
    rich.record(Finished(step=500, epoch=2)).record(AttemptEnded(outcome="finished", step=500))
    (rich.save(600) / "ckpt-600.index").unlink()
    look()
    (tmp_path / "all" / "x.keras").unlink()
    run.rename(rich.layout.quarantine / "ckpt-500-1")
    look()
    rich.root.rename(tmp_path / "elsewhere")
    look()
    assert kinds == {
        "state",
        "found",
        "saved",
        "unpinned",
        "pinned",
        "damaged",
        "gone",
        "taken_away",
        "moved",
    }


def test_what_has_not_changed_is_not_read_again(rich, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watch = ListWatch("all/run")
    first, second = watch.look(1.0), watch.look(2.0)
    assert isinstance(first, RunListing)
    assert isinstance(second, RunListing)
    assert second.checkpoints is first.checkpoints
    assert list(changes_of_run(first, second)) == []
    rich.record(AttemptEnded(outcome="stopped", step=5))
    assert [change.words for change in changes_of_run(second, watch.look(3.0))] == [
        "stopped at step 5; the next start resumes it"
    ]


def test_verify_prune_and_rollback(rich, called):
    found = valid("verify", json.loads(called("verify", "all/run", "--all", "--json").stdout))
    assert found["bad"] == 2
    keras(rich.root.parent / "x.keras")
    assert (
        valid("verify", json.loads(called("verify", "all/x.keras", "--json").stdout))["run"] is None
    )
    for options in (["--dry-run"], ["--yes"]):
        found = valid(
            "prune",
            json.loads(called("prune", "all/run", "--keep-latest", "1", *options, "--json").stdout),
        )
        assert {each["stays"] for each in found["checkpoints"]} == {True}
    called("unpin", "all/run", "200")
    for options, moved_to in (
        (["--dry-run"], None),
        (["--yes"], "aside/rolled-back-000003.2"),
        (["--yes"], None),
    ):
        found = valid(
            "rollback", json.loads(called("rollback", "all/run", "100", *options, "--json").stdout)
        )
        assert (found["moved_to"] is None) == (moved_to is None)
