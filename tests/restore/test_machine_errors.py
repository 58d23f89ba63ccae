"""Errors of the machine while a run is opened, verified and restored move no good checkpoint."""

from __future__ import annotations

import json
import shutil
from textwrap import dedent

import pytest

SAVE = """
    import errno, json, os, random, resource, sys
    from pathlib import Path
    import numpy as np, tensorflow as tf
    import ckptkit

    run = Path(sys.argv[1])
    weight = tf.Variable(tf.zeros([4_000_000]))


    def manager(**options):
        return ckptkit.CheckpointManager(
            run, {"weight": weight}, keep=ckptkit.KeepLatest(9), background=False, **options
        )


    def names():
        return sorted(path.name for path in (run / "checkpoints").glob("ckpt-*"))
"""
GOOD = ["ckpt-1-1", "ckpt-2-1"]


@pytest.fixture
def program(tf_process, tmp_path):
    def run(text, *args):
        return tf_process(dedent(SAVE) + dedent(text), tmp_path / "run", *args)

    run(
        """
    with manager() as m:
        m.save(1)
        weight.assign_add(tf.ones_like(weight))
        m.save(2)
    """
    ).check()
    return run


def untouched(program, tmp_path):
    """Whether both checkpoints are in their places, and the next start resumes from the newest."""
    assert not (tmp_path / "run" / "quarantine").exists()
    process = program("""
    with manager() as m:
        print(json.dumps([names(), m.restore_or_initialize().step, float(weight[0])]))
    """).check()
    return json.loads(process.stdout.splitlines()[-1]) == [GOOD, 2, 1.0]


def test_every_error_number_at_every_read(program, tmp_path, seed):
    process = program(
        """
    from ckptkit.clock import SystemClock
    from ckptkit.layout import RunLayout
    from ckptkit.restore.newest_checkpoint import newest_good
    from ckptkit.run.journal import next_attempt, start_journal
    from ckptkit.testing import FaultyFiles

    layout = RunLayout(run)
    journal = start_journal(FaultyFiles(), layout, SystemClock(), next_attempt(layout))
    draw = random.Random(int(sys.argv[2]))
    calm = FaultyFiles()
    assert newest_good(calm, layout, journal).step == 2
    outcomes = {}
    for number in errno.errorcode:
        # A missing file may be normal, so that number is tried at every read.
        everywhere = range(1, len(calm.reads) + 1)
        looks_missing = number in (errno.ENOENT, errno.ENOTDIR)
        chosen = everywhere if looks_missing else [draw.choice(everywhere)]
        for first, times in ((first, times) for first in chosen for times in (1, 2, None)):
            files = FaultyFiles()
            files.fail_read(number, at=first, times=times)
            try:
                found = newest_good(files, layout, journal)
                outcome = "new run" if found is None else str(found.step)
            except ckptkit.StorageError:
                outcome = "refused"
            except Exception as error:
                outcome = f"{type(error).__name__} {number} {first} {times}: {error}"
            assert files.reached
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            assert names() == ["ckpt-1-1", "ckpt-2-1"], (number, first, times)
    print(json.dumps(outcomes))
    """,
        seed,
    ).check()
    outcomes = json.loads(process.stdout.splitlines()[-1])
    # A read that failed once may be one that has a fallback, as of a fence that was replaced.
    assert outcomes.keys() <= {"refused", "2"}, outcomes
    assert outcomes["refused"] > 100
    assert untouched(program, tmp_path)


def test_a_damaged_checkpoint_that_cannot_be_moved_is_passed_over(program, tmp_path):
    process = program("""
    import logging
    from ckptkit.clock import SystemClock
    from ckptkit.layout import RunLayout
    from ckptkit.restore.newest_checkpoint import newest_good
    from ckptkit.run.journal import next_attempt, start_journal
    from ckptkit.testing import FaultyFiles

    index = run / "checkpoints" / "ckpt-2-1" / "ckpt-2.index"
    index.write_bytes(index.read_bytes()[:-1])
    layout, files = RunLayout(run), FaultyFiles()
    journal = start_journal(files, layout, SystemClock(), next_attempt(layout))
    files.fail(errno.EXDEV, when=lambda step: step.kind == "Rename", times=None)
    warnings = []
    logging.getLogger("ckptkit").addHandler(logging.NullHandler())
    logging.getLogger("ckptkit").addFilter(lambda line: warnings.append(line.getMessage()))
    passed_over = {}
    found = [newest_good(files, layout, journal, passed_over=passed_over).step for _ in range(3)]
    print(json.dumps([found, files.reached, [str(each) for each in passed_over], len(warnings)]))
    """).check()
    result = json.loads(process.stdout.splitlines()[-1])
    assert result == [[1, 1, 1], 1, ["ckpt-2-1"], 1]


def test_too_few_descriptors(program, tmp_path):
    process = program("""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    outcomes = []
    for free in range(0, 24):
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        for descriptor in taken[:free]:
            os.close(descriptor)
        try:
            with manager() as m:
                outcomes.append(m.restore_or_initialize().step)
        except (OSError, ckptkit.CheckpointError) as error:
            outcomes.append(type(error).__name__)
        for descriptor in taken[free:]:
            os.close(descriptor)
        assert not (run / "quarantine").exists(), (free, outcomes)
    print(json.dumps(outcomes))
    """).check()
    outcomes = json.loads(process.stdout.splitlines()[-1])
    assert "StorageError" in outcomes
    assert outcomes[-1] == 2
    assert "CorruptCheckpointError" not in outcomes
    assert untouched(program, tmp_path)


@pytest.mark.parametrize("lost", ["checkpoints", "checkpoints/ckpt-2-1"])
def test_a_mount_that_is_gone_for_a_while(program, tmp_path, lost):
    """What is mounted there is missing as a whole, and its place is an empty directory."""
    place, elsewhere = tmp_path / "run" / lost, tmp_path / "elsewhere"
    place.rename(elsewhere)
    place.mkdir()
    process = program("""
    try:
        with manager() as m:
            print(json.dumps(m.restore_or_initialize().step))
    except ckptkit.CheckpointError as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
    """).check()
    outcome = json.loads(process.stdout.splitlines()[-1])
    # A checkpoint whose directory is empty is no good one. All of them missing is no new run.
    if "ckpt" in lost:
        assert outcome == 1
    else:
        assert outcome.startswith("CorruptCheckpointError"), outcome
    moved = tmp_path / "run" / "quarantine"
    if place.exists():
        place.rmdir()
    if moved.exists():
        assert [path.stat().st_size for path in moved.rglob("ckpt-2.*")] == []
        shutil.rmtree(moved)
    elsewhere.rename(place)
    assert untouched(program, tmp_path)


@pytest.mark.parametrize("spare_mb", [0, 4, 12, 20, 40])
def test_too_little_memory(program, tmp_path, spare_mb):
    process = program(
        """
    tf.zeros([10]).numpy()  # the devices and threads of TensorFlow
    status = Path("/proc/self/status").read_text()
    size_kb = int(status.partition("VmSize:")[2].split()[0])
    limit = (size_kb << 10) + (int(sys.argv[2]) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with manager() as m:
        print(json.dumps(m.restore_or_initialize().step))
    """,
        spare_mb,
    )
    process.wait()  # whether it succeeds, fails or is aborted is no matter
    assert untouched(program, tmp_path)
