"""A batch is split for replicas as `strategy.experimental_distribute_dataset` splits it."""

from __future__ import annotations


def test_each_replica_gets_the_rows_that_tensorflow_gives_it(fork_server, seed, tmp_path):
    process = fork_server.call("tests.data.split_programs:splits", seed, str(tmp_path))
    for case, ours, theirs in process.check().result:
        assert ours == theirs, case
