"""The files that tools outside of Python read: workflows, issue forms, hooks, changes.

Each passes a validator that works offline.
"""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import tomllib

import pytest
import yaml

from tests.launcher.validators import ROOT, run_tool

SCHEMAS = {
    ".github/workflows/*.yml": "vendor.github-workflows",
    ".github/ISSUE_TEMPLATE/[!c]*.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
}
FILES = [(path, schema) for glob, schema in SCHEMAS.items() for path in sorted(ROOT.glob(glob))]
MATRIX = "python: ["


@pytest.mark.parametrize(("path", "schema"), FILES, ids=[path.name for path, _ in FILES])
def test_a_file_for_github_has_its_form(path, schema):
    assert run_tool("check-jsonschema", "--builtin-schema", schema, path, cwd=ROOT) == ""
    assert run_tool("yamllint", "--strict", "-c", ".yamllint.yaml", path, cwd=ROOT) == ""


@pytest.mark.parametrize(
    ("old", "new"), [("runs-on", "run-on"), (MATRIX, "python: 3 ["), ("on:", "off:")]
)
def test_the_validator_finds_what_is_broken(old, new, tmp_path):
    sound = (ROOT / ".github/workflows/tests.yml").read_text().replace('"on":', "on:")
    broken = tmp_path / "broken.yml"
    assert old in sound
    broken.write_text(sound.replace(old, new, 1))
    schema = "vendor.github-workflows"
    assert run_tool("check-jsonschema", "--builtin-schema", schema, broken, cwd=tmp_path) != ""


def test_every_file_for_github_is_checked():
    found = set((ROOT / ".github").rglob("*.yml"))
    assert found == {path for path, _ in FILES}


def test_the_workflows_run_what_a_developer_runs():
    """Every Python that the package supports, the lower ends, and the campaigns."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    supported = re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"])
    jobs = {
        name: job
        for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
        for name, job in yaml.safe_load(path.read_text())["jobs"].items()
    }
    assert jobs["tests"]["strategy"]["matrix"]["python"] == supported
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {command for command in commands if ".ci/run" in command} == {
        ".ci/run",
        ".ci/run --long",
        ".ci/run --lower",
    }
    for command in ("--long", "--lower"):
        assert f"scripts/test {command} " in (ROOT / "scripts" / "test").read_text()


def test_hooks_need_no_network():
    """Each hook is a tool of `.venv`; pre-commit fetches nothing for it."""
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    assert run_tool("yamllint", "-c", ".yamllint.yaml", ".pre-commit-config.yaml", cwd=ROOT) == ""
    repos = yaml.safe_load(text)["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    for hook in repos[0]["hooks"]:
        assert hook["language"] == "system"
        assert shlex.split(hook["entry"])[0].startswith(".venv/bin/")


def test_every_change_has_a_kind_that_the_changelog_knows():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    kinds = "|".join(kind["directory"] for kind in settings["type"])
    names = {path.name for path in (ROOT / settings["directory"]).iterdir()} - {"README.md"}
    unknown = [
        name for name in names if not re.fullmatch(rf"(\+[a-z0-9-]+|\d+)\.({kinds})\.md", name)
    ]
    assert not unknown, "see changes/README.md"
    assert settings["start_string"] in (ROOT / settings["filename"]).read_text()


@pytest.mark.parametrize("name", ["scripts/test", "scripts/demo", ".ci/run"])
def test_shell_scripts_pass_shellcheck(name):
    assert run_tool("shellcheck", "--external-sources", name, cwd=ROOT) == ""


def test_the_lower_ends_are_pins_of_every_dependency():
    """scripts/test makes them from setup.cfg with sed."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = {
        re.split(r"[>=]", line)[0]
        for line in setup["options"]["install_requires"].split("\n")
        if line
    }
    script = (ROOT / "scripts" / "test").read_text()
    (program,) = re.findall(r"sed -nE '(.*)' setup.cfg", script)
    done = subprocess.run(
        ["sed", "-nE", program, "setup.cfg"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    pins = done.stdout.splitlines()
    assert {pin.split("==")[0] for pin in pins} == wanted
    assert all(re.fullmatch(r"[\w.-]+==[\d.]+(; python_version .*)?", pin) for pin in pins)
