"""The order of the house: rooms import downwards only, TensorFlow stays upstairs, private names
stay in one file.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "ckptkit"

FLOORS = [
    {"__main__"},
    {"cli"},
    {"audit"},
    {"launcher"},
    {"keras"},
    {"manager"},
    {"session"},
    {"export"},
    {"load"},
    {"tensorboard"},
    {"report"},
    {"restore"},
    {"data"},
    {"writing"},
    {"tracking"},
    {"workers"},
    {"compat"},
    {"preemption"},
    {"testing"},
    {"exports"},
    {"run"},
    {"ownership"},
    {"storage"},
    {"policies"},
    {"layout"},
    {"position", "clock", "log", "threads"},
    {"errors", "process_hooks"},
    {"exit_codes"},
    {"__init__"},
]
"""Rooms from top to bottom. A room imports from the floors below its own; inside a room, files
import in any order without circles.
"""

FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
TENSORFLOW = {"tensorflow", "keras", "tf_keras", "tensorboard"}
WITHOUT_TENSORFLOW = {
    "__main__",
    "cli",
    "audit",
    "launcher",
    "report",
    "preemption",
    "testing",
    "exports",
    "run",
    "ownership",
    "storage",
    "policies",
    "layout",
    "errors",
    "exit_codes",
    "position",
    "clock",
    "log",
    "threads",
    "process_hooks",
    "__init__",
}


@dataclass(frozen=True)
class Import:
    """One import in a file.

    Args:
        importer: the module that imports.
        imported: the module that is imported; of `from a import b` it is `a.b` where that is a
            module of the package.
        line: where.
        lazy: whether it is inside a function.
        for_types: whether only a type checker sees it.
    """

    importer: str
    imported: str
    line: int
    lazy: bool
    for_types: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imports_of(module: str) -> Iterator[Import]:
    def visit(node: ast.AST, lazy: bool, for_types: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (
                Import(module, alias.name, node.lineno, lazy, for_types) for alias in node.names
            )
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: an import names its module whole"
            for alias in node.names:
                longer = f"{node.module}.{alias.name}"
                yield Import(
                    module,
                    longer if longer in MODULES else str(node.module),
                    node.lineno,
                    lazy,
                    for_types,
                )
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if (
            isinstance(node, ast.If)
            and isinstance(node.test, ast.Name)
            and node.test.id == "TYPE_CHECKING"
        ):
            for_types = True
        for child in ast.iter_child_nodes(node):
            yield from visit(child, lazy, for_types)

    yield from visit(ast.parse(MODULES[module].read_text()), lazy=False, for_types=False)


IMPORTS = [found for module in MODULES for found in imports_of(module)]
INSIDE = [found for found in IMPORTS if found.imported.split(".")[0] == "ckptkit"]


def said(found: list[Import]) -> str:
    return "\n".join(map(str, found))


def test_every_room_has_its_floor():
    unknown = {room_of(module) for module in MODULES} - FLOOR_OF.keys()
    assert not unknown, (
        f"{unknown}: give these rooms their floor in tests/test_house.py and in "
        "docs/architecture.md"
    )


def test_every_import_inside_the_package_is_found():
    assert [str(found) for found in INSIDE if found.imported not in MODULES] == []


def test_rooms_import_downwards_only():
    upwards = [
        found
        for found in INSIDE
        if not found.for_types
        and room_of(found.importer) != room_of(found.imported)
        and FLOOR_OF[room_of(found.imported)] <= FLOOR_OF[room_of(found.importer)]
    ]
    assert not upwards, said(upwards)


def test_no_circles():
    """Inside a room, too, where the order is free."""
    graph = {
        module: {
            found.imported
            for found in INSIDE
            if found.importer == module and not found.for_types and found.imported != module
        }
        for module in MODULES
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_tensorflow_stays_upstairs():
    found = [
        found
        for found in IMPORTS
        if found.imported.split(".")[0] in TENSORFLOW
        and room_of(found.importer) in WITHOUT_TENSORFLOW
    ]
    assert not found, said(found)


def test_readers_reach_no_tensorflow_on_any_way():
    """Neither themselves nor through what they import; what a function imports when it is called
    has its own test.
    """
    direct: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in IMPORTS:
        if not found.lazy and not found.for_types:
            parents = itertools.accumulate(found.imported.split("."), lambda a, b: f"{a}.{b}")
            direct[found.importer] |= {
                found.imported,
                *(parent for parent in parents if parent in MODULES),
            }
    for start in [module for module in MODULES if room_of(module) in WITHOUT_TENSORFLOW]:
        ways, reached = [(start,)], {start}
        while ways:
            way = ways.pop()
            assert way[-1].split(".")[0] not in TENSORFLOW, " -> ".join(way)
            for following in direct.get(way[-1], set()) - reached:
                reached.add(following)
                ways.append((*way, following))


def test_private_names_of_tensorflow_and_keras_have_one_home():
    private = ("tensorflow.python", "tensorflow.core", "keras.src", "keras._")
    found = [
        found
        for found in IMPORTS
        if found.imported.startswith(private) and room_of(found.importer) != "compat"
    ]
    assert not found, said(found)


def test_the_home_of_private_names_rests_on_nothing_and_is_used_upstairs_only():
    assert not [
        found for found in INSIDE if room_of(found.importer) == "compat" != room_of(found.imported)
    ]
    users = {room_of(found.importer) for found in INSIDE if room_of(found.imported) == "compat"}
    assert not users & WITHOUT_TENSORFLOW


def test_the_package_itself_imports_lazily():
    eager = [
        found
        for found in INSIDE
        if found.importer == "ckptkit" and not found.lazy and not found.for_types
    ]
    assert not eager, said(eager)


def test_nobody_needs_the_tools_of_the_tests():
    assert not [
        found
        for found in INSIDE
        if room_of(found.imported) == "testing" and room_of(found.importer) != "testing"
    ]


def test_the_architecture_names_every_room():
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    missing = [
        room
        for room in {room_of(module) for module in MODULES} - {"__init__", "__main__"}
        if f"`{room}`" not in text
    ]
    assert not missing
