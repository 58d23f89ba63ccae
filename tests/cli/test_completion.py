"""Completion in a shell: the script that click prints, and what it is answered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.cli.conftest import ROOT, DummyRun

COMMAND = "import sys; from ckptkit.cli import main; sys.exit(main())"


@pytest.fixture
def complete(tmp_path, environment):
    """What the program answers a shell for the words of a command line, the last one unfinished."""

    def call(*words: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND],
            env=environment
            | {
                "_CKPTKIT_COMPLETE": "zsh_complete",
                "COMP_WORDS": " ".join(["ckptkit", *words]),
                "COMP_CWORD": str(len(words)),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        # Three lines for each answer: kind, text, help.
        answers = done.stdout.splitlines()
        return answers[1::3] if "plain" in answers[::3] else answers[::3]

    return call


@pytest.fixture
def runs(tmp_path):
    digits = DummyRun(tmp_path / "runs" / "digits")
    digits.attempt()
    digits.save(100)
    digits.save(250)
    DummyRun(tmp_path / "runs" / "nested" / "gan").attempt()
    (tmp_path / "runs" / "no-run").mkdir()


def test_commands_and_options_are_completed(complete):
    assert complete("hi") == ["history"]
    assert complete("list", "--fo") == ["--follow"]


def test_runs_are_completed_at_any_depth(complete, runs):
    assert complete("list", "runs/") == ["runs/digits", "runs/nested/gan"]
    assert complete("history", "runs/ne") == ["runs/nested/gan"]
    assert complete("show", "r") == ["runs/digits", "runs/nested/gan"]


def test_a_path_that_leads_to_no_run_is_left_to_the_shell(complete, runs):
    assert complete("show", "models/") == ["file"]


def test_steps_are_completed(complete, runs):
    assert complete("show", "runs/digits", "") == ["100", "250", "latest", "best"]
    assert complete("pin", "runs/digits", "2") == ["250"]
    assert complete("diff", "runs/digits@1") == ["runs/digits@100"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_it_can_read(tmp_path, environment, shell):
    if shell == "bash" and not shutil.which("bash"):
        pytest.skip("no bash")
    done = subprocess.run(
        [sys.executable, "-c", COMMAND],
        env=environment | {"_CKPTKIT_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"_CKPTKIT_COMPLETE={shell}_complete" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)


def test_bash_completes_a_run(tmp_path, environment, runs):
    """The whole way: bash reads the script, and its completion function calls the command."""
    command = tmp_path / "bin" / "ckptkit"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\n{COMMAND}\n")
    command.chmod(0o755)
    script = """
        eval "$(_CKPTKIT_COMPLETE=bash_source ckptkit)"
        COMP_WORDS=(ckptkit list runs/d) COMP_CWORD=2
        _ckptkit_completion ckptkit
        echo "${COMPREPLY[@]}"
    """
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment | {"PATH": path, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "runs/digits\n", done.stderr
