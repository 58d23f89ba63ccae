"""Looking at a run while training writes: no lock, nothing torn, and nothing taken away under a
reader.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

import ckptkit
from ckptkit.clock import SystemClock
from ckptkit.layout import CheckpointName
from ckptkit.ownership.reader_leases import being_read, remove_dead_leases
from ckptkit.policies import KeepLatest
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.checkpoint_removal import remove_checkpoint
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.retention import retain
from ckptkit.run.verification_cache import CheckpointIndex
from ckptkit.storage.files import FileSystem
from ckptkit.testing import FakeClock
from tests.support.stored_run import manifest, start_attempt

FIRST = CheckpointName(100, 1)


def keep_one(layout):
    journal = start_attempt(FileSystem(), layout, SystemClock())
    retain(FileSystem(), CheckpointIndex(layout), journal, KeepLatest(1))


def steps(layout):
    return [checkpoint.step for checkpoint in list_checkpoints(layout)]


def test_what_is_read_stays_until_it_has_been_read(save, layout):
    save(100)
    with ckptkit.open_run(layout.root).reading() as checkpoint:
        save(200)
        keep_one(layout)
        assert (checkpoint.step, steps(layout)) == (100, [100, 200])
    keep_one(layout)
    assert steps(layout) == [200]
    assert list(layout.pins.iterdir()) == []


def test_a_reader_that_was_killed_keeps_nothing(save, layout):
    save(100)
    program = (
        "import ckptkit, sys, time\n"
        "with ckptkit.open_run(sys.argv[1]).reading():\n"
        "    print('reading', flush=True)\n"
        "    time.sleep(60)\n"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", program, str(layout.root)], stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout.readline() == "reading\n"
    assert being_read(layout) == {FIRST}
    reader.kill()
    reader.wait()
    save(200)
    keep_one(layout)
    assert steps(layout) == [200]
    remove_dead_leases(FileSystem(), layout)
    assert list(layout.pins.iterdir()) == []


@pytest.mark.parametrize(("since", "counts"), [(-10.0, True), (-4000.0, False), (4000.0, False)])
def test_a_reader_on_another_machine_counts_for_an_hour(save, layout, since, counts):
    save(100)
    lease = {
        "checkpoint": str(FIRST),
        "host": "elsewhere",
        "boot": "1",
        "since": time.time() + since,
    }
    (layout.pins / ".reading-1").write_text(json.dumps(lease))
    assert being_read(layout) == ({FIRST} if counts else set())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"checkpoint": "../..", "host": "", "boot": "", "since": 0}',
        b"[" * 100_000,
    ],
)
def test_what_cannot_be_read_in_the_place_of_a_hold_is_none(save, layout, content):
    save(100)
    (layout.pins / ".reading-1").write_bytes(content)
    assert being_read(layout) == frozenset()


def test_where_the_owner_says_that_it_goes_the_reader_takes_the_next(save, layout):
    save(100)
    layout.leaving(FIRST).touch()
    timer = threading.Timer(
        0.2,
        lambda: (
            save(200),
            remove_checkpoint(FileSystem(), layout, FIRST),
            layout.leaving(FIRST).unlink(),
        ),
    )
    timer.start()
    with ckptkit.open_run(layout.root).reading() as checkpoint:
        assert checkpoint.step == 200
    timer.join()


def test_what_vanishes_under_a_reader_that_may_not_write_is_read_again_from_the_newest(
    save, layout
):
    save(100)
    layout.pins.rmdir()
    layout.pins.write_text("nobody can leave a word here")
    seen = []

    def action(checkpoint):
        seen.append(checkpoint.step)
        if checkpoint.step == 100:
            save(200)
            keep_one_without_pins(layout)
        return (checkpoint.path / f"ckpt-{checkpoint.step}.index").read_bytes()

    assert ckptkit.open_run(layout.root).read(action) == b"tensors"
    assert seen == [100, 200]


def keep_one_without_pins(layout):
    layout.pins.unlink()
    keep_one(layout)
    layout.pins.write_text("")


def test_an_error_over_a_checkpoint_that_is_there_is_the_readers_own(save, layout):
    save(100)
    with pytest.raises(ZeroDivisionError):
        ckptkit.open_run(layout.root).read(lambda checkpoint: 1 // 0)


def test_following_gives_each_as_it_comes_and_ends_with_training(save, layout):
    save(100)
    save(200)

    def train():
        for step in (300, 400):
            time.sleep(0.1)
            save(step, final=step == 400)

    training = threading.Thread(target=train)
    training.start()
    followed = ckptkit.open_run(layout.root).follow(after_step=100, poll_secs=0.01)
    assert [checkpoint.step for checkpoint in followed] == [200, 300, 400]
    training.join()


def test_following_ends_where_nothing_comes_for_long_enough(save, layout):
    save(100)
    clock = FakeClock()
    began = clock.monotonic()
    assert [
        each.step for each in ckptkit.open_run(layout.root).follow(timeout_secs=30, clock=clock)
    ] == [100]
    assert 30 <= clock.monotonic() - began < 32


def test_an_older_step_of_a_later_attempt_is_new(save, layout):
    save(300, 1)
    followed = ckptkit.open_run(layout.root).follow(timeout_secs=0)
    assert next(followed).step == 300
    save(100, 2)
    assert next(followed).attempt == 2


EVALUATOR = """
import sys, ckptkit
from pathlib import Path
run, stop = ckptkit.open_run(sys.argv[1]), Path(sys.argv[2])
def evaluate(checkpoint):
    content = (checkpoint.path / (checkpoint.name.prefix + ".index")).read_bytes()
    assert content == checkpoint.name.prefix.encode() * 1000, content[:20]
    names = {path.name for path in checkpoint.path.iterdir()}
    assert names == {checkpoint.name.prefix + ".index", "manifest.json"}
    return checkpoint.step
seen = []
while not stop.exists():
    seen.append(run.read(evaluate))
assert seen == sorted(seen), seen
print(len(seen), len(set(seen)))
"""


@pytest.mark.parametrize("way", ["read", "reading"])
def test_evaluators_in_a_loop_beside_training_that_keeps_one_see_no_error(layout, tmp_path, way):
    """`KeepLatest(1)` and a save at every step, and three evaluators that read without pause."""
    files, stop = FileSystem(), tmp_path / "stop"
    program = (
        EVALUATOR
        if way == "read"
        else EVALUATOR.replace(
            "    seen.append(run.read(evaluate))",
            "    with run.reading() as checkpoint:\n        seen.append(evaluate(checkpoint))",
        )
    )
    journal = start_attempt(files, layout, SystemClock())
    files.make_dir(layout.pins)

    def train(step):
        prefix = f"ckpt-{step}"
        (begin_writing(files, layout, 1) / f"{prefix}.index").write_bytes(prefix.encode() * 1000)
        commit(files, layout, manifest(step, 1))
        retain(files, CheckpointIndex(layout), journal, KeepLatest(1))

    train(1)
    evaluators = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(layout.root), str(stop)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    try:
        end = time.monotonic() + 6
        step = 1
        while time.monotonic() < end:
            step += 1
            train(step)
        stop.touch()
        for evaluator in evaluators:
            out, err = evaluator.communicate(timeout=60)
            assert evaluator.returncode == 0, err
            read, different = map(int, out.split())
            assert read >= different > 5
    finally:
        for evaluator in evaluators:
            with suppress(OSError):
                evaluator.kill()
    train(step + 1)
    assert steps(layout) == [step + 1]
    assert list(Path(layout.pins).iterdir()) == []


def test_a_reader_needs_no_permission_and_no_lock(save, layout):
    """Nothing of the run is changed by looking at it without `reading`."""
    save(100)
    before = sorted(path.relative_to(layout.root) for path in layout.root.rglob("*"))
    run = ckptkit.open_run(layout.root)
    assert run.find("latest").step == 100
    assert replace(run.find(100)) == run.checkpoints[0]
    assert sorted(path.relative_to(layout.root) for path in layout.root.rglob("*")) == before
