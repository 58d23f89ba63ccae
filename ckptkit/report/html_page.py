"""The report as one HTML file: a document, and the script that draws it. It loads nothing from
anywhere.

The script is what lies in `page/`, module by module, as one text. Text from journals is data in it:
JSON in which no `<` is left, so that nothing in it ends the element that holds it, and the script
makes text nodes of it. A Content-Security-Policy (CSP Level 3, W3C) lets the page run this one
script, by its digest, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from graphlib import TopologicalSorter
from importlib.resources import files
from string import Template

from ckptkit.report.document import Document, values_of

REPORT_MARK = b"<!doctype html>\n<!-- made by ckptkit report -->\n"
"""How every report begins: by this a file is known as one that a later report may replace."""

_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./([a-z]+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:function|const) (\w+))", re.MULTILINE)


def render_page(document: Document) -> bytes:
    """The report of a document, as a whole HTML file in UTF-8."""
    style, code = _read("page.css"), script()
    policy = f"default-src 'none'; script-src {_digest(code)}; style-src {_digest(style)}; base-uri 'none'; form-action 'none'"
    # Surrogates and all else that is not ASCII are escaped by JSON; in HTML only `<` could mean
    # something inside a script element.
    data = json.dumps(values_of(document), allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    title = html.escape(
        f"{document.run.name} | ckptkit report".encode(errors="backslashreplace").decode()
    )
    text = Template(_read("page.html")).substitute(
        policy=html.escape(policy, quote=True), title=title, style=style, script=code, document=data
    )
    return text.encode()


def script() -> str:
    """The modules of the page as one classic script, each after those that it imports.

    It draws the document that the page holds, if there is one, and leaves
    `ckptkitReport.render(document, element)` for others.
    """
    home = files("ckptkit.report").joinpath("page")
    sources = {
        entry.name.removesuffix(".js"): entry.read_text("utf-8")
        for entry in home.iterdir()
        if entry.name.endswith(".js")
    }
    order = TopologicalSorter(
        {
            name: {needed for _, needed in _IMPORT.findall(source)}
            for name, source in sources.items()
        }
    )
    return (
        '(() => {\n"use strict";\n'
        + "".join(_module(name, sources[name]) for name in order.static_order())
        + "})();\n"
    )


def _module(name: str, source: str) -> str:
    """A module as an object with what it exports, so that each keeps its own names to itself."""
    exported = ", ".join(_EXPORT.findall(source))
    body = _EXPORT.sub("", _IMPORT.sub(r"const \1 = \2_js;", source))
    return f"const {name}_js = (() => {{\n{body}return {{ {exported} }};\n}})();\n"


def _read(name: str) -> str:
    return files("ckptkit.report").joinpath("page", name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
