"""The processes that train together: alone, and what is refused to the others."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from ckptkit.errors import ConfigError
from ckptkit.workers.cluster import Alone, Cluster, WorkersLateError, check_one_worker


def test_alone():
    alone: Cluster = Alone()
    assert (alone.rank, alone.size) == (0, 1)
    alone.put("seed", b"7")
    assert alone.get("seed", 1.0) == b"7"
    assert alone.gather("loss", b"0.5", 1.0) == [b"0.5"]
    alone.barrier("restored", 1.0)


def test_what_nobody_has_put_names_who_is_late():
    with pytest.raises(WorkersLateError, match=r"'seed' within 3 s.*rank 0") as caught:
        Alone().get("seed", 3.0)
    assert caught.value.late == (0,)


def test_several_workers_are_refused():
    together = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    with pytest.raises(ConfigError, match="names 2 processes"):
        check_one_worker({"TF_CONFIG": json.dumps(together)})
    for value in ("", "{}", "[", '{"cluster": {"worker": ["a:1"]}}'):
        check_one_worker({"TF_CONFIG": value})


def test_only_rank_0_opens_a_run(tmp_path):
    from ckptkit.session.options import make_options
    from ckptkit.session.session import Session

    second = SimpleNamespace(rank=1, size=2)
    with pytest.raises(ConfigError, match="rank 1 of 2"):
        Session(make_options(tmp_path / "run", {}), second).start()
    assert not (tmp_path / "run").exists()
