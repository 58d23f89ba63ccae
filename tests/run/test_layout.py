"""Names: what is spelled is what is read, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ckptkit
from ckptkit.exports.version_directories import check_base
from ckptkit.layout import (
    CheckpointName,
    RunLayout,
    is_removing,
    journal_attempt,
    literal_braces,
    replaced_name,
    run_layout,
    writing_attempt,
)
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.checkpoint_state_file import state_file_content

LAYOUT = RunLayout(Path("run"))
names = st.builds(CheckpointName, st.integers(0, 10**18 - 1), st.integers(1, 10**9 - 1))


@given(names)
def test_every_name_is_read_as_what_it_is(name):
    assert CheckpointName.parse(str(name)) == name
    assert replaced_name(LAYOUT.replaced(name).name) == name
    assert is_removing(LAYOUT.removing(name).name)
    assert writing_attempt(LAYOUT.writing(name.attempt).name) == name.attempt
    assert journal_attempt(LAYOUT.attempt_journal(name.attempt).name) == name.attempt


@given(names)
def test_one_name_is_never_read_as_another_kind(name):
    spelled = [
        str(name),
        LAYOUT.replaced(name).name,
        LAYOUT.removing(name).name,
        LAYOUT.writing(name.attempt).name,
        LAYOUT.attempt_journal(name.attempt).name,
    ]
    readers = [
        CheckpointName.parse,
        replaced_name,
        lambda text: is_removing(text) or None,
        writing_attempt,
        journal_attempt,
    ]
    assert [[reader(text) is not None for reader in readers] for text in spelled] == [
        [i == j for j in range(5)] for i in range(5)
    ]


@given(st.one_of(st.text(), st.from_regex(r"ckpt-?-?\d*-?\d*x?")))
def test_other_text_is_no_name(text):
    name = CheckpointName.parse(text)
    assert name is None or str(name) == text


@pytest.mark.parametrize(
    "text",
    [
        "ckpt-1",
        "ckpt-1-1 ",
        "ckpt--1-1",
        "ckpt-1-1-1",
        "ckpt-1.5-1",
        "ckpt-1-1\n",
        "Ckpt-1-1",
        f"ckpt-{'9' * 19}-1",
        "",
        "ckpt-01-1",
        "ckpt-1-01",
        "ckpt-1-0",
        "ckpt-\u0663-1",
    ],
)
def test_almost_a_name(text):
    assert CheckpointName.parse(text) is None


def test_newest_is_by_attempt_and_then_by_step(layout):
    for name in (
        "ckpt-900-1",
        "ckpt-1000-1",
        "ckpt-90-2",
        "ckpt-100-2",
        "ckpt-100-10",
        "notes",
        ".writing-3",
    ):
        (layout.checkpoints / name).mkdir(parents=True)
    assert [str(c.name) for c in list_checkpoints(layout)] == [
        "ckpt-900-1",
        "ckpt-1000-1",
        "ckpt-90-2",
        "ckpt-100-2",
        "ckpt-100-10",
    ]


def test_a_run_that_is_not_there_has_no_checkpoints(layout):
    assert list_checkpoints(layout) == []


def test_the_state_file_is_tensorflows_and_relative():
    assert state_file_content([]) == b""
    names = [CheckpointName(5, 1), CheckpointName(7, 2)]
    assert state_file_content(names).decode().splitlines() == [
        'model_checkpoint_path: "ckpt-7-2/ckpt-7"',
        'all_model_checkpoint_paths: "ckpt-5-1/ckpt-5"',
        'all_model_checkpoint_paths: "ckpt-7-2/ckpt-7"',
    ]


@pytest.mark.parametrize(
    "url", ["gs://bucket/run", "s3://bucket/run", "az://c/run", "hdfs://host/run", "file:///runs/a"]
)
def test_a_url_is_no_run_directory(url):
    with pytest.raises(
        ckptkit.ConfigError, match="Mount storage that outlives the machine"
    ) as caught:
        run_layout(url)
    assert url in str(caught.value)


@pytest.mark.parametrize("of", [run_layout, check_base])
@pytest.mark.parametrize("url", ["s3://bucket/x", "gs://bucket", "hdfs://host/run"])
def test_a_url_as_a_path_is_no_directory_either(of, url, monkeypatch, tmp_path):
    """`Path` drops the second slash, and a directory of the name `s3:` was made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUCKET", url)
    for directory in (Path(url), "$BUCKET/runs"):
        with pytest.raises(ckptkit.ConfigError, match="Received the URL"):
            of(directory)
    (tmp_path / f"{url.partition(':')[0]}:").mkdir()
    assert of(Path(url)), "a directory of that name is meant"


@pytest.mark.parametrize("text", ["$EMPTY/x", "${EMPTY}/x", "$EMPTY", "/data/${EMPTY}/x"])
def test_an_empty_variable_in_the_place_of_a_directory_is_an_error(monkeypatch, text):
    monkeypatch.setenv("EMPTY", "")
    with pytest.raises(ckptkit.ConfigError, match=r"variable \$\{?EMPTY\}?, which is empty"):
        run_layout(text)
    assert run_layout("runs${EMPTY}/x").root == Path("runs/x")


def test_a_variable_in_braces_is_no_forgotten_f_string():
    assert literal_braces("${SCRATCH}/run") is None
    assert literal_braces("${SCRATCH}/{fold}") == "{fold}"


@pytest.mark.parametrize("directory", ["", b"run", b"", " ", "\t \n"])
def test_what_is_no_path_is_said(directory):
    with pytest.raises(ckptkit.ConfigError, match="Received"):
        run_layout(directory)


def test_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/users/somebody")
    assert run_layout("~/runs/a").root == Path("/users/somebody/runs/a")


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("text", ["$SCRATCH/a", "${SCRATCH}/a"])
def test_a_variable_is_expanded(monkeypatch, kind, text):
    monkeypatch.setenv("SCRATCH", "/scratch/somebody")
    assert run_layout(kind(text)).root == Path("/scratch/somebody/a")


@pytest.mark.parametrize("text", ["$NOT_SET_HERE/a", "runs/${NOT_SET_HERE}"])
def test_a_variable_that_is_not_set_is_an_error(text):
    with pytest.raises(ckptkit.ConfigError, match=r"NOT_SET_HERE}?, which is not set"):
        run_layout(text)


def test_a_directory_with_the_very_name_is_meant_literally(tmp_path):
    (tmp_path / "$NOT_SET_HERE").mkdir()
    for name in ("$NOT_SET_HERE", "a $ sign", "100$", "$1"):
        assert run_layout(tmp_path / name).root == tmp_path / name
