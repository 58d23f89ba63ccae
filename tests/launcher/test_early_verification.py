"""The launcher verifies the newest checkpoint while the training starts."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from ckptkit.launcher import early_verification
from ckptkit.launcher.early_verification import EarlyVerification
from ckptkit.run.checkpoint_catalog import list_checkpoints
from tests.support.stored_run import files, layout, save  # noqa: F401

TRAINING = """
import os, sys, time
from pathlib import Path
verdict = Path(os.environ["CKPTKIT_LAUNCHER"], "verdict.json")
end = time.monotonic() + 60
while not verdict.exists() and time.monotonic() < end:
    time.sleep(0.01)
Path(sys.argv[1]).write_bytes(verdict.read_bytes())
"""


def given(layout, wait=None, **options):  # noqa: F811
    """What one verification gives, when its thread is over."""
    found = []
    verification = EarlyVerification(layout, found.append, **options)
    before = set(threading.enumerate())
    if wait is not None:
        wait(verification)
    verification.start()
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
    return found


def tree(directory):
    return sorted(
        (str(path), path.lstat().st_mtime_ns, path.lstat().st_ctime_ns)
        for path in directory.rglob("*")
    )


def test_the_newest_checkpoint_and_nothing_written(save, layout):  # noqa: F811
    save(step=100)
    save(step=200)
    before = tree(layout.root)
    (verdict,) = given(layout)
    newest = list_checkpoints(layout)[-1]
    assert verdict.unknown(newest, newest.manifest.files) == ()
    assert tree(layout.root) == before


@pytest.mark.parametrize("how", ["no run", "no checkpoint", "damaged", "unreadable", "stopped"])
def test_without_a_verdict_the_training_verifies_itself(save, layout, how):  # noqa: F811
    if how != "no run":
        path = save()
    if how == "no checkpoint":
        path.rename(layout.root / "elsewhere")
    elif how == "damaged":
        (path / "ckpt-100.index").write_bytes(b"tensorz")
    elif how == "unreadable":
        (path / "manifest.json").unlink()
        os.mkfifo(path / "manifest.json")
    assert given(layout, EarlyVerification.stop if how == "stopped" else None) == []


def test_nothing_is_read_from_a_mounted_bucket(save, layout, monkeypatch):  # noqa: F811
    save()
    monkeypatch.setattr(early_verification, "bucket_mount", lambda path: "gcsfuse")
    read = []
    monkeypatch.setattr(early_verification, "verified", lambda *which: read.append(which))
    assert (given(layout), read) == ([], [])


def test_slow_storage_is_left_to_the_training(save, layout):  # noqa: F811
    save()
    secs = iter([0.0, *[100.0] * 9])
    assert given(layout, now=lambda: next(secs)) == []
    secs = iter([0.0, *[0.4] * 9])
    assert len(given(layout, now=lambda: next(secs))) == 1


def test_a_channel_that_is_gone_disturbs_nobody(save, layout, tmp_path):  # noqa: F811
    save()
    tried = []

    def refuse(verdict):
        tried.append(verdict)
        raise FileNotFoundError(tmp_path)

    thread = EarlyVerification(layout, refuse)
    thread._run()  # as the thread does: an exception would end it with a traceback
    assert len(tried) == 1


def test_a_training_under_the_launcher_is_told(save, layout, launch, tmp_path):  # noqa: F811
    save()
    told = tmp_path / "told"
    command = [sys.executable, "-c", TRAINING, str(told)]
    launched = launch(command=command, options=["--run", str(layout.root)], named=False)
    assert launched.wait() == 0, launched.stderr
    assert str(layout.checkpoint(list_checkpoints(layout)[-1].name)) in told.read_text()
