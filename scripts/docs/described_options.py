"""Puts the description of `**options` into the reference; an extension of griffe.

At run time a class decorator does the same, which a reader of the source does not see.
"""

import ast
import inspect
from pathlib import Path

import griffe

_OPTIONS = Path(__file__).resolve().parents[2] / "ckptkit" / "session" / "options.py"
_TAKEN = {
    "CheckpointCallback": ("CallbackOptions",),
    "CheckpointManager": ("CallbackOptions", "ManagerOptions"),
}


def described(kind: str) -> str:
    """Return the `Args:` of a typed dictionary of options."""
    for node in ast.parse(_OPTIONS.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == kind:
            _, _, text = inspect.cleandoc(ast.get_docstring(node) or "").partition("Args:\n")
            return text.rstrip()
    raise LookupError(kind)


class DescribedOptions(griffe.Extension):
    def on_class(self, *, cls: griffe.Class, **_: object) -> None:
        if cls.name in _TAKEN and cls.docstring is not None:
            options = "\n".join(described(kind) for kind in _TAKEN[cls.name])
            cls.docstring.value = cls.docstring.value.replace("    {options}", options)
        _name_examples(cls)

    def on_function(self, *, func: griffe.Function, **_: object) -> None:
        _name_examples(func)


def _name_examples(documented: griffe.Object) -> None:
    """Give the section of examples the name by which griffe knows it."""
    if documented.docstring is not None:
        text = documented.docstring.value
        documented.docstring.value = text.replace("\nExample:\n", "\nExamples:\n")
