"""What a process that was killed while it exported leaves behind, and who takes it away."""

from __future__ import annotations

import os
import subprocess
import sys

import ckptkit
from ckptkit.store.files import FileSystem


def test_left_overs_of_the_dead_are_removed(lab, tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]) as alive:
        base = tmp_path / "export"
        names = {f".writing-7-{dead.pid}", f".writing-8-{os.getpid()}", f".writing-9-{alive.pid}", ".writing-x-1", "assets"}
        for name in names:
            (base / name).mkdir(parents=True)
            (base / name / "saved_model.pb").write_bytes(b"half")
        published = ckptkit.export_saved_model(lab.model(), base, version=10)
        alive.kill()
    assert {path.name for path in base.iterdir()} == {f".writing-9-{alive.pid}", ".writing-x-1", "assets", "10"}
    assert (published / "saved_model.pb").is_file()


def test_one_of_this_process_that_is_under_way_stays(lab, tmp_path):
    """Two threads may export into one directory, and one of them begins while the other writes."""
    class Meets(FileSystem):
        def sync_file(self, path):
            super().sync_file(path)
            if not seen:
                seen.append(path.parent.name)
                ckptkit.export_saved_model(lab.model(), tmp_path, version=3)

    seen: list[str] = []
    ckptkit.export_saved_model(lab.model(), tmp_path, version=4, files=Meets())
    assert seen == [f".writing-4-{os.getpid()}"]
    assert {path.name for path in tmp_path.iterdir()} == {"3", "4"}
