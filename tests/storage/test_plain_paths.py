"""Names that TensorFlow takes literally, for paths that it would take for patterns."""

from __future__ import annotations

import gc
import os
import string
from pathlib import Path

import pytest

from ckptkit.storage.plain_paths import is_pattern, opened, plain_directory, plain_prefix

ODD = ["lr=[0.1]", "x*y", "what?", "back\\slash", "[!a]", "[", "]"]


@pytest.fixture
def directory(tmp_path):
    directory = tmp_path / "runs" / "lr=[0.1]*?\\"
    directory.mkdir(parents=True)
    (directory / "ckpt-1.index").write_bytes(b"index")
    return directory


@pytest.mark.parametrize("name", ODD)
def test_a_pattern_is_recognised(name):
    assert is_pattern(Path("runs") / name / "ckpt-1")


def test_all_other_signs_are_no_patterns():
    assert not is_pattern(Path("".join(sorted(set(string.printable) - set("[]*?\\")))))


def test_a_plain_directory_keeps_its_name(tmp_path):
    with plain_directory(tmp_path) as name:
        assert name == tmp_path


@pytest.mark.parametrize("descriptors", ["/proc/self/fd", "/no/such/directory"])
def test_a_plain_name_reads_and_writes_in_the_same_directory(directory, descriptors):
    with plain_directory(directory, Path(descriptors)) as name:
        assert not is_pattern(name)
        assert (name / "ckpt-1.index").read_bytes() == b"index"
        (name / "new").write_bytes(b"new")
    assert (directory / "new").read_bytes() == b"new"
    assert not os.path.lexists(name)  # nothing is left, neither a descriptor nor a link


@pytest.mark.parametrize("name", ODD)
def test_a_prefix_that_is_a_pattern_itself(tmp_path, name):
    for file in (f"{name}.index", f"{name}.data-00000-of-00001", f"{name}2.index"):
        (tmp_path / file).write_text(file)
    with plain_prefix(tmp_path / name) as prefix:
        assert not is_pattern(prefix)
        found = {path.name.removeprefix(prefix.name) for path in prefix.parent.iterdir()}
        assert found == {".index", ".data-00000-of-00001"}
        assert prefix.with_name(f"{prefix.name}.index").read_text() == f"{name}.index"
    assert not prefix.parent.exists()


class Reader:
    def __init__(self, name):
        self.name = name


def test_a_name_lasts_as_long_as_what_was_opened_with_it(directory):
    reader = opened(plain_directory(directory), Reader)
    name = reader.name
    assert (name / "ckpt-1.index").exists()
    del reader
    gc.collect()
    assert not os.path.lexists(name)


def test_a_name_ends_at_once_if_opening_fails(directory):
    names = []

    def refuse(name):
        names.append(name)
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        opened(plain_directory(directory), refuse)
    assert not os.path.lexists(names[0])
