"""The order of the package: rooms import downwards only, TensorFlow stays upstairs, private names
of others have one room, and files, classes, names and words stay within limits.
"""

from __future__ import annotations

import ast
import configparser
import io
import itertools
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ckptkit"

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
    {"bundle"},
    {"tracking"},
    {"workers"},
    {"compat"},
    {"mirror"},
    {"preemption"},
    {"testing"},
    {"exports"},
    {"run"},
    {"ownership"},
    {"storage"},
    {"policies"},
    {"layout"},
    {"position", "clock", "log", "threads", "keras_backend"},
    {"errors", "process_hooks"},
    {"exit_codes", "printable_text"},
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
    "mirror",
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
    "printable_text",
    "position",
    "clock",
    "log",
    "threads",
    "keras_backend",
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
        if room_of(found.imported) == "testing"
        and room_of(found.importer) != "testing"
        and not found.for_types
    ]


def test_the_architecture_names_every_room():
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    missing = [
        room
        for room in {room_of(module) for module in MODULES} - {"__init__", "__main__"}
        if f"`{room}`" not in text
    ]
    assert not missing


def test_the_architecture_lists_the_rooms_in_their_order():
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", text, re.MULTILINE)
    listed = [room for row in rows for room in re.findall(r"`(\w+)`", row)]
    floors = [FLOOR_OF[room] for room in listed]
    assert floors == sorted(floors)


# -- declared dependencies


def third_party_imports(folder: str) -> dict[str, str]:
    """The packages of others that a folder's files import, each with one file that does."""
    own = {"ckptkit", "tests", *(path.stem for path in (ROOT / folder).rglob("*.py"))}
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [str(node.module)]
                if isinstance(node, ast.ImportFrom) and not node.level
                else []
            )
            for name in {name.partition(".")[0] for name in names}:
                if name not in own and name not in sys.stdlib_module_names:
                    found[name] = str(path.relative_to(ROOT))
    return found


OPTIONAL = {"orbax", "jax", "torch"}
"""What a benchmark compares with if it is installed."""


@pytest.mark.parametrize("folder", ["tests", "scripts"])
def test_every_import_of_a_test_is_declared(folder):
    """In setup.cfg: by the package itself or by its extra `test`."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    declared = "\n".join(
        [
            setup["options"]["install_requires"],
            *(setup["options.extras_require"][name] for name in ("test", "docs")),
        ]
    )
    names = {normal(line) for line in declared.split("\n") if line}
    distributions = packages_distributions()
    undeclared = {
        name: path
        for name, path in third_party_imports(folder).items()
        if name not in OPTIONAL
        and not names & {normal(each) for each in distributions.get(name, [name])}
    }
    assert not undeclared


def normal(requirement: str) -> str:
    """The name in a requirement, as package indexes compare names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=;\s\[]", requirement)[0]).lower()


# -- sizes, names and words

MAX_LINES = 400
MAX_ATTRIBUTES = 15
MAX_IMPORTED_MODULES = 15

PROSE = {
    "goes on": r"\b(?:goes|went) on\b",
    "is said": r"\b(?:is|are) said\b",
    "takes away": r"\b(?:takes|taken) away\b",
    "so-manieth": r"\bso-manieth\b",
    "somebody": r"\b[Ss]omebody\b",
    "whoever": r"\b[Ww]hoever\b",
    "lets go of": r"\blets go of\b",
    "comes to": r"\bcomes to\b",
    "what is there": r"\bwhat is there\b",
    "as far as it is known": r"\bas far as it is known\b",
    "cannot be right": r"\bcannot be right\b",
    "all the same": r"\ball the same\b",
    "in vain": r"\bin vain\b",
    "tells of": r"\btells? of\b",
    "without a word": r"\bwithout a word\b",
    "for want of": r"\bfor want of\b",
    "the present one": r"\b[Tt]he present (?:attempt|call|epoch|event|life|one|state|step)\b",
    "what it has returned": r"\bwhat `\w+` has returned\b",
    "where for if": (
        r"(?:(?:Error|None|null|True|False|Unavailable|\d|empty|only|also|even):? |[.,;] )"
        r"where (?:it|that|this|there|a|the|no|one|nothing)\b"
        r"|\b[Ww]here (?:there (?:is|are|was|were)|no|one is|nothing)\b"
        r"|(?:^|[.;] )Where (?:it|that|this|no|one|nothing)\b"
    ),
}
"""Phrases that readers stumbled over, and the plain form of each is known: "continues", "logs",
"deletes", "if", "is invalid", "nevertheless", "the current step", "the result of". A rule is about
prose: docstrings, comments, messages, pages.
"""


def prose_of(path: Path) -> str:
    """The docstrings, comments and string literals of a Python file; another file whole."""
    text = path.read_text()
    if path.suffix != ".py":
        return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    kinds = (
        (tokenize.COMMENT, tokenize.STRING, tokenize.FSTRING_MIDDLE)
        if sys.version_info >= (3, 12)
        else (tokenize.COMMENT, tokenize.STRING)
    )
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    parts = [token.string.strip("#\"'rbf") for token in tokens if token.type in kinds]
    return " ".join(" ".join(parts).split())


def long_files() -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in MODULES.values()
        if len(path.read_text().splitlines()) > MAX_LINES
    }


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """Each class at the top level of a file of the package, with the file's module."""
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                yield module, node


def repeated(names: Iterable[str]) -> set[str]:
    return {name for name, times in Counter(names).items() if times > 1}


def repeated_class_names() -> set[str]:
    return repeated(node.name for _, node in classes())


def repeated_file_names() -> set[str]:
    return repeated(path.name for path in MODULES.values()) - {"__init__.py"}


def is_record(node: ast.ClassDef) -> bool:
    """Whether a class is a value without behaviour of its own, such as a row or an event."""
    decorators = " ".join(ast.unparse(each) for each in node.decorator_list)
    bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    return "frozen=True" in decorators or bool(bases & {"Struct", "TypedDict", "NamedTuple"})


def attributes(node: ast.ClassDef) -> set[str]:
    """What an object of a class is made of: what its methods assign to `self`, and its fields."""
    found = {
        target.attr
        for each in ast.walk(node)
        for target in getattr(each, "targets", [getattr(each, "target", None)])
        if isinstance(each, ast.Assign | ast.AnnAssign)
        and isinstance(target, ast.Attribute)
        and isinstance(target.value, ast.Name)
        and target.value.id == "self"
    }
    return found | {
        each.target.id
        for each in node.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }


def large_classes() -> set[str]:
    return {
        f"{module}.{node.name}"
        for module, node in classes()
        if not is_record(node) and len(attributes(node)) > MAX_ATTRIBUTES
    }


def files_that_import_much() -> set[str]:
    imported: dict[str, set[str]] = {}
    for found in INSIDE:
        if not found.for_types:
            imported.setdefault(found.importer, set()).add(found.imported)
    return {
        str(MODULES[module].relative_to(ROOT))
        for module, modules in imported.items()
        if len(modules) > MAX_IMPORTED_MODULES
    }


def pages() -> list[Path]:
    names = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
    folders = ("docs", "changes", "configs")
    return [
        *(ROOT / name for name in names),
        *(path for folder in folders for path in sorted((ROOT / folder).rglob("*.md"))),
    ]


def files_with_banned_phrases() -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in [*MODULES.values(), *pages()]
        if any(re.search(pattern, prose_of(path)) for pattern in PROSE.values())
    }


def files_with_long_summaries() -> set[str]:
    """Files in which the first sentence of a docstring needs more than one line."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return {
        str(path.relative_to(ROOT))
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, documented)
        and "\n" in (ast.get_docstring(node) or "").partition("\n\n")[0]
    }


RULES: dict[str, tuple[Callable[[], set[str]], str]] = {
    "long files": (long_files, f"a file of the package has at most {MAX_LINES} lines"),
    "class names": (repeated_class_names, "a class name exists once in the package"),
    "file names": (repeated_file_names, "a file name exists once in the package"),
    "attributes": (large_classes, f"a class has at most {MAX_ATTRIBUTES} attributes"),
    "imports": (
        files_that_import_much,
        f"a file imports at most {MAX_IMPORTED_MODULES} modules of the package",
    ),
    "summaries": (
        files_with_long_summaries,
        "the first paragraph of a docstring is one line; details follow an empty line",
    ),
    "prose": (files_with_banned_phrases, "see PROSE for the phrases and their plain forms"),
}


@pytest.mark.parametrize("name", RULES)
def test_a_limit_holds(name):
    rule, explanation = RULES[name]
    assert rule() == set(), explanation


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("# The run goes on from there.", "goes on"),
        (
            "def f():\n    '''X.\n\n    Raises:\n        ConfigError: where it is none.\n    '''",
            "where for if",
        ),
        ("print('The number, where there is\\\n one')", "where for if"),
        ("x = 'Where no run is, nothing happens.'", "where for if"),
        ("# None where the disk is full", "where for if"),
        ("'''The number of the present epoch.'''", "the present one"),
        ("x = 'An argument cannot be right.'", "cannot be right"),
    ],
)
def test_a_banned_phrase_is_found(text, phrase, tmp_path):
    path = tmp_path / "file.py"
    path.write_text(text)
    assert [name for name, pattern in PROSE.items() if re.search(pattern, prose_of(path))] == [
        phrase
    ]


@pytest.mark.parametrize(
    "text",
    ["goes_on = where_it_is", "# It says where the run is.", "# clock: where the time comes from"],
)
def test_a_place_is_no_condition(text, tmp_path):
    path = tmp_path / "file.py"
    path.write_text(text)
    assert not [name for name, pattern in PROSE.items() if re.search(pattern, prose_of(path))]
