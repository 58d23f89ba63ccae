"""Documentation that cannot rot: its examples run, its commands exist, its tables are what the code
says.
"""

from __future__ import annotations

import ast
import configparser
import dataclasses
import json
import os
import re
import runpy
import statistics
import subprocess
import sys
from collections.abc import Iterator

import pytest

import ckptkit
from ckptkit.cli import main
from ckptkit.cli.command_group import COMMANDS
from ckptkit.exit_codes import ExitCode
from ckptkit.exports.export_record import (
    ExportRecord,
    ExportSource,
    Proof,
    SignatureRecord,
    TensorForm,
)
from ckptkit.run.events import EVENTS, Event
from ckptkit.run.manifest import FileEntry, Manifest, StateEntry
from ckptkit.run.tensor_entry import TensorEntry
from tests.cli.conftest import DummyRun
from tests.docs_examples import ROOT, RUN_PAGES, command_lines, json_examples

pytestmark = pytest.mark.xdist_group("docs")  # one process runs all examples

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def read(name: str) -> str:
    return (ROOT / name).read_text()


# -- examples


@pytest.fixture(scope="session")
def examples(fork_server):
    """What came of all examples, run in one process with TensorFlow and without a GPU."""
    return (
        fork_server.call("tests.docs_examples:run_all", env={"CUDA_VISIBLE_DEVICES": ""})
        .check(timeout=500)
        .result
    )


def test_the_examples_in_docstrings_run(examples):
    assert set(examples["docstrings"]) >= {
        "CheckpointCallback",
        "CheckpointManager",
        "open_run",
        "KeepBest",
        "FaultyFiles",
        "PowerLoss",
    }
    assert {name: said for name, said in examples["docstrings"].items() if said} == {}


@pytest.mark.parametrize("page", RUN_PAGES)
def test_the_blocks_and_commands_of_a_page_run(examples, page):
    results = examples["pages"][page]
    assert {name: said for name, said in results.items() if said} == {}
    if page in ("README.md", "docs/tutorial.md"):
        assert len(results) >= 5


def test_readme_is_short():
    assert len(read("README.md").splitlines()) <= 150


SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\[])|\n\s*\n|\n(?=[-|#])|:\n")


def sentences(text: str) -> list[str]:
    """The sentences of a page's prose, without code, tables, headings and HTML."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<picture>.*?</picture>", "", text, flags=re.DOTALL)
    text = re.sub(r"^(?:\||#).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)
    return [each for found in SENTENCE_END.split(text) if len((each := found.strip()).split()) > 2]


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_sentences_are_short(page):
    lengths = {sentence: len(sentence.split()) for sentence in sentences(read(page))}
    assert len(lengths) > 15
    assert [sentence for sentence, words in lengths.items() if words > 40] == []
    assert statistics.median(lengths.values()) <= 16


def test_a_long_sentence_is_found():
    text = "# A heading\n\nOne is short here. W" + "word " * 41 + "end.\n\n```sh\nx\n```\n"
    assert max(len(each.split()) for each in sentences(text)) == 42


def test_the_site_has_every_page():
    """The build itself is a stage of scripts/test, with warnings as errors."""
    named = set(re.findall(r"([\w/-]+\.md)$", read("mkdocs.yml"), re.MULTILINE))
    assert named == {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}


def test_the_reference_has_every_public_name():
    shown = re.findall(r"^::: ckptkit\.(?:testing\.)?(\w+)$", read("docs/reference.md"), re.M)
    assert sorted(shown) == sorted(PUBLIC)


def test_the_key_that_show_prints_is_the_one_that_is_written(examples):
    shown, written = examples["suffixes"]
    assert shown == written
    assert written in read("docs/format.md")


# -- docstrings


def definition(name: str, home: str) -> tuple[ast.ClassDef | ast.FunctionDef, ast.Module]:
    """Where a public name is defined, and its file; a room's `__init__` may hand on what a file of
    it defines.
    """
    path = ROOT.joinpath(*home.split("."))
    tree = ast.parse(
        (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    )
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node, tree
        if isinstance(node, ast.ImportFrom) and any(
            (alias.asname or alias.name) == name for alias in node.names
        ):
            return definition(name, str(node.module))
    raise AssertionError(f"{home} does not define {name}")


DEFINITIONS = {
    name: definition(name, home) for home, names in ckptkit._HOMES.items() for name in names
}
DEFINITIONS |= {name: definition(name, "ckptkit.testing") for name in ckptkit.testing.__all__}
PUBLIC = {name: node for name, (node, _) in DEFINITIONS.items()}


def raising(tree: ast.Module) -> set[str]:
    """Names of the functions and methods of a file that raise something, themselves or through
    another one of that file.
    """
    bodies = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    found = {
        name
        for name, body in bodies.items()
        if any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(body))
    }
    while more := {
        name for name, body in bodies.items() if name not in found and called(body) & found
    }:
        found |= more
    return found


def called(body: ast.AST) -> set[str]:
    """The functions and methods of the same file that a function calls."""
    calls = [node.func for node in ast.walk(body) if isinstance(node, ast.Call)]
    own = [
        f.attr
        for f in calls
        if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name) and f.value.id == "self"
    ]
    return {*own, *(f.id for f in calls if isinstance(f, ast.Name))}


def functions(node: ast.AST) -> Iterator[tuple[str, str | None, ast.FunctionDef]]:
    """What a user may call on a public object: its name, the docstring that has to speak of errors,
    and the function.
    """
    if isinstance(node, ast.FunctionDef):
        yield node.name, ast.get_docstring(node), node
    for method in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(method, ast.FunctionDef):
            constructs = method.name in ("__init__", "__post_init__")
            if constructs or not method.name.startswith("_"):
                yield (
                    f"{node.name}.{method.name}",
                    ast.get_docstring(node if constructs else method),
                    method,
                )


def is_error(node: ast.AST) -> bool:
    bases = (
        [base.id for base in node.bases if isinstance(base, ast.Name)]
        if isinstance(node, ast.ClassDef)
        else []
    )
    return any(base.endswith(("Error", "Exception", "Exit")) for base in bases)


def test_every_public_name_has_a_home():
    assert {*PUBLIC, "__version__"} == {*ckptkit.__all__, *ckptkit.testing.__all__}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_objects_are_documented_with_an_example(name):
    node = PUBLIC[name]
    docstring = ast.get_docstring(node)
    assert docstring, f"{name} has no docstring"
    # An error is shown by the example of what raises it; their root stands for all of them.
    assert "Example:\n" in docstring or (is_error(node) and name != "CheckpointError"), (
        f"{name} has no example"
    )


@pytest.mark.parametrize("name", PUBLIC)
def test_what_raises_says_so(name):
    found = raising(DEFINITIONS[name][1])
    silent = [
        function
        for function, docstring, node in functions(PUBLIC[name])
        if node.name in found and "Raises:\n" not in (docstring or "")
    ]
    assert not silent, "these raise, and their docstrings have no `Raises:`"


@pytest.mark.parametrize("name", PUBLIC)
def test_arguments_are_documented(name):
    node = PUBLIC[name]
    inits = [
        found
        for found in ast.walk(node)
        if isinstance(found, ast.FunctionDef) and found.name in ("__init__", node.name)
    ]
    taken = [
        argument.arg
        for init in inits
        for argument in (*init.args.args, *init.args.kwonlyargs)
        if argument.arg != "self"
    ]
    missing = [
        argument for argument in taken if f"    {argument}: " not in (ast.get_docstring(node) or "")
    ]
    assert not missing


# -- README and the pages


def test_the_commands_in_readme_exist():
    commands = command_lines(read("README.md"))
    assert ["scripts/demo"] in commands
    assert ["scripts/test"] in commands
    for command in commands:
        if command[0] == "ckptkit":
            assert command[1] in COMMANDS
        else:
            assert os.access(ROOT / command[0], os.X_OK), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


PLACES = re.compile(r"`((?:[\w.]+/)*[\w.]+\.(?:py|md|json|yaml|toml|sh|sbatch|yml))`")
SHORT = {"manifest.json", "EXPORT.json", "owner.json"}
"""Files of a run, which no repository has."""


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_file_that_a_page_names_exists(name):
    """By its path from the top, or from the package."""
    missing = [
        place
        for place in PLACES.findall(read(name))
        if place not in SHORT
        and not (ROOT / place).exists()
        and not (ROOT / "ckptkit" / place).exists()
    ]
    assert not missing


def test_the_glossary_names_rooms_that_exist():
    rows = re.findall(r"^\| ([^|]+) \| `(\w+)` \|", read("docs/glossary.md"), re.MULTILINE)
    words = [word for word, _ in rows]
    assert words == sorted(words)
    assert len(rows) > 40
    homes = {path.stem for path in (ROOT / "ckptkit").iterdir()}
    assert {room for _, room in rows} <= homes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_of_prose_are_short(page):
    """At most 120 characters, apart from tables and code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    long = [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")]
    assert not long


def test_the_page_of_errors_names_the_exit_codes_that_there_are():
    rows = re.findall(r"^\| (\d+) \|", read("docs/how-to/errors.md"), re.MULTILINE)
    assert [int(code) for code in rows] == sorted(ExitCode)


def test_every_exit_code_that_is_documented_is_seen_in_a_test():
    tables = [
        read("docs/how-to/errors.md").split("## Exit codes")[1].split("\n## ")[0],
        read("docs/cli.md").split("## Exit codes")[1].split("\n## ")[0],
        read("docs/cli.md").split("## `ckptkit run`")[1].split("\n## ")[0],
    ]
    codes = {
        int(code)
        for table in tables
        for code in re.findall(r"(?:^\| |with |or )(\d+)(?: \||\b)", table, re.MULTILINE)
    }
    assert codes >= {*ExitCode, 126, 127}
    seen = {
        code
        for folder in ("launcher", "cli", "preemption")
        for path in (ROOT / "tests" / folder).glob("test_*.py")
        for code in exit_codes_in(ast.parse(path.read_text()))
    }
    assert not codes - seen


ENDS = re.compile(r"\bwait\(\)|\breturncode\b|\b(?:exit_)?code\b|\bexit_code\b|\b(?:main|cli)\(")
"""What has an exit code as its value."""


def exit_codes_in(tree: ast.AST) -> set[int]:
    """The numbers that a test's exit code is compared with, directly, as a parameter, or by the
    table of a loop.
    """
    found: set[int] = set()

    def take(node: ast.AST) -> None:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            found.add(node.value)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ExitCode":
            found.add(int(ExitCode[node.attr]))

    def column(names: list[str], rows: ast.AST) -> None:
        if "code" in names and isinstance(rows, ast.List | ast.Tuple):
            for row in rows.elts:
                take(
                    row
                    if len(names) == 1
                    else row.elts[names.index("code")]
                    if isinstance(row, ast.Tuple)
                    else row
                )

    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq):
            sides = [
                side.elts if isinstance(side, ast.Tuple) else [side]
                for side in (node.left, node.comparators[0])
            ]
            for one, other in zip(*sides, strict=False):
                for said, number in ((one, other), (other, one)):
                    if ENDS.search(ast.unparse(said)):
                        take(number)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "ends":
            take(node.args[1])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.parametrize":
            names = ast.literal_eval(node.args[0])
            column([names] if isinstance(names, str) else list(names), node.args[1])
        elif isinstance(node, ast.For) and isinstance(node.target, ast.Tuple):
            column([ast.unparse(each) for each in node.target.elts], node.iter)
    return found


def test_a_number_beside_an_exit_code_is_not_seen():
    source = """
assert done.returncode == 7, 8
launched.wait()
x = 9
assert codes == 10
assert (a.exit_code, b) == (11, 12)
assert 13 == main([14])
"""
    assert exit_codes_in(ast.parse(source)) == {7, 11, 13}


# -- the commands


def test_the_reference_has_a_place_for_the_help_of_each_command():
    assert re.findall(r"^<!-- help: ckptkit ?(\w*) -->$", read("docs/cli.md"), re.MULTILINE) == [
        "",
        *COMMANDS,
    ]


def test_the_reference_has_the_present_help_of_each_command():
    program = runpy.run_path(str(ROOT / "scripts" / "docs" / "command_help.py"))
    page = read("docs/cli.md")
    assert program["with_help"](page) == page, "run: python scripts/docs/command_help.py"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example_of_it(command, capsys):
    assert main([command, "--help"]) == 0
    _, found, examples = capsys.readouterr().out.partition("\n  Examples:\n")
    assert found
    assert all(line.startswith(f"    ckptkit {command}") for line in examples.splitlines() if line)


def test_the_reference_has_every_exit_code():
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", read("docs/cli.md"), re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [
        (int(code), code.name) for code in ExitCode
    ]


def test_the_reference_has_every_state():
    source = (ROOT / "ckptkit" / "cli" / "run_state.py").read_text()
    states = set(
        re.findall(
            r"`(\w+)`", source[source.index("name: `new`") : source.index("words: the same")]
        )
    )
    text = read("docs/cli.md")
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == states


def form(value: object) -> object:
    """The names in a JSON form, without values; of a list, those of its first item. A dictionary of
    the user's own names has none.
    """
    if isinstance(value, dict):
        own = ("metrics", "hyperparameters", "versions", "optimizers")
        return {name: None if name in own else form(item) for name, item in value.items()}
    return (
        [form(value[0])]
        if isinstance(value, list) and value and isinstance(value[0], dict)
        else None
    )


WITH_JSON = {
    "list": [],
    "history": [],
    "show": [],
    "verify": ["--all"],
    "prune": ["--keep-latest", "1", "--dry-run"],
    "rollback": ["100", "--yes"],
}


@pytest.mark.parametrize("command", WITH_JSON)
def test_the_reference_shows_each_json_form(tmp_path, command):
    run = DummyRun(tmp_path / "run")
    run.attempt()
    run.save(100)
    run.save(200)
    done = subprocess.run(
        [sys.executable, "-m", "ckptkit", command, run.root, *WITH_JSON[command], "--json"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert form(json.loads(done.stdout)) == form(json.loads(json_examples(command)[0]))


# -- the format


def events_table() -> str:
    """The table of all events, as docs/format.md has it."""
    common = {field.name for field in dataclasses.fields(Event)}
    rows = ["| event | fields | meaning |", "|---|---|---|"]
    for name, cls in EVENTS.items():
        fields = ", ".join(
            f"`{field.name}` {field.type}".replace("|", "\\|")
            for field in dataclasses.fields(cls)
            if field.name not in common
        )
        rows.append(f"| `{name}` | {fields} | {' '.join(str(cls.__doc__).split())} |")
    return "\n".join(rows)


def test_the_format_has_every_event():
    shown = re.search(
        r"<!-- events: .*?-->\n\n(.*?)\n\n<!-- end of events -->", read("docs/format.md"), re.DOTALL
    )
    assert shown is not None
    assert shown[1] == events_table(), f"put this into docs/format.md:\n{events_table()}"


def test_the_format_has_every_field_of_the_manifest():
    text = read("docs/format.md")
    for cls in (Manifest, StateEntry, TensorEntry, FileEntry):
        missing = [field.name for field in dataclasses.fields(cls) if f"`{field.name}`" not in text]
        assert not missing, f"{cls.__name__}: {missing}"


def test_the_format_has_every_field_of_an_exports_record():
    text = read("docs/format.md")
    for cls in (ExportRecord, SignatureRecord, TensorForm, ExportSource, Proof):
        missing = [name for name in cls.__struct_fields__ if f"`{name}`" not in text]
        assert not missing, f"{cls.__name__}: {missing}"


def test_the_format_has_every_mark_of_python_state():
    names = ("python_state", "plain_values", "object_encoding")
    sources = [(ROOT / "ckptkit" / "tracking" / f"{name}.py").read_text() for name in names]
    marks = set(re.findall(r'"(__\w+__)"', "".join(sources))) - {"__module__", "__qualname__"}
    rows = re.findall(r"^\| (`__[^|]*) \|", read("docs/format.md"), re.MULTILINE)
    assert set(re.findall(r"`(__\w+__)`", " ".join(rows))) == marks


def test_the_format_has_every_role_that_is_written(examples):
    shown = re.search(r"\| role \| what \|\n(.*?)\n\n", read("docs/format.md"), re.DOTALL)
    assert shown is not None
    roles = set(re.findall(r"^\| `(\w+)` \|", shown[1], re.MULTILINE))
    assert (
        {"weights", "optimizer", "metrics", "seeds", "state", "trackables"}
        <= set(examples["roles"])
        <= roles
    )


def test_every_dependency_has_its_reason():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    needed = [setup["options"]["install_requires"], extras["s3"], extras["gcs"], extras["azure"]]
    wanted = {
        re.split(r"[<>=;\s]", line)[0] for each in needed for line in each.split("\n") if line
    }
    assert (
        set(re.findall(r"^\| `([\w-]+)` \|", read("docs/dependencies.md"), re.MULTILINE)) == wanted
    )
