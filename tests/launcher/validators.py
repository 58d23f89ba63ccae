"""Validators of templates, all of them working offline. Each takes a text and returns what is wrong
with it; nothing where it is sound.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def run_tool(tool: str, *arguments: object, cwd: Path) -> str:
    where = shutil.which(tool, path=sysconfig.get_path("scripts")) or shutil.which(tool)
    if where is None:
        pytest.fail(f"{tool} is not installed: it comes with the extra `test`")
    done = subprocess.run(
        [where, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return (
        ""
        if done.returncode == 0
        else f"{tool} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    )


def shell(text: str, there: Path) -> str:
    (there / "script").write_text(text)
    return run_tool("shellcheck", "--norc", "script", cwd=there)


def dockerfile(text: str, there: Path) -> str:
    (there / "Dockerfile").write_text(text)
    return run_tool(
        "hadolint", "--no-color", "--failure-threshold", "info", "Dockerfile", cwd=there
    )


def plain_yaml(text: str, there: Path) -> str:
    (there / "file.yaml").write_text(text)
    return run_tool("yamllint", "--strict", "-c", ROOT / ".yamllint.yaml", "file.yaml", cwd=there)


def kubernetes(text: str, there: Path) -> str:
    (there / "file.yaml").write_text(text)
    return plain_yaml(text, there) or run_tool(
        "kubernetes-validate", "--strict", "file.yaml", cwd=there
    )


def systemd(text: str, there: Path) -> str:
    """The commands need not be there; `systemd-analyze` ends with 0 on unknown keys, so anything
    that it says counts.
    """
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    text = text.replace("/opt/training/venv/bin/ckptkit", sys.executable)
    for line in (line for line in text.splitlines() if line.startswith("User=")):
        text = text.replace(line, "User=daemon")
    (there / "training.service").write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "training.service"]
    done = subprocess.run(
        command,
        cwd=there,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
    )
    return done.stdout + done.stderr


def cloud_config(text: str, there: Path) -> str:
    """The YAML, and the systemd unit in it."""
    if found := plain_yaml(text, there):
        return found
    if not text.startswith("#cloud-config\n"):
        return "cloud-init asks for #cloud-config in the first line"
    (unit,) = (
        file["content"]
        for file in yaml.safe_load(text)["write_files"]
        if file["path"].endswith(".service")
    )
    return systemd(unit, there)
