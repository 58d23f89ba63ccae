"""What a repair removes from event files, and what it leaves alone. No TensorFlow."""

from __future__ import annotations

import errno
import math
import os
import random
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ckptkit.errors import ConfigError
from ckptkit.storage.files import FileSystem
from ckptkit.tensorboard import event_file_repair
from ckptkit.tensorboard.event_file_repair import (
    RepairResult,
    RepairStart,
    check_directory,
    repair_event_files,
)
from ckptkit.tensorboard.event_files import backup_path, read_events
from ckptkit.tensorboard.stale_points import Span, WriterAttempt
from ckptkit.testing import FaultyFiles
from tests.support.disks import Disk
from tests.tensorboard.event_file_lists import (
    name_of,
    point,
    points_in,
    starts,
    steps_shown,
    write,
)

NOW = 5000.0


def attempt(
    number: int,
    *,
    started: float,
    until: float = math.inf,
    host: str = "machine",
    pid: int | None = None,
    ended: float = math.inf,
    gone: tuple[Span, ...] = (),
) -> WriterAttempt:
    return WriterAttempt(
        number, host, pid if pid is not None else 100 + number, started, until, ended, gone
    )


PRESENT = attempt(9, started=4000.0, host=socket.gethostname(), pid=os.getpid())
FIRST = attempt(1, started=1000.0, until=1500.0)


def recover(
    directory: Path,
    *among: WriterAttempt,
    step: int | None = 500,
    settled: int = 0,
    mark: bool = True,
    files: FileSystem | None = None,
) -> RepairResult:
    return repair_event_files(
        files or FileSystem(), directory, RepairStart((*among, PRESENT), step, settled, mark, NOW)
    )


def everything(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_orphans_go_and_the_original_stays(tmp_path):
    path = write(
        tmp_path / "train" / name_of(1000, "machine", 101),
        [(1400.0, 499), (1500.0, 500), (1500.1, 501), (1600.0, 620)],
    )
    original = path.read_bytes()
    done = recover(tmp_path, FIRST)
    assert (done.files, done.points, done.left) == (1, 2, [])
    assert points_in(path) == [(1400.0, 499), (1500.0, 500)]
    (beside,) = path.parent.glob("events.out.before-attempt-9.*")
    assert beside.read_bytes() == original
    assert "tfevents" not in beside.name
    assert starts(path.parent) == [501, 501]


@pytest.mark.parametrize(
    "torn",
    [point(1600.0, 7)[:-5], point(1600.0, 7)[:9], b"\0" * 40, b"\xff" * 64],
    ids=["in its data", "in its length", "zeros", "ones"],
)
def test_torn_end(tmp_path, torn):
    """A process that was killed in the middle of a write, or a machine that lost its power."""
    path = write(tmp_path / name_of(1000, "machine", 101), [(1400.0, 499), (1600.0, 620)], torn)
    assert recover(tmp_path, FIRST).points == 1
    assert points_in(path) == [(1400.0, 499)]
    assert (
        path.read_bytes()
        in (tmp_path / path.name.replace("tfevents", "before-attempt-9")).read_bytes()
    )


def test_files_without_stale_points_are_not_touched(tmp_path):
    path = write(
        tmp_path / name_of(1000, "machine", 101),
        [(1400.0, 499), (1500.0, 500)],
        point(1600.0, 7)[:-5],
    )
    before = path.stat()
    done = recover(tmp_path, FIRST)
    after = path.stat()
    assert (done.files, done.left) == (0, [])
    assert (before.st_ino, before.st_mtime_ns, before.st_size) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_size,
    )
    assert not list(tmp_path.glob("*before-attempt*"))


def test_again_changes_nothing(tmp_path):
    write(tmp_path / name_of(1000, "machine", 101), [(1400.0, 499), (1600.0, 620)])
    recover(tmp_path, FIRST)
    before = everything(tmp_path)
    assert recover(tmp_path, FIRST).points == 0
    assert everything(tmp_path) == before


def test_clocks_of_machines_need_not_agree(tmp_path):
    """The first machine's clock is an hour ahead of the second one's, on which training went on
    from the first one's checkpoint and led nowhere.
    """
    first = write(tmp_path / name_of(4600, "ahead", 1), [(4700.0, 1), (4710.0, 2), (4720.0, 3)])
    second = write(tmp_path / name_of(1200, "behind", 1), [(1210.0, 3), (1220.0, 4)])
    done = recover(
        tmp_path,
        attempt(1, started=4600.0, until=4710.0, host="ahead", pid=1),
        attempt(2, started=1200.0, until=-math.inf, host="behind", pid=1),
    )
    assert (done.files, done.points) == (2, 3)
    assert (points_in(first), points_in(second)) == ([(4700.0, 1), (4710.0, 2)], [])


def test_a_clock_that_was_set_back_before_the_save(tmp_path):
    """Points that others follow that stay were written before those."""
    points = [(1600.0, 1), (1700.0, 2), (1300.0, 3), (1400.0, 4), (1550.0, 5)]
    path = write(tmp_path / name_of(1000, "machine", 101), points)
    recover(tmp_path, FIRST)
    assert points_in(path) == points[:4]


def test_files_of_a_clock_that_is_ahead_are_read_first(tmp_path):
    """What this process writes has to be read after it, or TensorBoard jumps back."""
    names = [name_of(900, "machine", 101), name_of(7000, "ahead", 1), name_of(7001, "ahead", 1)]
    for step, name in enumerate(names, start=1):
        write(tmp_path / name, [(1000.0 if step == 1 else 7000.0, step)])
    own = write(tmp_path / name_of(4990, PRESENT.host, PRESENT.pid), [])
    with own.open("ab") as writer:
        recover(tmp_path, FIRST, attempt(2, started=7000.0, host="ahead", pid=1))
        writer.write(point(NOW, 4))
        writer.flush()
        assert steps_shown(tmp_path) == [1, 2, 3, 4]
        again = attempt(10, started=3000.0, host="behind", pid=3)
        repair_event_files(
            FileSystem(),
            tmp_path,
            RepairStart(
                (FIRST, attempt(2, started=7000.0, host="ahead", pid=1), PRESENT, again),
                500,
                0,
                True,
                3000.0,
            ),
        )
    write(tmp_path / name_of(3000, "behind", 3), [(3001.0, 5)])
    os.utime(own, (NOW, NOW))  # of a process of before
    assert steps_shown(tmp_path) == [1, 2, 3, 5, 4], (
        "the file that this process has open is left where it is"
    )
    repair_event_files(
        FileSystem(),
        tmp_path,
        RepairStart(
            (
                FIRST,
                attempt(2, started=7000.0, host="ahead", pid=1),
                PRESENT,
                again,
                attempt(11, started=2000.0),
            ),
            500,
            0,
            True,
            2000.0,
        ),
    )
    assert max(path.name for path in tmp_path.iterdir() if "tfevents" in path.name) < name_of(
        2000, "a", 1
    )


def test_attempts_of_one_process(tmp_path):
    """A notebook whose writer outlives its attempts: of each what was after it goes."""
    one, two = (
        attempt(1, started=1000.0, until=1100.0, pid=7),
        attempt(2, started=1200.0, until=1300.0, pid=7),
    )
    path = write(
        tmp_path / name_of(1000, "machine", 7), [(1050.0, 1), (1150.0, 2), (1250.0, 2), (1350.0, 3)]
    )
    recover(tmp_path, one, two)
    assert points_in(path) == [(1050.0, 1), (1250.0, 2)]


def test_files_of_other_programs_are_left_alone(tmp_path):
    for name in (
        name_of(1000, "machine", 555),
        name_of(1000, "elsewhere", 101),
        "events.out.tfevents.words",
        "notes.txt",
    ):
        write(tmp_path / name, [(1600.0, 620)])
    before = everything(tmp_path)
    done = recover(tmp_path, FIRST)
    assert (done, everything(tmp_path)) == (RepairResult(), before)


def test_a_file_that_this_process_has_open(tmp_path):
    now = time.time()
    mine, present = (
        attempt(number, started=now + number, until=until, host=PRESENT.host, pid=PRESENT.pid)
        for number, until in ((1, now + 10.0), (2, math.inf))
    )
    path = write(tmp_path / name_of(int(now), mine.host, mine.pid), [(now + 1.5, 620)])
    os.utime(path, (now + 60, now + 60))
    mine = replace(mine, until=now + 1.2)

    def in_order() -> RepairResult:
        return repair_event_files(
            FileSystem(), tmp_path, RepairStart((mine, present), 500, 0, True, now + 10.0)
        )

    with path.open("ab"):
        done = in_order()
        assert len(done.left) == 1
        assert "this process has it open" in done.left[0]
        assert points_in(path) == [(now + 1.5, 620)]
    assert in_order().points == 1, "it is closed"


def test_a_file_of_another_container_of_our_name_and_number(tmp_path):
    """It is being written there, though the name tells of an attempt of this run in a container of
    before; nobody here can see who has it open.
    """
    before = attempt(1, started=1000.0, until=1500.0, host=PRESENT.host, pid=PRESENT.pid)
    path = write(tmp_path / name_of(1000, before.host, before.pid), [(1600.0, 620)])
    os.utime(path, (time.time() + 60, time.time() + 60))
    done = recover(tmp_path, before)
    assert "another process with the same host and number" in done.left[0]
    assert (points_in(path), starts(tmp_path)) == ([(1600.0, 620)], [])
    os.utime(path, (1600.0, 1600.0))
    assert recover(tmp_path, before).points == 1, "it was written before this process began"


def test_other_runs_of_one_process(tmp_path):
    """A sweep in one script: it trained one run, then ours, which was killed before its first save
    or failed; then others.
    """
    mine = attempt(1, started=1000.0, until=-math.inf, ended=1300.0)
    before = write(
        tmp_path / "before" / name_of(500, "machine", 101), [(510.0, 0), (520.0, 1), (999.0, 900)]
    )
    after = write(tmp_path / "after" / name_of(1200, "machine", 101), [(1301.0, 1), (1400.0, 90)])
    later = write(
        tmp_path / "later" / name_of(1400, "machine", 101), [(1299.0, 1)]
    )  # whatever its clock said
    ours = write(tmp_path / "ours" / name_of(1000, "machine", 101), [(1001.0, 1), (1300.0, 2)])
    untouched = {path: path.read_bytes() for path in (before, after, later)}
    done = recover(tmp_path, mine, step=None)
    assert (done.files, done.points, done.left, points_in(ours)) == (1, 2, [], [])
    assert {path: path.read_bytes() for path in untouched} == untouched
    assert [starts(path.parent) for path in (before, after, later, ours)] == [[], [], [], [0, 0]]
    names = everything(tmp_path)
    repair_event_files(FileSystem(), tmp_path, RepairStart((mine, PRESENT), None, 0, True, 100.0))
    assert {name for name in everything(tmp_path) if not name.startswith("ours")} == {
        name for name in names if not name.startswith("ours")
    }


def test_another_run_in_the_same_file(tmp_path):
    """A notebook with one writer for all: what it wrote between the attempts stays, and the mark
    does not drop it.
    """
    one = attempt(1, started=1000.0, until=1100.0, ended=1200.0, pid=7)
    two = attempt(2, started=1400.0, until=-math.inf, ended=1500.0, pid=7)
    points = [(900.0, 7000), (1050.0, 1), (1150.0, 2), (1300.0, 8000), (1450.0, 2), (1501.0, 9000)]
    path = write(tmp_path / name_of(900, "machine", 7), points)
    recover(tmp_path, one, two, step=1)
    assert points_in(path) == [points[0], points[1], points[3], points[5]]
    assert starts(tmp_path) == [9001, 9001]


def test_another_run_beside_ours(tmp_path):
    """In the same directory: it is not touched, and as its points would be dropped too, the restart
    is not marked.
    """
    other = write(tmp_path / name_of(500, "machine", 101), [(520.0, 1), (900.0, 900)])
    ours = write(tmp_path / name_of(1000, "machine", 101), [(1400.0, 1), (1600.0, 2)])
    assert recover(tmp_path, FIRST).points == 1
    assert (len(points_in(other)), points_in(ours), starts(tmp_path)) == (2, [(1400.0, 1)], [])


def test_points_from_before_an_attempt_do_not_disturb_the_repair(tmp_path):
    """As Keras does with the graph of the model; the second was killed after that."""
    write(tmp_path / name_of(998, "machine", 101), [(999.5, 0), (1400.0, 1), (1600.0, 2)])
    write(tmp_path / name_of(1997, "machine", 102), [(1998.5, 0)])
    assert recover(tmp_path, FIRST, attempt(2, started=2000.0, until=-math.inf)).points == 1
    assert (steps_shown(tmp_path), starts(tmp_path)) == ([0, 1, 0], [501, 501])


def test_a_clock_that_was_set_back_behind_the_start(tmp_path):
    """Where it is not known when a point was written, it stays, and what was written before it."""
    points = [(1600.0, 1), (900.0, 2), (1550.0, 3)]
    path = write(tmp_path / name_of(1000, "machine", 101), points)
    recover(tmp_path, FIRST)
    assert points_in(path) == points[:2]


def test_going_back_inside_an_attempt(tmp_path):
    """What it had written since then goes. Where its clock was set back after that, the same times
    come again, and stay.
    """
    back = attempt(1, started=1000.0, until=1400.0, gone=((1100.0, 1200.0),))
    points = [
        (1100.0, 1),
        (1150.0, 2),
        (1160.0, 3),
        (1159.9, 3),
        (1250.0, 2),
        (1180.0, 3),
        (1300.0, 4),
        (1450.0, 5),
    ]
    path = write(tmp_path / name_of(1000, "machine", 101), points)
    assert recover(tmp_path, back).points == 4
    assert points_in(path) == [points[0], *points[4:7]]


def test_a_process_that_is_still_there(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        writer = attempt(1, started=4e9, until=-math.inf, host=PRESENT.host, pid=other.pid)
        path = write(tmp_path / "now" / name_of(1000, writer.host, writer.pid), [(4e9 + 1, 620)])
        done = recover(path.parent, writer)
        assert f"process {other.pid}" in done.left[0]
        earlier = attempt(1, started=1000.0, until=1500.0, host=PRESENT.host, pid=other.pid)
        write(tmp_path / "before" / name_of(1000, writer.host, writer.pid), [(1600.0, 620)])
        assert recover(tmp_path / "before", earlier).points == 1, (
            "a process that was started later is another one"
        )
        other.communicate(b"\n")
    assert recover(path.parent, writer).points == 1


def test_a_file_that_changes_meanwhile(tmp_path):
    path = write(tmp_path / name_of(1000, "machine", 101), [(1600.0, 620)])

    def write_late(_: Path) -> None:
        with path.open("ab") as late:
            late.write(point(1601.0, 621))

    files = Disk().after(lambda step: step.kind == "Append", write_late, times=1)
    done = recover(tmp_path, FIRST, files=files)
    assert "it changed" in done.left[0]
    assert points_in(path) == [(1600.0, 620), (1601.0, 621)]
    assert not list(tmp_path.glob("*cutting*"))


def test_links_and_pipes(tmp_path):
    elsewhere = write(tmp_path / "elsewhere" / "file", [(1600.0, 620)])
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / name_of(1000, "machine", 101)).symlink_to(elsewhere)
    os.mkfifo(logs / name_of(1001, "machine", 101))
    (logs / "below").symlink_to(tmp_path / "elsewhere")
    good = write(logs / name_of(1002, "machine", 101), [(1600.0, 620)])
    before = elsewhere.read_bytes()
    done = recover(logs, FIRST)
    assert sorted(
        "symbolic link" in each or "not a regular file" in each for each in done.left
    ) == [
        True,
        True,
    ]
    assert done.points == 1, "and the others are put in order"
    assert points_in(good) == []
    assert elsewhere.read_bytes() == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_disk_that_refuses(tmp_path, number):
    """Every operation in turn: nothing is lost, it is reported, and the next one repairs it."""
    for at in range(1, 40):
        logs = tmp_path / str(at)
        points = [(1400.0, 499), (1600.0, 620)]
        path = write(logs / name_of(1000, "machine", 101), points)
        original = path.read_bytes()
        files = FaultyFiles()
        files.fail(number, at=at)
        done = recover(logs, FIRST, files=files)
        if not files.reached:
            break
        assert done.left, f"operation {at} was refused, and nobody said it"
        assert original in everything(logs).values(), at
        again = recover(logs, FIRST)
        assert (again.left, steps_shown(logs)) == ([], [499]), at
        assert original in everything(logs).values(), at
        assert not list(logs.glob("*cutting*")), at
    assert at > 9


def test_large_files_go_through_a_small_memory(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(event_file_repair, "_CHUNK_BYTES", 1000)
    numbers = random.Random(seed)
    points = [(numbers.uniform(1000.0, 1500.0), step) for step in range(500)] + [
        (numbers.uniform(1501.0, 2000.0), step) for step in range(500, 700)
    ]
    path = write(tmp_path / name_of(1000, "machine", 101), points)
    files = FaultyFiles()
    assert recover(tmp_path, FIRST, files=files).points == 200
    assert points_in(path) == points[:500]
    assert max(len(step.data) for step in files.steps if step.kind == "Append") <= 1000


def test_only_points_go(tmp_path):
    """A graph, and what a file begins with, are of the program."""
    from tensorboard.compat.proto.event_pb2 import Event

    from ckptkit.tensorboard.event_files import encode_record

    path = write(tmp_path / name_of(1000, "machine", 101), [(1600.0, 620)])
    with path.open("ab") as file:
        file.write(encode_record(Event(wall_time=1700.0, graph_def=b"graph")))
    recover(tmp_path, FIRST)
    with path.open("rb") as file:
        assert [event.WhichOneof("what") for _, _, event in read_events(file)] == [
            "file_version",
            "graph_def",
        ]


def test_mark_drops_nothing_that_stays(tmp_path):
    """A tag may count examples: a reader that holds points from the mark's step on drops them,
    whatever they count.
    """
    write(
        tmp_path / name_of(1000, "machine", 101),
        [(1400.0, 16_000), (1410.0, 500), (1600.0, 19_840)],
    )
    recover(tmp_path, FIRST)
    assert starts(tmp_path) == [16_001, 16_001]
    late = attempt(2, started=2000.0, until=2500.0)
    write(tmp_path / name_of(2000, "machine", 102), [(2400.0, 510), (2600.0, 520)])
    recover(tmp_path, attempt(1, started=1000.0, until=1500.0), late, step=510, settled=2)
    assert starts(tmp_path)[-1] == 16_001


def test_settled_files_are_not_read_again(tmp_path):
    path = write(tmp_path / name_of(1000, "machine", 101), [(1400.0, 1)])
    recover(tmp_path, FIRST)
    write(path, [(1400.0, 1), (1600.0, 620)])
    assert recover(tmp_path, FIRST, attempt(2, started=2000.0), settled=2).points == 0
    assert points_in(path) == [(1400.0, 1), (1600.0, 620)]


def test_without_a_mark_settled_files_are_read(tmp_path):
    """Nobody else knows which steps they have, and what the next mark drops: a tag may count
    examples.
    """
    write(tmp_path / name_of(1000, "machine", 101), [(1400.0, 60_000)])
    recover(tmp_path, FIRST, attempt(2, started=2000.0), step=800, settled=2)
    assert starts(tmp_path) == [60_001, 60_001]


def test_settled_files_of_another_run_are_not_marked(tmp_path):
    """In its directory is a mark of its own, by the name of which it is one of ours."""
    theirs = write(tmp_path / name_of(500, "machine", 101), [(520.0, 1), (900.0, 900)])
    write(theirs.with_name(theirs.name + ".restart-000002"), [])
    before = everything(tmp_path)
    recover(tmp_path, FIRST, attempt(2, started=2000.0), settled=2)
    assert everything(tmp_path) == before


def test_fresh_start_is_marked_and_cuts_nothing(tmp_path):
    path = write(tmp_path / name_of(1000, "machine", 101), [(1600.0, 620)])
    assert recover(tmp_path, attempt(1, started=1000.0), step=None).points == 0
    assert points_in(path) == [(1600.0, 620)]
    assert starts(tmp_path) == [0, 0]


def test_no_mark_among_files_of_others(tmp_path):
    write(tmp_path / name_of(1000, "machine", 101), [(1600.0, 620)])
    write(tmp_path / name_of(1000, "machine", 555), [(1600.0, 620)])
    recover(tmp_path, FIRST)
    assert starts(tmp_path) == []


def test_names_of_originals_are_free(tmp_path):
    path = tmp_path / name_of(1000, "machine", 101)
    for number in range(3):
        backup_path(path, 4).write_text(str(number))
    assert sorted(each.read_text() for each in tmp_path.iterdir()) == ["0", "1", "2"]


@pytest.mark.parametrize("wrong", ["", 3, "gs://bucket/logs", "a\0b"])
def test_not_a_directory(wrong):
    with pytest.raises(ConfigError, match="tensorboard"):
        check_directory(wrong)
