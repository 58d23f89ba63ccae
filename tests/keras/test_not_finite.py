"""A training whose weights become NaN: noticed once, marked, and not published."""

from __future__ import annotations

import pytest

import ckptkit


def spoil(made):
    made.layers[0].kernel.assign(made.layers[0].kernel * float("nan"))


def test_weights_that_become_nan(trainings, run):
    made = trainings.model()
    with (
        trainings.logged() as lines,
        pytest.warns(UserWarning, match="NaN or infinity in .*kernel.* at step 8"),
    ):
        trainings.fit(
            run,
            made,
            trainings.after(6, lambda: spoil(made)),
            keep=ckptkit.KeepLatest(1),
            export=True,
        )
    (line,) = [line for line in lines if line.startswith("NaN or infinity in ")]
    assert "kernel" in line
    assert "step 6 " in line
    found = ckptkit.open_run(run).checkpoints
    assert [(each.step, bool(each.head.not_finite)) for each in found] == [(5, False), (8, True)]
    assert not (run / "export").exists() or not list((run / "export").glob("[0-9]*"))
    assert ckptkit.open_run(run).find("best", monitor="loss").step == 5
