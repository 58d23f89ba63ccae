"""Runs that are made without TensorFlow, and the command as a real process."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit.cli import main
from ckptkit.clock import SystemClock
from ckptkit.layout import run_layout
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.events import AttemptStarted, Event, Saved
from ckptkit.run.journal import Journal
from ckptkit.run.manifest import Manifest, StateEntry, to_numbers
from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.storage.files import FileSystem
from tests.support.stored_run import start_attempt

ROOT = Path(__file__).resolve().parents[2]


class DummyRun:
    """A run as a training process leaves it, with small files in the place of tensors."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = run_layout(root)
        self.files = FileSystem()
        self.files.make_dir(self.layout.checkpoints)
        self.journal: Journal | None = None

    def attempt(self, host: str = "elsewhere", pid: int = 4_000_000) -> DummyRun:
        """A process opens the run."""
        self.journal = start_attempt(self.files, self.layout, SystemClock())
        return self.record(AttemptStarted(host=host, pid=pid, program="train.py"))

    def record(self, event: Event) -> DummyRun:
        assert self.journal is not None
        self.journal.record(event)
        return self

    def save(
        self,
        step: int,
        *,
        metrics: dict[str, float] | None = None,
        data: bytes = b"some tensors" * 100,
        **fields: Any,
    ) -> Path:
        """Commits a checkpoint with a data file of this content; returns its directory."""
        assert self.journal is not None
        writing = begin_writing(self.files, self.layout, self.journal.attempt)
        (writing / f"ckpt-{step}.index").write_bytes(b"an index")
        (writing / f"ckpt-{step}.data-00000-of-00001").write_bytes(data)
        tensors = (
            TensorEntry(
                key="model/weights/0",
                kind="variable",
                path="dense/kernel",
                shape=(10, 20),
                dtype="float32",
                trainable=True,
            ),
            TensorEntry(
                key="model/weights/1",
                kind="variable",
                path="dense/bias",
                shape=(20,),
                dtype="float32",
                trainable=True,
            ),
            TensorEntry(
                key="model/optimizer/0", kind="variable", path="iteration", shape=(), dtype="int64"
            ),
            TensorEntry(
                key="sampler/state/0", kind="python", path="sampler", shape=None, dtype="string"
            ),
        )
        states = (
            StateEntry(name="model", class_name="Functional", classes={"optimizer": "Adam"}),
            StateEntry(name="sampler", class_name="Sampler"),
        )
        known: dict[str, Any] = {
            "epoch": 0,
            "batch": 0,
            "saved_at": time.time(),
            "trigger": f"every {step} steps",
            "versions": {"tensorflow": "2.21.0"},
            "states": states,
            "tensors": tensors,
        }
        manifest = Manifest(
            step=step,
            attempt=self.journal.attempt,
            metrics=to_numbers(metrics or {}),
            **(known | fields),
        )
        manifest = commit(self.files, self.layout, manifest)
        self.record(
            Saved(
                checkpoint=str(manifest.name),
                step=step,
                epoch=manifest.epoch,
                batch=manifest.batch,
                trigger=manifest.trigger,
                size_bytes=manifest.size_bytes,
                snapshot_secs=0.01,
                write_secs=0.1,
                metrics=manifest.metrics,
                final=manifest.final,
            )
        )
        return self.layout.checkpoint(manifest.name)


@pytest.fixture
def dummy_run(tmp_path: Path) -> DummyRun:
    return DummyRun(tmp_path / "run")


Ckptkit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment() -> dict[str, str]:
    """Of a process that uses this checkout, whatever is installed."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")
    }
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }


@pytest.fixture
def ckptkit(tmp_path: Path, environment: dict[str, str]) -> Ckptkit:
    """`ckptkit ARGUMENT...` as a process of its own, started beside the run."""

    def call(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "env": environment,
            "cwd": tmp_path,
        } | options
        return subprocess.run(
            [sys.executable, "-m", "ckptkit", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=60,
            check=False,
            **options,
        )

    return call


@pytest.fixture
def called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ckptkit:
    """The same in this process, where a process of its own is not the point."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = list(map(str, arguments))
        capsys.readouterr()
        code = main(command)
        return subprocess.CompletedProcess(command, code, *capsys.readouterr())

    return call


CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24


def drop_override_of_permissions() -> None:
    """Make even root obey permissions; runs in the new process, before the program."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if os.geteuid() == 0 and libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "may not give up the right to read everything")


@pytest.fixture
def obeying(tmp_path: Path) -> Iterator[dict[str, object]]:
    """Options for a process that has to obey permissions, even as root."""
    options: dict[str, object] = {"preexec_fn": drop_override_of_permissions}
    try:
        subprocess.run(["true"], check=True, **options)  # type: ignore[call-overload]
    except (OSError, subprocess.SubprocessError):
        pytest.skip("root reads everything here")
    yield options
    for path in (tmp_path, *tmp_path.rglob("*")):
        if path.exists():  # not a link that leads nowhere
            path.chmod(0o755)
