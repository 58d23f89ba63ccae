"""Checkpoints share the data that has not changed, and each stays complete in itself."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from ckptkit.run.manifest import FileEntry
from ckptkit.writing.data_groups import MOST_GROUPS, WORTH_BYTES, DataGroup, plan_groups
from ckptkit.writing.unchanged_tensors import ContentRecord

PROGRAMS = "tests.writing.incremental_programs:"


@pytest.mark.parametrize("saves", [9, pytest.param(60, marks=pytest.mark.long)])
def test_every_checkpoint_has_its_own_bits(tf_call, tmp_path, seed, saves):
    done = tf_call(PROGRAMS + "many_saves", str(tmp_path / "run"), seed, saves).check().result
    assert done["shared"][:2] == [0, 0], "nothing is known to be unchanged"
    # What changes now and then spoils the file of what never does until that is known.
    assert done["shared"][-1] >= 3_600_000 or saves < 60, done
    assert max(done["shared"]) >= 3_600_000, done
    assert done["files"] <= MOST_GROUPS + 1


def test_what_tensorflow_adds_is_as_in_a_whole_checkpoint(tf_call, tmp_path, seed):
    program = PROGRAMS + "same_as_a_whole_one"
    shared = tf_call(program, str(tmp_path / "run"), seed).check().result
    assert shared[2] > 10_000_000


def test_a_flipped_bit_in_a_shared_file(tf_call, tmp_path, seed):
    done = tf_call(PROGRAMS + "a_flipped_bit", str(tmp_path / "run"), seed).check().result
    assert 8 > len(done["having"]) >= 2, done
    assert done["restored"] == min(done["having"]) - 1
    assert done["left"] == list(range(1, min(done["having"])))


@pytest.mark.parametrize("keep", [2, 1000])
def test_a_bit_that_is_lost_while_training_continues(tf_call, tmp_path, seed, keep):
    program = PROGRAMS + "a_bit_lost_while_training"
    assert tf_call(program, str(tmp_path / "run"), seed, keep).check().result == 24


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMLINK, errno.EIO, errno.EEXIST])
def test_without_hard_links_everything_is_written(tf_call, tmp_path, seed, number):
    program = PROGRAMS + "refused_links"
    done = tf_call(program, str(tmp_path / "run"), seed, number).check().result
    assert done["shared"] == [0] * 5
    # If the file system has none, that is tried once.
    assert done["tried"] == (1 if number in (errno.EPERM, errno.EMLINK) else 3)


@pytest.mark.parametrize("how", ["deleted", "shortened"])
def test_the_newest_checkpoint_cannot_be_shared(tf_call, tmp_path, seed, how):
    shared = tf_call(PROGRAMS + "newest_deleted", str(tmp_path / "run"), seed, how).check().result
    # Step 4 writes everything again, and the tensor is known to be unchanged at once.
    assert [each > 0 for each in shared] == [False, False, True, False, True, True]


@pytest.mark.parametrize(("unfrozen", "decided"), [(False, "save"), (True, "keep")])
def test_the_time_to_write_follows_what_has_changed(tf_call, tmp_path, seed, unfrozen, decided):
    """Else a save of everything would be begun that the machine does not live to finish. The
    estimate and the save use the same snapshot.
    """
    program = PROGRAMS + "told_to_stop"
    done = tf_call(program, str(tmp_path / "run"), seed, unfrozen).check().result
    assert done == [decided, 1]


def test_a_refused_save_frees_its_memory(tf_call, tmp_path):
    program = PROGRAMS + "refused_for_want_of_space"
    assert tf_call(program, str(tmp_path / "run")).check().result is True


# -- what is decided

SIZES = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=2), st.integers(0, 9 * WORTH_BYTES), min_size=1
)


@given(SIZES, st.data())
def test_every_tensor_is_in_one_file(sizes, data):
    keys = sorted(sizes)
    subset = st.sets(st.sampled_from(keys))
    unchanged = data.draw(subset)
    settled = data.draw(st.sets(st.sampled_from(sorted(unchanged)))) if unchanged else set()
    owners = data.draw(st.lists(st.integers(0, 6), min_size=len(keys), max_size=len(keys)))
    groups = [
        DataGroup(
            frozenset(members),
            sum(sizes[key] for key in members),
            FileEntry(name=str(number), size_bytes=1, digest=""),
            b"",
        )
        for number in range(1, 7)
        if (members := {key for key, owner in zip(keys, owners, strict=True) if owner == number})
    ][:MOST_GROUPS]
    plan = plan_groups(sizes, unchanged, settled, groups)
    parts = [*(group.keys for group in plan.shared), plan.new, plan.rest]
    assert sorted(key for part in parts for key in part) == keys
    assert all(group.keys <= unchanged for group in plan.shared)
    assert plan.new <= unchanged
    assert len(plan.shared) + bool(plan.new) <= MOST_GROUPS
    assert not plan.new or sum(sizes[key] for key in plan.new) >= WORTH_BYTES


def test_a_group_is_shared_as_a_whole_or_not_at_all():
    size = 2 * WORTH_BYTES
    group = DataGroup(frozenset("ab"), 2 * size, FileEntry(name="x", size_bytes=1, digest=""), b"")
    sizes = dict.fromkeys("abc", size)
    plan = plan_groups(sizes, set("ab"), set("ab"), [group])
    assert (plan.shared, plan.new, plan.rest) == ((group,), frozenset(), frozenset("c"))
    plan = plan_groups(sizes, set("a"), set("a"), [group])
    assert (plan.shared, plan.new, plan.rest) == ((), frozenset("a"), frozenset("bc"))


@given(st.integers(1, 300_000), st.data())
def test_one_bit_anywhere_is_a_change(size, data):
    values = np.random.default_rng(size).integers(0, 255, size, np.uint8)
    record = ContentRecord()
    for _ in range(3):
        record.remember(record.compare({"a": tf.constant(values)}))
    assert record.compare({"a": tf.constant(values)}).unchanged == (
        {"a"} if size >= 1024 else set()
    )
    values[data.draw(st.integers(0, size - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert record.compare({"a": tf.constant(values)}).unchanged == set()


def test_other_forms_of_the_same_bytes_are_changes():
    values = tf.zeros([4096])
    record = ContentRecord()
    record.remember(record.compare({"a": values}))
    for other in (tf.reshape(values, [64, 64]), tf.zeros([4096], tf.int32)):
        assert not record.compare({"a": other}).unchanged


def test_what_changes_now_and_then_has_to_be_calm_for_longer():
    record = ContentRecord()
    waited = []
    for number in range(6):
        values = tf.fill([1000], float(number))
        for saves in range(99):
            comparison = record.compare({"a": values})
            record.remember(comparison)
            if comparison.settled:
                waited.append(saves)
                break
    # After a change, its digest is not known until the next save.
    assert waited == [1, 3, 5, 9, 17, 17]


def test_a_save_that_failed_is_not_compared_with():
    record = ContentRecord()
    record.remember(record.compare({"a": tf.zeros([1000])}))
    record.compare({"a": tf.ones([1000])})  # and not committed
    assert not record.compare({"a": tf.ones([1000])}).unchanged
    assert record.compare({"a": tf.zeros([1000])}).unchanged == {"a"}
