"""A save that is confirmed is one that the catalog lists, whatever its step, attempt and names."""

from __future__ import annotations

import random

import pytest

import ckptkit
from ckptkit.layout import MAX_ATTEMPT, MAX_STEP, CheckpointName
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.verify import verify
from tests.support.stored_run import manifest

TEXTS = ["loss", "", "a b", "é", "\x1b[2J", "\n", "\udcff", "/", "../x", "x" * 3000, "\0", "%s"]


def numbers(chosen, most):
    edges = [0, 1, most - 1, most, most + 1, 10 * most, 10 ** chosen.randint(0, 40)]
    return chosen.choice([*edges, chosen.randrange(most), 10 ** chosen.randint(0, 18)])


def test_what_is_confirmed_is_listed(layout, files, seed):
    chosen = random.Random(seed)
    confirmed, refused = set(), 0
    for _ in range(150):
        step, attempt = numbers(chosen, MAX_STEP), max(numbers(chosen, MAX_ATTEMPT), 1)
        text = chosen.choice(TEXTS)
        made = manifest(
            step, attempt, trigger=text, metrics={text: 0.5}, hyperparameters={text: {text: text}}
        )
        name = CheckpointName(step, attempt)
        try:
            (begin_writing(files, layout, attempt) / "x.index").write_bytes(b"tensors")
            commit(files, layout, made)
        except (ckptkit.StorageError, OverflowError):
            refused += 1
            assert not layout.checkpoint(name).exists(), "what is refused is not there"
        else:
            confirmed.add(name)
        listed = list_checkpoints(layout, files)
        assert {checkpoint.name for checkpoint in listed} == confirmed
    assert refused
    for checkpoint in listed:
        verify(checkpoint)
        assert checkpoint.problem is None
    assert {c.name for c in ckptkit.open_run(layout.root).checkpoints} == confirmed


@pytest.mark.parametrize("step", [MAX_STEP + 1, 10**18, 10**30])
def test_a_step_without_a_name_is_refused(layout, files, step):
    begin_writing(files, layout, 1)
    with pytest.raises(ckptkit.StorageError, match="is not a valid name of a checkpoint"):
        commit(files, layout, manifest(step))
