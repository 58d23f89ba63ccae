"""Renders the report as one self-contained HTML file: a document, and the script that draws it.

The script consists of the modules in `page/`, joined into one text. The page embeds the document
as JSON, which contains text from journals. Every `<` in it is escaped, so that no text can end the
script element. The script shows such text as plain text, never as HTML. A Content-Security-Policy
(CSP Level 3, W3C) allows only this script and this style sheet, each by its digest.
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
"""The beginning of every report, by which a later report recognises a file it may replace."""

_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./([a-z]+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:function|const) (\w+))", re.MULTILINE)


def render_page(document: Document) -> bytes:
    """Return the report of a document as a complete HTML file in UTF-8."""
    style, code = _read("page.css"), script()
    policy = (
        f"default-src 'none'; script-src {_digest(code)}; style-src {_digest(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    # JSON escapes surrogates and everything that is not ASCII. Inside a script element, HTML gives
    # a meaning only to `<`.
    data = json.dumps(values_of(document), allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    title = html.escape(
        f"{document.run.name} | ckptkit report".encode(errors="backslashreplace").decode()
    )
    text = Template(_read("page.html")).substitute(
        policy=html.escape(policy, quote=True), title=title, style=style, script=code, document=data
    )
    return text.encode(errors="backslashreplace")


def script() -> str:
    """Return the modules of the page as one classic script, each after its imports.

    It draws the document in the page, if there is one. It also defines
    `ckptkitReport.render(document, element)` for other pages.
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
    """Return a module as an object with its exports, so that modules share no other names."""
    exported = ", ".join(_EXPORT.findall(source))
    body = _EXPORT.sub("", _IMPORT.sub(r"const \1 = \2_js;", source))
    return f"const {name}_js = (() => {{\n{body}return {{ {exported} }};\n}})();\n"


def _read(name: str) -> str:
    return files("ckptkit.report").joinpath("page", name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
