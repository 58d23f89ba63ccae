"""Monitors that are never reported are named once; a run that would never save is ended."""

from __future__ import annotations

import logging

import pytest

import ckptkit
from ckptkit.session.missing_monitors import MonitorWatch

BEST = ckptkit.OnBest("val_los", mode="min")


def watch(save=BEST, keep=None):
    return MonitorWatch(save, ckptkit.KeepLatest(2) if keep is None else keep)


def test_a_monitor_that_was_reported_is_not_missing():
    seen = watch(ckptkit.OnBest("loss"), ckptkit.KeepBest("val_loss") | ckptkit.KeepBest("loss"))
    seen.saw({"loss": 1.0}, ["loss"])
    seen.saw({"val_loss": 1.0}, ["val_loss"])
    assert seen.missing() == []


def test_a_missing_monitor_is_given_once_and_not_before_it_can_come():
    seen = watch(keep=ckptkit.KeepBest("f1"))
    # Reported, and not a number: no policy can compare it.
    seen.saw({"loss": 1.0}, ["loss", "f1"])
    seen.may_come_later = lambda name: name.startswith("val_")
    assert seen.missing() == ["f1"]
    seen.may_come_later = lambda name: False
    assert seen.missing() == ["val_los"]
    assert seen.missing() == []


def test_only_what_is_waited_for_is_read():
    class Unread(dict):
        def __contains__(self, name):
            raise AssertionError(name)

    watch().saw(Unread(loss=1.0), ["loss"])


@pytest.mark.parametrize("save", [BEST, BEST | ckptkit.OnBest("val_lss", mode="max")])
def test_with_no_other_policy_it_is_an_error(save):
    with pytest.raises(
        ckptkit.ConfigError, match=r"'val_los'.*one of: loss, val_loss\. The current state"
    ):
        watch(save).report(list(save.monitors), ["val_loss", "loss"], training=True)


def test_a_loop_of_the_users_own_may_evaluate_later(caplog):
    seen = watch(ckptkit.OnBest("bleu", mode="max"))
    with caplog.at_level(logging.WARNING, "ckptkit"):
        seen.report(["bleu"], ["loss"], training=True)
    assert len(caplog.messages) == 1
    seen.epochs_are_alike = True
    with pytest.raises(ckptkit.ConfigError, match="'bleu'"):
        seen.report(["bleu"], ["loss"], training=True)


@pytest.mark.parametrize(
    ("save", "training"), [(BEST, False), (BEST | ckptkit.EveryNSteps(5), True)]
)
def test_with_another_policy_or_at_the_end_it_is_a_warning(save, training, caplog):
    with caplog.at_level(logging.WARNING, "ckptkit"):
        watch(save).report(["val_los"], ["loss"], training=training)
    (line,) = caplog.messages
    assert "the metric 'val_los' was not reported" in line
    assert "Reported metrics: loss. A val_ metric needs validation_data in fit." in line


@pytest.mark.parametrize(
    ("name", "reported", "misspelled"),
    [
        ("val_los", "val_loss", True),
        ("los", "loss", True),
        ("val_acuracy", "val_accuracy", True),
        ("lossl", "loss", True),
        ("val_lsos", "val_loss", True),
        ("val_accuracy", "accuracy", False),
        ("accuracy", "val_accuracy", False),
        ("g_loss", "d_loss", False),
        ("top_5", "top_1", False),
        ("recall_10", "recall_1", False),
        ("bleu", "loss", False),
    ],
)
def test_a_loop_without_epochs_names_a_misspelled_metric_at_once(name, reported, misspelled):
    seen = watch(ckptkit.OnBest(name, mode="min"))
    assert seen.missing_in_steps([]) == []
    assert seen.missing_in_steps([reported]) == ([name] if misspelled else [])
    assert seen.missing_in_steps([reported]) == []


def test_another_missing_metric_is_named_after_some_turns():
    seen = watch(ckptkit.OnBest("bleu", mode="max"), ckptkit.KeepBest("val_loss"))
    turns = [seen.missing_in_steps(["loss"]) for _ in range(300)]
    assert [each for each in turns if each] == [["bleu", "val_loss"]]
    assert not any(turns[:20]), "a loop may evaluate every few steps"
    assert any(turns[:150])
