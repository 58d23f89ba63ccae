"""Completion in a shell: the script that click prints, and what it is answered."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time

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


class Bash:
    """An interactive bash on a terminal of its own, in which a test types."""

    def __init__(self, environment, directory) -> None:
        self.shown = ""
        child, self.terminal = pty.fork()
        if child == 0:
            os.chdir(directory)
            settings = {"TERM": "dumb", "INPUTRC": "/dev/null", "PS1": "ready> "}
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment | settings)
        self.child = child

    def type(self, text: str, until: str) -> None:
        """Type a text, and read until another one is shown."""
        os.write(self.terminal, text.encode())
        ends = time.monotonic() + 60
        while until not in self.shown and time.monotonic() < ends:
            if select.select([self.terminal], [], [], 0.1)[0]:
                self.shown += os.read(self.terminal, 65_536).decode()
        assert until in self.shown, self.shown
        self.shown = self.shown.partition(until)[2]

    def close(self) -> None:
        os.kill(self.child, signal.SIGKILL)
        os.close(self.terminal)
        os.waitpid(self.child, 0)


def command_in(directory) -> str:
    """Install the command into a directory, and return the PATH with it."""
    command = directory / "bin" / "ckptkit"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\n{COMMAND}\n")
    command.chmod(0o755)
    return f"{command.parent}{os.pathsep}{os.environ['PATH']}"


def test_a_step_after_an_at_sign_and_a_path_with_a_blank(tmp_path, environment, runs):
    """In an interactive bash, because it splits words there by `COMP_WORDBREAKS`."""
    DummyRun(tmp_path / "runs" / "my run").attempt()
    variables = environment | {"PATH": command_in(tmp_path), "PYTHONPATH": str(ROOT)}
    bash = Bash(variables, tmp_path)
    try:
        bash.type('eval "$(_CKPTKIT_COMPLETE=bash_source ckptkit)"; echo loa"ded"\n', "loaded")
        # After TAB, printf before the line shows the words that the command would get.
        bash.type("ckptkit diff runs/digits@1\t", "digits@100")
        bash.type("\x01printf '<%s>' \n", "<runs/digits@100>")
        bash.type("ckptkit list runs/m\t", "my run")
        bash.type("\x01printf '<%s>' \n", "<runs/my run>")
    finally:
        bash.close()


def test_commands_are_answered_without_importing_them(tmp_path, environment):
    program = (
        "import sys; from ckptkit.cli import main; main(); "
        "print([name for name in sys.modules if name.endswith('_command')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment
        | {"_CKPTKIT_COMPLETE": "zsh_complete", "COMP_WORDS": "ckptkit ", "COMP_CWORD": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[1::3][:4] == ["run", "save", "stop", "list"]
    assert lines[2] == "Start a training, supervise it, and restart it if that can help."
    assert lines[-1] == "[]"


def test_bash_completes_a_run(tmp_path, environment, runs):
    """The whole way: bash reads the script, and its completion function calls the command."""
    path = command_in(tmp_path)
    script = """
        eval "$(_CKPTKIT_COMPLETE=bash_source ckptkit)"
        COMP_WORDS=(ckptkit list runs/d) COMP_CWORD=2
        _ckptkit_completion ckptkit
        echo "${COMPREPLY[@]}"
    """
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
