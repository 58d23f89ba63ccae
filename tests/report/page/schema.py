"""The schema of the report's document, from its types: `python -m tests.report.page.schema >
docs/schemas/report.json` writes it anew.

What a field means stands in the docstring of its class; from there it comes into the schema.
"""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import msgspec

from ckptkit.report import checkpoint_rows, document, timeline_rows

_ARGUMENT = re.compile(r"^    (\w[\w, ]*): (.*(?:\n        .*)*)", re.MULTILINE)


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12."""
    made = msgspec.json.schema(document.Document)
    definitions = {
        name: _described(name, made["$defs"][name])
        for name in sorted(made["$defs"])
        if name != "Document"
    }
    whole = _described("Document", made["$defs"]["Document"])
    whole["properties"]["version"] = {
        "const": document.DOCUMENT_VERSION,
        "description": "of this form; fields may be added under it",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ckptkit report --json",
        **whole,
        "$defs": definitions,
    }


def _described(name: str, definition: dict[str, Any]) -> dict[str, Any]:
    text = (
        inspect.getdoc(
            next(
                getattr(home, name)
                for home in (document, timeline_rows, checkpoint_rows)
                if hasattr(home, name)
            )
        )
        or ""
    )
    summary, _, arguments = text.partition("\n\nArgs:\n")
    words = {
        field.strip(): " ".join(said.split())
        for fields, said in _ARGUMENT.findall(arguments)
        for field in fields.split(",")
    }
    # With `default` a reader could leave a field out; a writer never does.
    properties = {
        field: {
            **{key: value for key, value in form.items() if key != "default"},
            **({"description": words[field]} if field in words else {}),
        }
        for field, form in definition["properties"].items()
    }
    return {
        "type": "object",
        "description": " ".join(summary.split()),
        "required": list(properties),
        "properties": properties,
    }


def text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(text(), end="")
