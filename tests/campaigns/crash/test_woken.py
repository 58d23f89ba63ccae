"""A training that was stopped, lost its run to one on another machine, and wakes up: it ends, and
nobody sees a trace of what it did.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid

import pytest

from ckptkit.layout import RunLayout
from ckptkit.run.checkpoint_catalog import list_checkpoints
from tests.support.polling import until
from tests.support.processes import ROOT

PROGRAM = "tests.campaigns.crash.training:train"
# With another host name only, it is a container on this kernel, whose lock is a proof. Another
# machine has another number of its kernel's start as well.
ELSEWHERE = [
    "unshare",
    "--uts",
    "--mount",
    "sh",
    "-c",
    'hostname elsewhere && mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"',
]

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def seen_by_readers(layout: RunLayout) -> dict[str, bytes]:
    """Every file of every checkpoint that a reader finds."""
    return {
        f"{checkpoint.name}/{path.name}": path.read_bytes()
        for checkpoint in list_checkpoints(layout)
        for path in checkpoint.path.iterdir()
    }


def test_a_stopped_training_that_wakes_up_after_its_run_was_taken_over(fork_server, tmp_path):
    (tmp_path / "boot_id").write_text(f"{uuid.uuid4()}\n")
    elsewhere = [*ELSEWHERE, str(tmp_path / "boot_id")]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*elsewhere, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("another machine needs `unshare --uts --mount`, which is not permitted here")
    layout = RunLayout(tmp_path / "run")
    first = fork_server.call(PROGRAM, str(layout.root), 10**6, 1)
    until(lambda: list_checkpoints(layout), process=first)
    first.send_signal(signal.SIGSTOP)
    before = list_checkpoints(layout)[-1].step
    program = (
        "import json; from tests.campaigns.crash.training import train; "
        f"print(json.dumps(train({str(layout.root)!r}, {before + 200}, 20)))"
    )
    began = time.monotonic()
    second = subprocess.run(
        [*elsewhere, sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert second.returncode == 0, second.stderr
    assert "digest" in json.loads(second.stdout.splitlines()[-1])
    assert f"goes on from {before}" in second.stdout
    assert "s for a sign of life" in second.stderr
    assert time.monotonic() - began > 60
    seen = seen_by_readers(layout)
    first.send_signal(signal.SIGCONT)
    assert first.wait(60) == 1
    assert "RunLockedError" in first.stderr
    assert "was taken over by process" in first.stderr
    assert seen_by_readers(layout) == seen
    assert list_checkpoints(layout)[-1].step == before + 200
