"""Which failed reads prove damage: every error of the system, and every look that confirms one."""

from __future__ import annotations

import errno
import os

import pytest

import ckptkit
from ckptkit.storage.files import DISK
from ckptkit.storage.proof_of_damage import is_proven_missing, judging, proven_damage
from ckptkit.testing import FaultyFiles

ERRNOS = sorted(errno.errorcode)


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "checkpoints" / "ckpt-1-1" / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"good")
    return path


@pytest.mark.parametrize("lasting", [True, False])
def test_no_error_of_reading_a_good_file_is_damage(good, lasting):
    for number in ERRNOS:
        files = FaultyFiles()
        files.fail_read(number, times=None if lasting else 1)
        with pytest.raises(ckptkit.StorageError) as caught, judging(good, good.name, files):
            files.read_bounded(good, 100)
        assert caught.value.errno == number
        assert files.reached >= 1


def test_too_little_memory_is_no_damage(good):
    with pytest.raises(ckptkit.StorageError) as caught, judging(good, good.name):
        raise MemoryError
    assert caught.value.errno == errno.ENOMEM


def remove(path):
    path.unlink()


def remove_directory(path):
    path.unlink()
    path.parent.rmdir()


def put_a_file_for_the_directory(path):
    remove_directory(path)
    path.parent.write_bytes(b"")


def put_a_directory(path):
    path.unlink()
    path.mkdir()


def put_a_link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def put_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def write_too_much(path):
    path.write_bytes(bytes(101))


DAMAGE = {
    remove: "missing",
    remove_directory: "missing",
    put_a_file_for_the_directory: "missing",
    put_a_directory: "unreadable",
    put_a_link: "unreadable",
    put_a_pipe: "unreadable",
    write_too_much: "unreadable",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_proven_by_a_second_look(good, damage):
    damage(good)
    with pytest.raises(ckptkit.CorruptCheckpointError) as caught, judging(good, good.name):
        DISK.read_bounded(good, 100)
    assert (caught.value.damage, caught.value.file) == (DAMAGE[damage], good.name)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_not_proven_while_the_second_look_fails(good, damage):
    damage(good)
    for number in ERRNOS:
        files = FaultyFiles()
        files.fail_read(number, times=None)
        error = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        assert proven_damage(error, good, files) is None


def test_a_mount_that_vanished_proves_nothing(good, tmp_path):
    good.unlink()
    good.parent.rmdir()
    good.parent.parent.rmdir()
    assert not is_proven_missing(good)
    assert proven_damage(OSError(errno.ENOENT, "gone"), good) is None
