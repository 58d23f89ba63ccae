"""Each name in `ckptkit/compat/` does what the package relies on, in the installed versions.

The names are private in TensorFlow and Keras, so any version may change them. Then the check of
that name fails, and the message says which version that is.
"""

from __future__ import annotations

import ast
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.processes import ROOT


def functions_and_classes(path: Path) -> set[str]:
    found = {
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    return {name for name in found if not name.startswith("_")}


NAMES = {
    path.stem: names
    for path in sorted((ROOT / "ckptkit" / "compat").glob("*.py"))
    if (names := functions_and_classes(path))
}
"""The public names of each file in `ckptkit/compat/`."""


def test_every_name_has_a_check():
    """The checks are not imported here, because that would import TensorFlow."""
    checks = {
        module: functions_and_classes(ROOT / "tests" / "compat" / f"{module}_checks.py")
        for module in NAMES
    }
    assert checks == NAMES


@pytest.mark.parametrize(
    ("module", "name"),
    [(module, name) for module, names in NAMES.items() for name in sorted(names)],
)
def test_a_private_name_does_what_is_relied_on(tf_call, module, name):
    process = tf_call(f"tests.compat.{module}_checks:{name}")
    assert process.wait() == 0, (
        f"{name} in ckptkit/compat/{module}.py does not hold in TensorFlow "
        f"{version('tensorflow')} with Keras {version('keras')}: adapt it, or exclude the version "
        f"in setup.cfg.\n{process.output()}"
    )


def test_every_function_says_why_it_is_needed():
    for module in NAMES:
        tree = ast.parse((ROOT / "ckptkit" / "compat" / f"{module}.py").read_text())
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        without = [
            node.name
            for node in functions
            if not node.name.startswith("_") and "Reason:" not in (ast.get_docstring(node) or "")
        ]
        assert without == [], module
        assert "Tried with TensorFlow" in (ast.get_docstring(tree) or ""), module
