"""A run directory is data from outside: whatever is in it, readers raise nothing but errors of
ours, follow no link, and never wait.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import ckptkit
from ckptkit.layout import STATE_FILE, CheckpointName, RunLayout
from ckptkit.ownership.claims import list_claims
from ckptkit.ownership.reader_leases import being_read
from ckptkit.policies import KeepLatest
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.checkpoint_removal import clean_up
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.fresh_start import is_known_label, this_life
from ckptkit.run.journal import encode_line
from ckptkit.run.journal_reader import MAX_LINE_BYTES, read_journal
from ckptkit.run.manifest import encode, seal
from ckptkit.run.pins import read_pins
from ckptkit.run.retention import retain
from ckptkit.run.verification_cache import CheckpointIndex
from ckptkit.run.verify import verify
from ckptkit.storage.files import open_regular, read_bounded
from ckptkit.testing import FakeClock
from tests.support.disks import Unsynced
from tests.support.stored_run import manifest, start_attempt

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([10**400, -1, 2**64, "nan", "1e999", "\ud800", "../x", ""]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def as_json(value):
    return json.dumps(value).encode()


def look(layout):
    """Everything that only reads."""
    run = ckptkit.open_run(layout.root)
    for checkpoint in run.checkpoints:
        _ = checkpoint.problem
        with contextlib.suppress(ckptkit.CheckpointError):
            verify(checkpoint)
        with contextlib.suppress(ckptkit.CheckpointError):
            _ = (
                checkpoint.metrics,
                [(tensor.role, tensor.size_bytes) for tensor in checkpoint.manifest.tensors],
                checkpoint.manifest.size_bytes,
            )
    for which in ("latest", "best", 100):
        with contextlib.suppress(ckptkit.CheckpointError):
            run.find(which)
    view = read_journal(layout)
    str(this_life(view.events))
    is_known_label(layout, "a label")
    for claim in list_claims(layout):
        _ = claim.owner, claim.sign, claim.is_held()
    being_read(layout)
    read_pins(layout)
    return view


def a_run(directory, **files):
    """A run with one checkpoint, and with other contents of some files."""
    layout, disk = RunLayout(Path(directory) / "run"), Unsynced()
    disk.make_dir(layout.checkpoints)
    journal = start_attempt(disk, layout, FakeClock())
    (begin_writing(disk, layout, 1) / "ckpt-100.index").write_bytes(b"tensors")
    commit(disk, layout, manifest(metrics={"loss": 0.5}))
    journal.record(events.SetAside(label="a label", moved_to=""))
    places = {
        "manifest": layout.checkpoint(CheckpointName(100, 1)) / "manifest.json",
        "journal": layout.attempt_journal(1),
        "state_file": layout.checkpoints / STATE_FILE,
        "claim": layout.claim(1) / "owner.json",
        "sign of life": layout.claim(1) / "alive",
        "fence": layout.fence(2),
        "hold": layout.pins / ".reading-1",
        "pin": layout.pins / "ckpt-100-1.json",
    }
    for name, content in files.items():
        disk.make_dir(places[name].parent)
        places[name].write_bytes(content)
    return layout


@given(
    place=st.sampled_from(
        ["manifest", "journal", "state_file", "claim", "sign of life", "fence", "hold", "pin"]
    ),
    content=st.binary(max_size=200),
)
def test_any_bytes_in_any_file(place, content):
    with tempfile.TemporaryDirectory() as directory:
        look(a_run(directory, **{place: content}))


@given(
    fields=st.dictionaries(st.sampled_from(list(json.loads(encode(manifest())))), JSON, max_size=3),
    sealed=st.booleans(),
)
@example(fields={"step": 10**400}, sealed=True)
@example(fields={"metrics": {"loss": "9" * 5000}}, sealed=True)
def test_any_values_in_a_manifest(fields, sealed):
    said = json.loads(encode(manifest())) | fields
    if sealed:
        said.pop("digest", None)
    with tempfile.TemporaryDirectory() as directory:
        look(a_run(directory, manifest=seal(as_json(said)) if sealed else as_json(said)))


@given(
    kind=st.sampled_from(list(events.EVENTS)),
    fields=st.dictionaries(
        st.sampled_from(
            [
                "event",
                "time",
                "attempt",
                "v",
                "step",
                "label",
                "metrics",
                "versions",
                "pid",
                "final",
            ]
        ),
        JSON,
        max_size=4,
    ),
    data=st.data(),
)
@example(kind="finished", fields={"time": 10**400, "step": 1, "epoch": 1}, data=None)
def test_any_values_in_a_line_of_the_journal(kind, fields, data):
    line = as_json({"v": 1, "event": kind, "time": 1.0, "attempt": 1} | fields)
    if data is not None and data.draw(st.booleans()):
        line = line[: data.draw(st.integers(0, len(line)))]
    with tempfile.TemporaryDirectory() as directory:
        view = look(
            a_run(
                directory,
                journal=line
                + b"\n"
                + encode_line(events.TrainingStarted(time=1.0, attempt=1, step=3)),
            )
        )
    assert [event.step for event in view.events if isinstance(event, events.TrainingStarted)][
        -1:
    ] == [3], "the line after it is read"


@given(
    names=st.lists(
        st.text(
            st.characters(exclude_characters="/\0", exclude_categories=["Cs"]),
            min_size=1,
            max_size=8,
        )
        | st.from_regex(
            r"\.?(ckpt|writing|removing-ckpt|replaced-ckpt|attempt)-[0-9٣]{1,20}(-[0-9]{1,10})?(\.jsonl)?",
            fullmatch=True,
        ),
        max_size=4,
    ),
    room=st.sampled_from(["checkpoints", "journal", "quarantine"]),
    directories=st.booleans(),
)
def test_any_names_in_a_run(names, room, directories):
    with tempfile.TemporaryDirectory() as directory:
        layout, files = a_run(directory), Unsynced()
        (layout.root / room).mkdir(exist_ok=True)
        for name in names:
            with contextlib.suppress(FileExistsError, IsADirectoryError, OSError):
                if directories:
                    (layout.root / room / name).mkdir()
                else:
                    (layout.root / room / name).write_bytes(b"x")
        with contextlib.suppress(ckptkit.CheckpointError):
            look(layout)
        with contextlib.suppress(ckptkit.CheckpointError):
            journal = start_attempt(files, layout, FakeClock())
            clean_up(files, layout)
            retain(files, CheckpointIndex(layout), journal, KeepLatest(1))


# -- what is no regular file


def link(path):
    path.rename(path.with_name("kept"))
    path.symlink_to("kept")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def directory(path):
    path.unlink()
    path.mkdir()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("put", [link, pipe, directory], ids=lambda put: put.__name__)
@pytest.mark.parametrize("name", ["ckpt-100.index", "manifest.json"])
def test_what_is_no_regular_file_is_damage_and_not_waited_for(tmp_path, put, name):
    layout = a_run(tmp_path)
    put(layout.checkpoint(CheckpointName(100, 1)) / name)
    (found,) = list_checkpoints(layout)
    with pytest.raises(ckptkit.CorruptCheckpointError):
        verify(found)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("put", [link, pipe, directory], ids=lambda put: put.__name__)
def test_a_journal_that_is_no_regular_file_is_counted(tmp_path, put):
    layout = a_run(tmp_path)
    put(layout.attempt_journal(1))
    view = read_journal(layout)
    assert (view.events, len(view.damaged)) == ((), 1)


def test_a_checkpoint_that_is_a_link_out_of_the_run_is_damage(tmp_path):
    layout = a_run(tmp_path)
    path = layout.checkpoint(CheckpointName(100, 1))
    path.rename(tmp_path / "ckpt-100-1")
    path.symlink_to(tmp_path / "ckpt-100-1")
    (found,) = list_checkpoints(layout)
    with pytest.raises(ckptkit.CorruptCheckpointError, match="symbolic link"):
        verify(found)


# -- what is too large


def sparse(path, size_bytes):
    with path.open("ab") as file:
        file.truncate(size_bytes)


@pytest.mark.timeout(60)
def test_a_line_of_gigabytes_is_not_loaded(tmp_path):
    """In a process that may not have so much memory."""
    layout = a_run(tmp_path)
    sparse(layout.attempt_journal(1), 3 * 1024**3)
    program = f"""if True:
        import resource, ckptkit
        resource.setrlimit(resource.RLIMIT_AS, (500 * 1024**2, 500 * 1024**2))
        view = ckptkit.open_run({str(layout.root)!r}).journal_view
        print([event.event for event in view.events], len(view.damaged))
    """
    done = _python(program)
    assert done == "['set_aside'] 2\n", "a line that is too long, and a file that is"


def test_many_long_lines_cost_one_damage_each(tmp_path):
    layout = a_run(tmp_path)
    good = encode_line(events.TrainingStarted(time=1.0, attempt=1, step=3))
    with layout.attempt_journal(1).open("ab") as file:
        for length in (
            MAX_LINE_BYTES - 1,
            MAX_LINE_BYTES,
            MAX_LINE_BYTES + 1,
            2 * MAX_LINE_BYTES + 1,
            2 * MAX_LINE_BYTES + 2,
        ):
            file.write(b"x" * length + b"\n" + good)
    view = read_journal(layout)
    assert (len(view.damaged), len(view.events)) == (5, 6)


def test_a_manifest_of_gigabytes_is_not_loaded(tmp_path):
    layout = a_run(tmp_path)
    sparse(layout.checkpoint(CheckpointName(100, 1)) / "manifest.json", 1024**3)
    (found,) = list_checkpoints(layout)
    assert found.problem is not None
    assert "more than" in found.problem


def test_reading_is_bounded(tmp_path):
    (tmp_path / "f").write_bytes(b"12345")
    assert read_bounded(tmp_path / "f", 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_bounded(tmp_path / "f", 4)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def _python(program):
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
