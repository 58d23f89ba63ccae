"""The stages of a fit and its opening, which are decided without a training."""

from __future__ import annotations

import pytest

from ckptkit.keras.fit.fit_position import EpochPass, FitPosition
from ckptkit.keras.fit.fit_stage import LEGAL_MOVES, FitStage, FitStages
from ckptkit.keras.fit.fit_start_decision import FitStart, decide_start
from ckptkit.keras.fit.same_data_check import data_changes, strategy_change
from ckptkit.run.manifest import Manifest


def stages_at(stage):
    stages = FitStages()
    stages.now = stage
    return stages


def test_every_stage_has_its_moves():
    assert LEGAL_MOVES.keys() == set(FitStage)


@pytest.mark.parametrize(
    "path",
    [
        ["STARTING", "TRAINING", "EVALUATING", "TRAINING", "TRAINED", "CLOSED"],
        ["REPLAYING", "RESTORED", "TRAINING", "DIVERGED", "CLOSED"],
        ["FINISHED_BEFORE", "CLOSED"],
    ],
)
def test_the_usual_paths_are_legal(path):
    stages = FitStages()
    assert stages.now is FitStage.PREPARING
    for name in path:
        stages.move(FitStage[name])
        assert stages.now is FitStage[name]
        assert stages.is_replaying == (name in ("REPLAYING", "RESTORED"))


@pytest.mark.parametrize("stage", FitStage)
def test_an_error_can_close_every_stage(stage):
    stages = stages_at(stage)
    stages.move(FitStage.CLOSED)
    stages.move(FitStage.CLOSED)
    assert stages.now is FitStage.CLOSED


@pytest.mark.parametrize(
    ("stage", "to"),
    [
        (FitStage.PREPARING, FitStage.TRAINING),
        (FitStage.REPLAYING, FitStage.TRAINING),
        (FitStage.CLOSED, FitStage.TRAINING),
    ],
)
def test_another_move_is_an_error(stage, to):
    stages = stages_at(stage)
    with pytest.raises(RuntimeError, match=f"is {stage.value} cannot be {to.value} next"):
        stages.move(to)
    assert stages.now is stage


def manifest(epoch, *, final=False, total=None):
    return Manifest(
        step=epoch,
        epoch=epoch,
        batch=0,
        attempt=1,
        saved_at=0.0,
        trigger="test",
        states=(),
        tensors=(),
        final=final,
        total=total,
    )


@pytest.mark.parametrize(
    ("newest", "opening"),
    [
        (None, FitStart.NEW_RUN),
        (manifest(2), FitStart.RESUME),
        (manifest(3), FitStart.ALREADY_FINISHED),
        (manifest(4), FitStart.ALREADY_FINISHED),
        # Stopped early by a callback: final before its total.
        (manifest(2, final=True, total=3), FitStart.ALREADY_FINISHED),
        (manifest(2, final=True, total=2), FitStart.RESUME),
        (manifest(2, final=True, total=None), FitStart.RESUME),
    ],
)
def test_what_a_fit_of_three_epochs_does_with_a_run(newest, opening):
    assert decide_start(newest, 3) is opening


def test_the_same_data_has_no_changes():
    then = FitPosition(pipeline=["Range"], batches=4, evaluations=[EpochPass(2)])
    assert data_changes(then, ["Range"], 4, 1) == []


def test_each_change_of_data_is_named():
    then = FitPosition(pipeline=["Range"], batches=4, evaluations=[EpochPass(2)])
    pipeline, batches, evaluations = data_changes(then, ["Map", "Range"], None, 0)
    assert "from ['Range'] to ['Map', 'Range']" in pipeline
    assert batches == "an epoch had 4 batches and has an unknown number now"
    assert "1 evaluations were made before this position, and 0 now" in evaluations


def test_a_model_of_a_strategy_that_is_made_without_one_is_told():
    """Under a strategy, Keras reads one batch more, which moves shuffles."""
    words = strategy_change(then=True, now=False)
    assert "made under one, and is now made without a strategy" in words
    assert strategy_change(then=None, now=True) is None  # an older checkpoint
    assert strategy_change(then=True, now=True) is None
