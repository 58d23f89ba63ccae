"""A fresh start happens once for each label, though the argument stays in the script."""

from __future__ import annotations

import ckptkit
from tests.keras.conftest import journal_events

TRAIN = "tests.keras.training_programs:train"


def test_a_label_left_in_a_script_that_is_killed_twice(tf_call, run):
    tf_call(TRAIN, {"run": str(run), "seed": 8}).check()
    first_life = [str(checkpoint.name) for checkpoint in ckptkit.open_run(run).checkpoints]
    options = {"run": str(run), "fresh": "b", "epochs": 3}
    whole = tf_call(TRAIN, {**options, "run": str(run.with_name("whole"))}).check().result

    tf_call(TRAIN, {**options, "die": 3}).check(code=-9)
    tf_call(TRAIN, {**options, "die": 6}).check(code=-9)
    last = tf_call(TRAIN, options).check().result
    assert [event.step for event in journal_events(run, "restored")] == [2, 7]
    assert last == {**whole, "batches": 12 - 7}
    assert [event.label for event in journal_events(run, "set_aside")] == ["b"]
    assert sorted(
        path.name
        for path in (run / "aside" / "checkpoints").iterdir()
        if path.name.startswith("ckpt-")
    ) == sorted(first_life)

    finished = tf_call(TRAIN, options).check()
    assert finished.result == {**last, "batches": 0}
    assert "this run has finished" in finished.stderr


def test_another_label_sets_the_second_life_aside_too(trainings, run):
    trainings.fit(run)
    trainings.fit(run, fresh="b")
    with trainings.logged() as lines:
        made = trainings.model(seed=8)
        trainings.fit(run, made, fresh="c")
    assert any("fresh start 'c'" in line for line in lines)
    assert [event.label for event in journal_events(run, "set_aside")] == ["b", "c"]
    assert len(list((run / "aside").iterdir())) == 2
    trainings.fit(run, made, fresh="b", epochs=3)
    assert [event.label for event in journal_events(run, "set_aside")] == ["b", "c"], (
        "an old label is no fresh start"
    )


def test_a_lost_journal_does_not_make_a_label_new(trainings, run):
    trainings.fit(run)
    model = trainings.model(seed=8)
    trainings.fit(run, model, fresh="b")
    for path in (run / "journal").iterdir():
        path.unlink()
    (record,) = (run / "fresh").iterdir()
    record.unlink()
    trainings.fit(run, model, fresh="b", epochs=3)
    assert [event.step for event in journal_events(run, "restored")] == [8]
    assert len(list((run / "aside").iterdir())) == 1


def test_exports_go_with_their_life(trainings, run):
    trainings.fit(run, export=True)
    (exported,) = (run / "export").iterdir()
    trainings.fit(run, fresh="b", export=True)
    assert (run / "aside" / "export" / exported.name).is_dir()
    assert len(list((run / "export").iterdir())) == 1


def test_a_fresh_start_lets_a_fold_loop_go_on(trainings, run):
    histories = [
        trainings.fit(run, trainings.model(seed=fold), fresh=f"fold {fold}").history
        for fold in range(2)
    ]
    assert histories[0] != histories[1]
