"""The JSON schemas in docs/schemas, and what commands print held against them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"


def schemas_of(command: str) -> list[str]:
    """The names of a command's schemas: its own, and `<command>-<form>` for each further form."""
    return sorted(
        path.stem
        for path in SCHEMAS.glob("*.json")
        if path.stem == command or path.stem.startswith(f"{command}-")
    )


def validator(name: str, *, closed: bool = False) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    return Draft202012Validator(_closed(schema) if closed else schema)


def problems(command: str, document: Any, *, closed: bool = False) -> list[str]:
    """What keeps a document from being of any of the command's forms; of several forms, of the one
    that it is nearest to.

    Args:
        command: its name.
        document: what it has printed, or is documented to print.
        closed: whether a field that the schema does not describe is a problem, too.
    """
    found = []
    for name in schemas_of(command):
        form = validator(name, closed=closed)
        errors = [
            f"{name}: {error.json_path}: {error.message}" for error in form.iter_errors(document)
        ]
        if not errors:
            return []
        found.append(errors)
    return min(found, key=len, default=[f"docs/schemas has no {command}.json"])


def printed(command: str, text: str) -> Any:
    """What a command has printed with `--json`: of the form that is documented, with no field that
    is not.
    """
    document = json.loads(text, parse_constant=_refuse)
    assert not problems(command, document, closed=True)
    return document


def _closed(schema: Any) -> Any:
    """A schema that lets no other fields through than those that it describes; a schema for readers
    is open.
    """
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _closed(each) for name, each in schema.items()}
    return (
        {"additionalProperties": False, **inner}
        if isinstance(schema.get("properties"), dict) and "required" in schema
        else inner
    )


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is a number to Python, and no JSON.")
