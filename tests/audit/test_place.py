"""Where each training of an audit lives: what is copied, what is linked, what is left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptkit.audit.sandbox import look, make
from ckptkit.clock import SystemClock
from ckptkit.errors import ConfigError
from ckptkit.exports.version_directories import check_base
from ckptkit.launcher.launch_history import LaunchHistory
from ckptkit.run.audit_path_redirect import path_to_read, path_to_write
from ckptkit.run.audit_settings import AuditInstructions, instructions_of, write_instructions
from ckptkit.run.stored_run import open_run
from ckptkit.storage.files import FileSystem
from tests.audit.conftest import bytes_of
from tests.cli.conftest import DummyRun


@pytest.fixture
def user(tmp_path: Path) -> Path:
    user = tmp_path / "user"
    for name in ("src/deep", ".git", "src/__pycache__", "cache", "venv/bin", "data"):
        (user / name).mkdir(parents=True)
    (user / "train.py").write_text("print()")
    (user / "train.sh").write_text("#!/bin/sh")
    (user / "train.sh").chmod(0o755)
    (user / "src" / "deep" / "module.py").write_bytes(b"x" * 300)
    (user / "cache" / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55")
    (user / "venv" / "pyvenv.cfg").write_text("")
    (user / "data" / "large.bin").write_bytes(b"y" * 5000)
    (user / "latest.py").symlink_to("train.py")
    (tmp_path / "shared").mkdir()
    (user / "outside").symlink_to(tmp_path / "shared")
    os.mkfifo(user / "pipe")
    DummyRun(user / "runs" / "old").attempt().save(3)
    (user / "runs" / "notes.txt").write_text("by hand")
    return user


def test_a_working_directory_is_copied_without_runs_and_caches(user, tmp_path):
    before = bytes_of(user / "src") | bytes_of(user / "runs")
    source = look(user, [Path("data")], 10_000, without=tmp_path / "home")
    place = make(tmp_path / "home", source, user)
    names = {str(path.relative_to(place.work)) for path in place.work.rglob("*")}
    assert names == {
        "src",
        "src/deep",
        "src/deep/module.py",
        "train.py",
        "train.sh",
        "venv",
        "data",
        "latest.py",
        "outside",
        "runs",
        "runs/notes.txt",
    }
    assert source.left_out == (Path("runs/old"),)
    assert os.access(place.work / "train.sh", os.X_OK)
    links = {
        name: os.readlink(place.work / name) for name in ("venv", "data", "outside", "latest.py")
    }
    assert links == {
        "venv": str(user / "venv"),
        "data": str(user / "data"),
        "outside": str(tmp_path / "shared"),
        "latest.py": str(place.work / "train.py"),
    }
    (place.work / "latest.py").write_text("changed")  # through the link into the copy
    assert (user / "train.py").read_text() == "print()"
    assert bytes_of(user / "src") | bytes_of(user / "runs") == before


def test_an_audit_inside_the_working_directory_does_not_copy_itself(user):
    home = user / "kept"
    home.mkdir()
    (home / "output.log").write_text("of the audit")
    source = look(user, [], 10_000, without=home)
    assert {"train.py", "src", "data"} <= {entry.path.parts[0] for entry in source.entries}
    assert not any(entry.path.parts[0] == "kept" for entry in source.entries)


def test_too_much_is_not_copied(user, tmp_path):
    with pytest.raises(ConfigError, match=r"more than 5 kB; so far data \(5 kB\).*--link data"):
        look(user, [], 5_000, without=tmp_path / "home")
    assert look(user, [Path("data")], 5_000, without=tmp_path / "home").size_bytes < 1000
    with pytest.raises(ConfigError, match="which does not exist in"):
        look(user, [Path("nothing")], 5_000, without=tmp_path / "home")


def test_a_link_to_a_run_that_is_not_copied_leaves_room_for_one(user, tmp_path):
    (user / "latest").symlink_to("runs/old")
    (user / "runs" / "link").symlink_to(user / "runs" / "old" / "journal")
    place = make(tmp_path / "home", look(user, [], 10_000, without=tmp_path / "home"), user)
    assert not {"latest", "runs/link"} & {
        str(path.relative_to(place.work)) for path in place.work.rglob("*")
    }
    DummyRun(place.work / "latest").attempt().save(1)
    assert place.runs() == {"latest": place.work / "latest"}


def test_a_run_that_is_linked_can_be_read(user, tmp_path):
    place = make(
        tmp_path / "home", look(user, [Path("runs/old")], 10_000, without=tmp_path / "home"), user
    )
    assert open_run(place.work / "runs" / "old").checkpoints[-1].step == 3
    assert place.runs() == {}  # it is not one that was trained here


@pytest.fixture
def ordered(user, tmp_path, monkeypatch):
    place = make(
        tmp_path / "home", look(user, [Path("runs/old")], 10_000, without=tmp_path / "home"), user
    )
    write_instructions(place.instructions, AuditInstructions(home=str(place.home)))
    monkeypatch.setenv("CKPTKIT_AUDIT", str(place.instructions))
    monkeypatch.chdir(place.work)
    return place


def test_what_is_written_lies_in_the_trainings_own_directory(user, ordered, tmp_path):
    elsewhere = ordered.home / "elsewhere"
    assert path_to_write(Path("runs/new")) == Path("runs/new")  # in the copy
    assert path_to_write(user / "runs" / "old") == elsewhere / str(user / "runs" / "old")[1:]
    assert (
        path_to_write(Path("runs/old")) == elsewhere / str(user / "runs" / "old")[1:]
    )  # through the link
    assert path_to_write(Path("outside/run")) == elsewhere / str(tmp_path / "shared" / "run")[1:]
    assert path_to_write(path_to_write(user / "x")) == path_to_write(user / "x")
    assert check_base(user / "served") == elsewhere / str(user / "served")[1:]
    assert (
        path_to_write(ordered.work / "../runs/above") == ordered.work / "../runs/above"
    )  # beside the copy, and not where it was copied from
    for name, path in (
        ("runs/new", path_to_write(ordered.work / "runs" / "new")),
        ("../runs/above", ordered.home / "runs" / "above"),
        (str(user / "runs" / "new"), path_to_write(user / "runs" / "new")),
        (str(tmp_path / "far"), path_to_write(tmp_path / "far")),
    ):
        DummyRun(path).attempt().save(5)
        assert name in ordered.runs()
        assert ordered.runs()[name] == ordered.path_of(name) == path


def test_a_launcher_tells_the_users_run_nothing(user, ordered):
    old = user / "runs" / "old"
    before = bytes_of(old)
    record = LaunchHistory(SystemClock(), FileSystem())
    record.open(*record.prepare(str(old)))
    record.record_start(1, "train.py")
    assert bytes_of(old) == before
    assert list(path_to_write(old).rglob("launcher-*.jsonl"))


def test_what_is_read_is_what_was_trained_here_or_what_lies_there(user, ordered):
    old = user / "runs" / "old"
    assert path_to_read(old) == old
    assert open_run(old).checkpoints[-1].step == 3
    DummyRun(path_to_write(old)).attempt().save(9)
    assert open_run(old).checkpoints[-1].step == 9


def test_orders_that_cannot_be_read_stop_a_training(tmp_path):
    (tmp_path / "instructions.json").write_text('{"home"')
    (tmp_path / "later.json").write_text('{"home": "/x", "version": 2}')
    for name, said in (
        ("missing.json", "cannot be read"),
        ("instructions.json", "cannot be read"),
        ("later.json", "version 2"),
    ):
        with pytest.raises(ConfigError, match=said):
            instructions_of({"CKPTKIT_AUDIT": str(tmp_path / name)})
    assert instructions_of({}) is None
