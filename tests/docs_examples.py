"""Runs the examples of the documentation, in a process that has TensorFlow; `tests/test_docs.py`
asks for it.
"""

from __future__ import annotations

import doctest
import inspect
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import traceback
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of one language in a Markdown text."""
    return [code for found, code in FENCE.findall(text) if found == language]


def section(command: str) -> str:
    """What docs/cli.md says of a command."""
    sections = re.split(r"^## ", (ROOT / "docs" / "cli.md").read_text(), flags=re.MULTILINE)
    (found,) = [each for each in sections if each.startswith(f"`ckptkit {command}`\n")]
    return found


def json_examples(command: str) -> list[str]:
    """The JSON documents in the `--json` section of a command in docs/cli.md."""
    _, found, rest = section(command).partition("\n### `--json`\n")
    return blocks(rest, "json") if found else []


def command_lines(text: str) -> list[list[str]]:
    """The commands in a Markdown text's `sh` blocks."""
    return [
        line.split() for block in blocks(text, "sh") for line in block.splitlines() if line.strip()
    ]


def run_all() -> dict[str, Any]:
    """Run everything; return what went wrong, by place."""
    from ckptkit.bundle.tensor_bundle import SUFFIX
    from ckptkit.cli.show_command import VALUE_SUFFIX
    from tests.support import checkers

    checkers.use(checkers.forked())
    directory = Path(tempfile.mkdtemp())
    pages = {page: run_page(page, directory / page.replace("/", "-")) for page in RUN_PAGES}
    manifests = [json.loads(path.read_text()) for path in directory.rglob("manifest.json")]
    roles = {
        tensor["key"].split("/")[1] for manifest in manifests for tensor in manifest["tensors"]
    }
    return {
        "docstrings": run_docstrings(),
        "pages": pages,
        "roles": sorted(roles),
        "suffixes": [VALUE_SUFFIX, SUFFIX],
    }


def run_docstrings() -> dict[str, list[str]]:
    """Runs the docstring examples of all public objects and of their methods."""
    import ckptkit
    import ckptkit.testing

    finished = tempfile.mkdtemp()
    make_run(finished)
    before = Path.cwd()
    finder, results = doctest.DocTestFinder(), {}
    for name in [*ckptkit.__all__, *ckptkit.testing.__all__]:
        public = getattr(ckptkit.testing if name in ckptkit.testing.__all__ else ckptkit, name)
        if not (inspect.isclass(public) or inspect.isfunction(public)):
            continue
        for test in [
            test for test in finder.find(public, name, module=False, globs={}) if test.examples
        ]:
            # As after pasting: in a directory in which runs/digits is a run, with no other names.
            os.chdir(directory := tempfile.mkdtemp())
            shutil.copytree(finished, Path(directory, "runs", "digits"))
            said = io.StringIO()
            doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.write)
            results[test.name] = [said.getvalue()] if said.getvalue() else []
    os.chdir(before)
    return results


def make_run(directory: str) -> None:
    """A run with two checkpoints, at steps 1 and 2."""
    import tensorflow as tf

    import ckptkit

    weight = tf.Variable(0.0)
    with ckptkit.CheckpointManager(
        directory, {"weight": weight}, save=ckptkit.EveryNSteps(1)
    ) as manager:
        for _ in manager.steps(2):
            weight.assign_add(1.0)


RUN_PAGES = [
    "README.md",
    "docs/tutorial.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs" / "how-to").glob("*.md"))),
]
"""The pages whose blocks run; what is no example of Python is marked `text` or `console`."""


def shortened(code: str) -> str:
    """A block that trains long enough to be killed by a reader, with two epochs."""
    return code.replace("epochs=30", "epochs=2")


def run_page(page: str, directory: Path) -> dict[str, list[str]]:
    """Runs the Python blocks of a page one after the other in a new directory, and then its
    commands that look at what they made.
    """
    text, results, before = (ROOT / page).read_text(), {}, Path.cwd()
    directory.mkdir()
    os.chdir(directory)
    try:
        for number, code in enumerate(blocks(text, "python"), start=1):
            Path("block.py").write_text(shortened(code))
            try:
                with redirect_stdout(io.StringIO()):
                    runpy.run_path("block.py", run_name="__main__")
                results[f"Python block {number}"] = []
            except BaseException:
                results[f"Python block {number}"] = [traceback.format_exc()]
        for command in command_lines(text):
            if command[0] == "ckptkit":
                done = subprocess.run(
                    [sys.executable, "-m", *command],
                    capture_output=True,
                    text=True,
                    check=False,
                    env={
                        **os.environ,
                        "PYTHONPATH": os.pathsep.join(
                            [str(ROOT), os.environ.get("PYTHONPATH", "")]
                        ),
                    },
                )
                results[" ".join(command)] = (
                    [] if done.returncode == 0 and done.stdout else [done.stdout + done.stderr]
                )
    finally:
        os.chdir(before)
    return results
