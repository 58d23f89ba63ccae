"""Background saves: delayed writes, failures, and where their errors are raised."""

from __future__ import annotations

import errno

import pytest

from tests.support.spread import spread

PROGRAMS = "tests.writing.programs:"


@pytest.mark.parametrize(
    ("error", "where"),
    [
        *((error, "save") for error in ("ENOSPC", "EIO", "EACCES", "SystemExit", "MemoryError")),
        *spread(
            [
                (error, where)
                for where in ("maybe_save", "steps", "wait", "latest_step", "close")
                # A periodic save outlasts an error that may pass, such as EIO.
                for error in ("EACCES" if where in ("maybe_save", "steps") else "EIO", "SystemExit")
            ],
            3,
        ),
    ],
)
def test_a_failure_is_raised_once_with_its_cause(tf_call, tmp_path, error, where):
    result = tf_call(PROGRAMS + "failed_save", str(tmp_path / "run"), error, where).check().result
    assert result["first"]["kind"] == "BackgroundSaveError"
    assert result["first"]["cause"] == (error if error[0] != "E" else "StorageError")
    assert result["first"]["errno"] == getattr(errno, error, None)
    assert result["second"] is None
    if error.startswith("E"):
        assert str(tmp_path / "run") in result["first"]["text"]
        assert {"ENOSPC": "Free some space", "EIO": "system's log", "EACCES": "permission"}[
            error
        ] in result["first"]["text"]
    # The run is left at another step, which is saved; or at the one whose save failed, which is
    # saved again.
    assert result["steps"] == ([1, 3] if where in ("save", "maybe_save", "steps") else [1, 2])
    assert result["value"] == [1.0, 2.0], "the checkpoint from before is untouched"
    assert not [name for name in result["left"] if name.startswith(".")]
    assert result["failed"] == 1


def test_a_failure_is_raised_in_the_next_batch_of_fit(tf_call, tmp_path):
    result = tf_call(PROGRAMS + "failed_in_fit", str(tmp_path / "run")).check().result
    assert result["error"]["kind"] == "BackgroundSaveError"
    assert result["error"]["errno"] == errno.EACCES
    assert 10 <= result["batches"] <= 12
    assert result["steps"] == [5]


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_an_error_that_passes_is_tried_again(tf_call, tmp_path, error):
    result = tf_call(PROGRAMS + "transient", str(tmp_path / "run"), error, 3).check().result
    assert result == {"steps": [1], "failed": []}


def test_the_newest_of_those_that_wait_is_written(tf_call, tmp_path):
    result = tf_call(PROGRAMS + "faster_than_the_disk", str(tmp_path / "run")).check().result
    assert result["steps"] == [1, 4]
    assert result["dropped"] == [2, 3]
    assert "step 3" in result["reasons"][0]
    assert result["value"] == [4.0, 0.0]


@pytest.mark.parametrize("how", ["asked for", "records", "the best are kept", "milestones"])
def test_required_saves_are_not_dropped(tf_call, tmp_path, how):
    assert tf_call(PROGRAMS + "insisting", str(tmp_path / "run"), how).check().result == {
        "steps": [1, 2, 3, 4],
        "dropped": [],
    }


def test_waiting_with_a_time_limit(tf_call, tmp_path):
    result = tf_call(PROGRAMS + "timeout", str(tmp_path / "run")).check().result
    assert result["late"]["kind"] == "BackgroundSaveError"
    assert "0.05 s" in result["late"]["text"]
    assert result["in_time"] is None
    assert result["steps"] == [1]


def test_without_memory_for_a_copy_it_saves_in_the_foreground(tf_call, tmp_path):
    process = tf_call(PROGRAMS + "little_memory", str(tmp_path / "run")).check()
    assert process.result["steps"] == [1]
    assert len(process.result["events"]) == 1
    assert process.result["threads"] == []
    assert "saving in the foreground" in process.stderr


def test_without_memory_for_a_copy_that_waits_training_waits(tf_call, tmp_path):
    process = tf_call(PROGRAMS + "memory_becomes_little", str(tmp_path / "run")).check()
    assert process.result == {"steps": [1, 2], "dropped": []}
    assert "waiting for the save" in process.stderr


@pytest.mark.parametrize("error", ["", "EIO"])
def test_the_memory_of_a_snapshot_is_given_back_when_it_is_written(tf_call, tmp_path, error):
    """Not later, when Python looks for circles or the thread ends: until then further copies could
    gather, and there is nothing to give back.
    """
    result = tf_call(PROGRAMS + "given_back", str(tmp_path / "run"), error).check().result
    assert result["steps"] == [1, 2]
    assert set(result["snapshots"]) == {0}


def test_a_child_that_is_forked_while_a_save_is_written(tf_call, tmp_path):
    assert tf_call(PROGRAMS + "forked_while_writing", str(tmp_path / "run")).check().result == {
        "code": 0,
        "steps": [1],
    }


@pytest.mark.parametrize("broken", [False, True])
def test_a_program_that_ends_while_a_save_is_written(fresh_process, tmp_path, broken):
    """It waits for the write; and where that fails, it does not end as if all were well."""
    process = fresh_process(
        """
        import errno, sys
        import tensorflow as tf
        import ckptkit
        from tests.support.disks import slow_disk, syncs_a_new_file

        files = slow_disk(0.5, syncs_a_new_file)
        if sys.argv[2] == "True":
            files.fail(errno.EACCES, when=syncs_a_new_file, times=None)
        manager = ckptkit.CheckpointManager(sys.argv[1], {"weight": tf.Variable(1.0)}, files=files)
        manager.restore_or_initialize()
        manager.save(1)
        print("the end")
    """,
        tmp_path / "run",
        broken,
        cwd=tmp_path,
    ).check(code=1 if broken else 0)
    assert process.stdout.endswith("the end\n")
    checkpoints = [path.name for path in (tmp_path / "run" / "checkpoints").glob("ckpt-*")]
    if broken:
        assert checkpoints == []
        assert "the program ended before it was reported" in process.stderr
        assert "permission" in process.stderr
    else:
        assert checkpoints == ["ckpt-1-1"]


def test_a_change_of_the_state_is_noticed(tf_call):
    for name, (same, all_found, changed) in tf_call(PROGRAMS + "changes").check().result.items():
        assert same, f"{name}: without a change nothing is looked for again"
        assert all_found, f"{name}: the change was not noticed"
        assert changed, f"{name}: the test changes nothing"
