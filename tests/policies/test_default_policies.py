"""The default policies: the best is saved if it is kept, and an older checkpoint stays."""

from __future__ import annotations

from typing import Any

import pytest

import ckptkit
from ckptkit.policies import Candidate, Moment, decide
from ckptkit.policies.best_saves import with_best
from ckptkit.position import RunPosition
from ckptkit.session.options import DEFAULT_KEEP, DEFAULT_SAVE, make_options

START = Moment(position=RunPosition(), time_secs=0.0, epoch_end_secs=0.0)


def moment(step: int, epoch: int, batch: int, time_secs: float, **values: Any) -> Moment:
    return Moment(position=RunPosition(step, epoch, batch), time_secs=time_secs, **values)


# -- the best


def test_only_the_default_is_completed_by_what_keep_compares(tmp_path):
    keep = ckptkit.KeepLatest(2) | ckptkit.KeepBest("score", mode="max", n=3)
    assert make_options(tmp_path, {}, keep=keep).save.monitors == ("score",)
    assert make_options(tmp_path, {}).save == DEFAULT_SAVE
    given = ckptkit.EveryNSteps(5)
    assert make_options(tmp_path, {}, keep=keep, save=given).save == given


def test_the_end_of_the_best_epoch_is_saved_however_short_ago_the_last_save_was():
    save = with_best(ckptkit.Adaptive(), ckptkit.KeepBest("val_loss"))
    last = moment(9, 0, 9, 100.0)
    extremes = {"val_loss": (0.5, 2.0)}

    def due(loss: float, **values: Any) -> str | None:
        now = moment(10, 1, 0, 100.1, metrics={"val_loss": loss}, extremes=extremes, **values)
        assert save.insists(now, last) == (save.due(now, last) is not None)
        return save.due(now, last)

    assert due(0.4) == "for the best val_loss (0.4)"
    assert due(0.6) is None
    assert due(0.4, running_averages=True) is None
    three = with_best(ckptkit.Adaptive(), ckptkit.KeepBest("val_loss", n=3))
    now = moment(10, 1, 0, 100.1, metrics={"val_loss": 0.6}, extremes=extremes)
    assert three.due(now, last), "it may be the second best"


def test_a_loop_that_reports_its_metric_at_each_step_does_not_save_each_step():
    save = with_best(ckptkit.Adaptive(), ckptkit.KeepBest("loss"))
    last = moment(9, 0, 0, 100.0, metrics={"loss": 0.5})
    values = {"metrics": {"loss": 0.4}, "extremes": {"loss": (0.5, 2.0)}, "is_writing": True}
    assert save.due(moment(10, 0, 0, 109.9, **values), last) is None
    assert save.due(moment(10, 0, 0, 110.0, **values), last)
    # One that evaluates now and then does, because no other save has its metric.
    last = moment(9, 0, 0, 100.0, metrics={"other": 1.0})
    assert save.due(moment(10, 0, 0, 100.1, **values), last)


# -- something older


@pytest.mark.parametrize("apart", [10.0, 130.0, 700.0])
def test_while_training_runs_one_checkpoint_is_ten_minutes_older(apart):
    kept: list[Candidate] = []
    for number in range(1, 400):
        kept.append(Candidate(name=str(number), step=number, saved_at=1e9 + number * apart))
        stays = decide(DEFAULT_KEEP, kept)
        kept = [each for each in kept if each.name in stays]
        assert len(kept) <= DEFAULT_KEEP.most()
        ages = [kept[-1].saved_at - each.saved_at for each in kept]
        if number * apart > 600 + apart:
            assert any(600 <= age <= 1200 + 2 * apart for age in ages), ages


def test_an_older_one_makes_room_for_a_checkpoint_that_has_to_be_written():
    older = ckptkit.KeepOlder(60)
    found = [Candidate(name=str(n), step=n, saved_at=n * 10.0) for n in range(20)]
    assert sorted(older.keep(found), key=int) == ["13", "14"]
    assert older.lasting(found) == {}
    assert older.keep([]) == {}


@pytest.mark.parametrize("secs", [0, -1, float("inf"), float("nan")])
def test_an_age_that_cannot_be_right(secs):
    with pytest.raises(ckptkit.ConfigError, match="Received"):
        ckptkit.KeepOlder(secs)


# -- the clocks


def test_epoch_ends_have_a_clock_of_their_own():
    policy = ckptkit.EveryNEpochs(1, min_secs=60)
    last = moment(90, 0, 90, 95.0, epoch_end_secs=0.0)
    assert policy.due(moment(100, 1, 0, 100.0), last) == "every epoch"
    last = moment(190, 1, 90, 145.0, epoch_end_secs=100.0)
    assert policy.due(moment(200, 2, 0, 150.0), last) is None
    assert policy.due(moment(300, 3, 0, 160.0), last)


def test_the_first_save_comes_some_seconds_after_the_first_step():
    policy = ckptkit.Adaptive(first_secs=5)
    assert policy.due(moment(1, 0, 1, 30.0, first_step_secs=30.0), START) is None
    assert policy.due(moment(9, 0, 9, 34.9, first_step_secs=30.0), START) is None
    assert policy.due(moment(9, 0, 9, 35.0, first_step_secs=30.0), START)


def test_failed_saves_are_tried_again_less_and_less_often():
    policy = ckptkit.Adaptive(min_secs=10, max_secs=100)

    def tried(failed: int) -> int:
        return next(
            secs
            for secs in range(1, 1000)
            if policy.due(moment(1, 0, 1, secs, save_secs=0.0, failed_saves=failed), START)
        )

    assert [tried(failed) for failed in (0, 1, 2, 3, 4, 10_000)] == [10, 20, 40, 80, 100, 100]
