"""A template's instance goes away with all that was on its own disk, and the next one goes on from
what was mounted.

The shipped start-up script of a Spot VM, unchanged, with its own variables; a file system in a file
is the disk that outlives the VM, and a mount namespace of its own lets go of it when the VM's
processes have ended.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

import ckptkit
from ckptkit.run.stored_run import is_run
from tests.launcher.metadata import Metadata, metadata
from tests.launcher.project import ENVIRON, digest, environment, project, script
from tests.support.processes import ROOT

STARTUP = ROOT / "scripts" / "launch" / "gce-startup.sh"
PATIENCE_SECS = 200


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk that was never written."""
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(128 << 20)
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("mounting a file system takes root and mkfs.ext4")
    attempt = (
        f"cp {path} {path}.try && mkfs.ext4 -q {path}.try && mkdir {path}.there && "
        f"mount {path}.try {path}.there"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", attempt], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a file system in a file cannot be mounted here: {done.stderr}")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository with the user's program; the packages that it needs are here already, so `pip`
    has nothing to do.
    """
    repository = project(tmp_path / "source", epochs=2)
    shutil.rmtree(repository / "venv")
    (repository / "requirements.txt").write_text("ckptkit\n")
    git = ["git", "-C", repository, "-c", "user.name=u", "-c", "user.email=u@example.com"]
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "program"]):
        subprocess.run([*git, *arguments], check=True)
    environment(tmp_path / "image" / "venv-bin")
    script(
        tmp_path / "image" / "venv-bin" / "pip", f'[ -s "$4" ] && echo "$@" >>{tmp_path}/installed'
    )
    script(
        tmp_path / "image" / "python3", f'mkdir -p "$3" && cp -r {tmp_path}/image/venv-bin "$3/bin"'
    )
    return repository


class Instance:
    """A VM: a directory for its own disk, and the start-up script."""

    def __init__(
        self, tmp_path: Path, name: str, disk: Path, source: Path, server: Metadata
    ) -> None:
        self.own_disk = tmp_path / name
        self.run = self.own_disk / "mnt" / "digits"
        self.ended = self.own_disk / "ended"
        self.own_disk.mkdir()
        script(self.own_disk / "at-end", f"touch {self.ended}")
        own = {
            "DISK": disk,
            "RUNS": self.own_disk / "mnt",
            "PROGRAM": self.own_disk / "program",
            "SOURCE": source,
            "ACCOUNT": "root",
            "UNIT": "env",
            "AT_END": self.own_disk / "at-end",
            "PATH": f"{tmp_path / 'image'}:{os.environ['PATH']}",
        }
        environ = {**ENVIRON, **server.environ, **{name: str(value) for name, value in own.items()}}
        command = ["unshare", "--mount", "bash", STARTUP]
        self.process = subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def until_it_has_saved(self) -> None:
        # What is mounted can be seen only from where it is mounted.
        seen = Path(f"/proc/{self.process.pid}/root{self.run}")
        deadline = time.monotonic() + PATIENCE_SECS
        while not (is_run(seen) and ckptkit.open_run(seen).checkpoints):
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        try:
            output, _ = self.process.communicate(timeout=PATIENCE_SECS)
        finally:
            self.process.kill()
        return self.process.returncode, output


@pytest.mark.long
def test_the_run_goes_on_where_only_the_mounted_disk_is_left(disk, source, tf_process, tmp_path):
    with metadata() as server:
        first = Instance(tmp_path, "first", disk, source, server)
        try:
            first.until_it_has_saved()
        except BaseException:
            first.process.kill()
            raise
        server.announce("gce")
        code, output = first.end()
    assert code == 75, output
    assert not first.ended.exists(), "the group must make another VM"
    assert (first.own_disk / "program" / "train.py").exists()
    assert not first.run.exists(), "the disk is still mounted"
    (step,) = map(int, re.findall(r"stopped by .* at step (\d+) ", output))
    shutil.rmtree(first.own_disk)

    with metadata() as server:
        second = Instance(tmp_path, "second", disk, source, server)
        code, output = second.end()
    assert code == 0, output
    assert second.ended.exists(), "a VM that has finished costs money"
    assert re.findall(r"resumed from step (\d+) ", output) == [str(step)]
    assert len((tmp_path / "installed").read_text().splitlines()) == 2, (
        "each VM sets the program up"
    )
    alone = (
        tf_process(ROOT / "scripts" / "train_digits.py", "--run", tmp_path / "alone", "--epochs", 2)
        .check()
        .stdout
    )
    assert digest(output) == digest(alone)
