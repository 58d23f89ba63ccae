"""The directories inside a run are no place for another one."""

from __future__ import annotations

import pytest
import tensorflow as tf

import ckptkit
from ckptkit.errors import ConfigError
from ckptkit.layout import RunLayout
from ckptkit.run.foreign_directory import OF_A_RUN
from ckptkit.session.directory_check import check_directory


def test_every_directory_of_a_run_is_refused_by_the_name_of_the_run(tmp_path):
    run = tmp_path / "runs" / "ours"
    with ckptkit.CheckpointManager(run, {"v": tf.Variable(1.0)}) as manager:
        manager.save(1)
    before = sorted(run.rglob("*"))
    for name in sorted(OF_A_RUN):
        for directory in (run / name, run / name / "new"):
            # Whether it exists yet or not.
            with pytest.raises(ConfigError) as caught:
                check_directory(RunLayout(directory))
            assert repr(str(run)) in str(caught.value), directory
    assert sorted(run.rglob("*")) == before


def test_the_names_of_a_runs_directories_are_those_of_the_layout(tmp_path):
    layout = RunLayout(tmp_path)
    found = [getattr(layout, name) for name, of in vars(RunLayout).items() if _is_property(of)]
    assert {path.relative_to(tmp_path).parts[0] for path in found} == OF_A_RUN


def _is_property(of):
    return isinstance(of, property)


def test_such_a_name_alone_is_no_obstacle(tmp_path):
    for directory in (tmp_path / "export", tmp_path / "log" / "run"):
        check_directory(RunLayout(directory))
    with ckptkit.CheckpointManager(tmp_path / "a", {"v": tf.Variable(1.0)}) as manager:
        manager.save(1)
    check_directory(RunLayout(tmp_path / "b"))
