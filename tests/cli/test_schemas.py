"""Every `--json` form: it has a schema in docs/schemas and a section in docs/cli.md, and what the
commands print is of that form.
"""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator

from ckptkit.cli.command_group import COMMANDS, group
from ckptkit.layout import CheckpointName
from ckptkit.run.pins import Pin, pin
from tests.docs_examples import ROOT, json_examples, section
from tests.support.schemas import SCHEMAS, printed, problems, schemas_of, validator


def has_json(name: str) -> bool:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return any("--json" in option.opts for option in command.params)


WITH_JSON = [name for name in COMMANDS if has_json(name)]

OUTPUTS: dict[str, list[tuple[int, list[str]]]] = {
    "list": [(0, ["run"])],
    "show": [
        (0, ["run"]),
        (0, ["run", "100"]),
        (0, ["run", "best"]),
        (0, ["run/checkpoints/ckpt-300-2"]),
    ],
    "tensors": [
        (0, ["run"]),
        (0, ["run", "100", "--sort", "size"]),
        (0, ["run", "--filter", "dense"]),
        (0, ["run", "--filter", "nothing of it"]),
    ],
    "diff": [(1, ["run@100", "run@300"]), (1, ["run@300", "other"]), (0, ["run@100", "@100"])],
    "verify": [(3, ["run", "--all"]), (0, ["run", "100"]), (0, ["run", "100", "--quick"])],
    "prune": [
        (0, ["run", "--keep-latest", "1", "--dry-run"]),
        (0, ["run", "--keep-latest", "1", "--yes"]),
    ],
    "history": [(0, ["run"]), (0, ["other"])],
    "report": [(0, ["run"]), (0, ["other"])],
    "pin": [(0, ["run", "best:val_loss", "--note", "baseline"]), (0, ["run", "100"])],
    "unpin": [(0, ["pinned", "5"])],
    "run": [(0, ["--explain"])],
    "rollback": [(0, ["run", "100", "--dry-run"]), (0, ["run", "100", "--yes"])],
}
"""Calls of each command, without `--json`, one after the other over the fixture's runs, and the
exit code that each has.
"""

ELSEWHERE = {
    "adopt": ("tests/cli/test_adopt.py", 'printed("adopt"'),
    "export": ("tests/export/test_command.py", 'printed("export"'),
    "audit": ("tests/audit/conftest.py", "audit.json"),
    "watch": ("tests/report/page/test_live_page.py", 'printed("watch"'),
    "save": ("tests/cli/test_asking.py", 'printed("save"'),
    "stop": ("tests/cli/test_asking.py", 'printed("stop"'),
}
"""Commands that train, ask a training or need TensorFlow: where what they print is held against
their schema, and by which words.
"""


@pytest.fixture
def runs(dummy_run, tmp_path):
    """A run with all that a form may have to tell of, and another one."""
    from tests.cli.conftest import DummyRun

    dummy_run.attempt()
    dummy_run.save(
        100,
        epoch=1,
        metrics={"val_loss": 0.5, "loss": float("nan")},
        total=3,
        hyperparameters={"batch_size": 8, "hparams": {"width": [4, 2]}},
    )
    (dummy_run.save(200) / "ckpt-200.index").write_bytes(b"of another size")
    dummy_run.attempt()
    dummy_run.save(
        300,
        metrics={"val_loss": 0.25},
        final=True,
        hyperparameters={"batch_size": 16, "learning_rate": 0.1},
    )
    other = DummyRun(tmp_path / "other")
    other.attempt()
    other.save(5, versions={"tensorflow": "2.20.0", "keras": "3.14.0"})
    pinned = DummyRun(tmp_path / "pinned")
    pinned.attempt()
    name = CheckpointName.parse(pinned.save(5).name)
    pin(pinned.files, pinned.layout, name, Pin(pinned_at=0.0, note=""))
    return dummy_run


def test_there_are_commands_with_json():
    assert {"list", "show", "tensors", "diff", "verify", "prune", "rollback", "export"} <= set(
        WITH_JSON
    )
    assert set(WITH_JSON) == set(COMMANDS), "a command that answers something has --json"


@pytest.mark.parametrize("command", WITH_JSON)
def test_every_json_form_has_a_schema(command):
    assert command in schemas_of(command)


@pytest.mark.parametrize("command", WITH_JSON)
def test_every_json_form_has_an_example_or_a_link_to_its_schema(command):
    assert json_examples(command) or f"(schemas/{command}.json)" in section(command), (
        f"docs/cli.md does not say what `{command} --json` prints"
    )


EXAMPLES = [(command, example) for command in WITH_JSON for example in json_examples(command)]


@pytest.mark.parametrize(("command", "example"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_the_examples_are_of_the_form(command, example):
    assert not problems(command, json.loads(example), closed=True), example


@pytest.mark.parametrize("command", WITH_JSON)
def test_what_a_command_prints_is_of_the_form(runs, called, command):
    if command in ELSEWHERE:
        path, words = ELSEWHERE[command]
        assert words in (ROOT / path).read_text()
        return
    assert command in OUTPUTS, f"give {command} some calls in OUTPUTS"
    for code, arguments in OUTPUTS[command]:
        done = called(command, *arguments, "--json")
        assert done.returncode == code, (arguments, done.stderr)
        printed(command, done.stdout)


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_each_schema_is_one_and_is_open(path):
    """Whoever reads version 1 meets further fields; what is required is what the documentation
    shows.
    """
    schema = json.loads(path.read_text())
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert any(path.stem == name or path.stem.startswith(f"{name}-") for name in COMMANDS), (
        "of no command"
    )
    for form in schema.get("oneOf", [schema]):
        assert form["properties"]["version"]["const"] == 1
        assert "version" in form["required"]
    for part in parts(schema):
        assert part.get("additionalProperties", True) is not False, part
        assert part.get("unevaluatedProperties", True) is not False, part
        assert set(part.get("required", ())) <= set(part.get("properties", ())), part
        assert "properties" not in part or part.get("required"), part


WITH_EXAMPLE = [
    (name, example)
    for command in WITH_JSON
    for name in schemas_of(command)
    for example in map(json.loads, json_examples(command))
    if validator(name).is_valid(example)
]


def test_each_example_is_of_exactly_one_form():
    """Otherwise the test below would leave examples out without a word."""
    assert len(WITH_EXAMPLE) == len(EXAMPLES) > 0


@pytest.mark.parametrize(("name", "example"), WITH_EXAMPLE, ids=[name for name, _ in WITH_EXAMPLE])
def test_a_schema_notices_what_is_missing_or_of_another_version(name, example):
    form = validator(name)
    assert form.is_valid({**example, "added later": 1})
    assert not form.is_valid({**example, "version": 2})
    for field in example:
        assert not form.is_valid({key: value for key, value in example.items() if key != field}), (
            field
        )


def parts(schema: Any) -> list[dict[str, Any]]:
    """Every form in a schema; not what is said of a form beside, under a condition."""
    inner = (
        [each for name, each in schema.items() if name not in ("if", "then", "else", "allOf")]
        if isinstance(schema, dict)
        else schema
    )
    here = (
        [schema]
        if isinstance(schema, dict) and isinstance(schema.get("required", []), list)
        else []
    )
    return here + [
        part for each in (inner if isinstance(inner, list) else ()) for part in parts(each)
    ]
