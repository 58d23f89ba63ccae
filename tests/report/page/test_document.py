"""The document that a report is drawn from: without a browser."""

from __future__ import annotations

import json
import random
from pathlib import Path

import jsonschema
import pytest

from ckptkit.cli import main
from ckptkit.layout import CheckpointName
from ckptkit.report import attempt_timeline, checkpoint_table
from ckptkit.report.document import Document, values_of
from ckptkit.report.goodput import KINDS
from ckptkit.run.events import (
    AttemptEnded,
    Finished,
    HyperparameterChanged,
    Inexact,
    LaunchStarted,
    PassedOver,
    Progressed,
    Restored,
    RolledBack,
    SaveDropped,
    SetAside,
    SpaceShort,
    Stalled,
    TakenAway,
    TrainingStarted,
)
from ckptkit.run.journal import encode_line
from ckptkit.run.pins import Pin, pin
from ckptkit.run.set_aside import set_aside
from ckptkit.storage.files import FileSystem
from tests.cli.conftest import DummyRun
from tests.report.journals import journal, ledger, saved, started
from tests.report.page import schema
from tests.report.page.conftest import document_of
from tests.report.page.stories import BEGAN, Story, eventful, many

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def story(seed: int) -> Story:
    return Story(seed)


@pytest.fixture
def dummy_run(tmp_path: Path) -> DummyRun:
    return DummyRun(tmp_path / "run")


def of(story: Story, tmp_path: Path) -> Document:
    return document_of(str(story.write(tmp_path / "told")))


def conforms(document: Document) -> None:
    values = json.loads(json.dumps(values_of(document), allow_nan=False))
    validator = jsonschema.Draft202012Validator(
        json.loads((ROOT / "docs" / "schemas" / "report.json").read_text())
    )
    assert [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(values)] == []


def test_the_schema_is_the_one_of_the_types():
    assert (ROOT / "docs" / "schemas" / "report.json").read_text() == schema.text(), (
        "python -m tests.report.page.schema > docs/schemas/report.json"
    )
    jsonschema.Draft202012Validator.check_schema(schema.schema())


def test_the_schema_says_what_fields_mean():
    definitions = schema.schema()["$defs"]
    assert "description" in definitions["AttemptRow"]["properties"]["steps_lost"]
    assert "description" in definitions["CheckpointRow"]["properties"]["status"]
    silent = [
        f"{name}.{field}"
        for name, each in definitions.items()
        for field, form in each["properties"].items()
        if "description" not in form
        and name not in ("PinNote", "Spell", "Changed", "Stored", "Moved")
    ]
    assert silent == []


@pytest.mark.parametrize(
    "tell",
    [
        lambda seed: Story(seed).start(),
        lambda seed: Story(seed).start().train(250).finish(),
        eventful,
        lambda seed: many(seed, 12),
    ],
    ids=["just begun", "one attempt", "eventful", "twelve"],
)
def test_documents_conform_to_the_schema(tmp_path, seed, tell):
    conforms(of(tell(seed), tmp_path))


def test_phases_follow_one_another_from_begin_to_end(tmp_path, seed):
    document = of(many(seed, 15), tmp_path)
    assert len(document.attempts) == 15
    for attempt in document.attempts:
        assert attempt.phases[0].began == attempt.began
        assert attempt.phases[-1].ended == attempt.ended
        for one, following in zip(attempt.phases, attempt.phases[1:], strict=False):
            assert one.ended == following.began
        assert all(phase.ended > phase.began for phase in attempt.phases)


def test_what_an_attempt_did_for_how_long(tmp_path):
    """Worked out by hand: restored for 1.2 s until second 104, training from 108 on, at step 20 at
    117.2, which was written by 118, killed after a word at 130.
    """
    story = Story(1)
    story.start()
    story.now = BEGAN + 20
    story.step = 10
    story._save("every 10 steps", 3, final=True)
    story.crash()
    story.now = BEGAN + 100
    story.start()  # 2.5 s, restored after 1.5 s more, training after 4 s more
    story.now, story.step = BEGAN + 118, 20
    story._save("every 10 steps", 3, final=True)
    story.now = BEGAN + 130
    story.tell(Progressed(step=32))
    story.now = BEGAN + 200
    story.start().tell(AttemptEnded(outcome="stopped", step=20))
    document = of(story, tmp_path)
    done = [
        (phase.kind, round(phase.began - BEGAN, 3), round(phase.ended - BEGAN, 3))
        for phase in document.attempts[1].phases
    ]
    assert done == [
        ("start_up", 102.5, 102.8),
        ("restore", 102.8, 104.0),
        ("start_up", 104.0, 108.0),
        ("training", 108.0, 117.2),
        ("lost", 117.2, 130.0),
    ]
    story = Story(2).start().train(30).finish()  # an export of 6 s, and 0.2 s more on each side
    ending = of(story, tmp_path / "other").attempts[0].phases[-1]
    assert (ending.kind, round(ending.ended - ending.began, 3)) == ("ending", 6.2)
    assert [
        (
            link.checkpoint,
            link.from_attempt,
            link.to_attempt,
            round((link.saved_at or 0) - BEGAN, 3),
            round(link.resumed_at - BEGAN, 3),
        )
        for link in document.links
    ] == [("ckpt-10-1", 1, 2, 20.0, 104.0), ("ckpt-20-2", 2, 3, 118.0, 204.0)]
    assert document.totals.steps_lost == 12


def test_what_is_trained_after_an_end_is_training():
    told = [
        (0, started()),
        (0, TrainingStarted(step=0)),
        (50, saved(50, final=True)),
        (50, Finished(step=50, epoch=1)),
        (60, TrainingStarted(step=50)),
        (100, saved(90, final=True)),
        (100, Finished(step=90, epoch=2)),
        (110, AttemptEnded(outcome="finished", step=90)),
    ]
    (attempt,) = ledger(journal((1, told))).attempts
    assert [
        (each.kind, each.began, each.ended)
        for each in attempt_timeline.attempt_phases(attempt, 110.0)
    ] == [
        ("training", 0.0, 100.0),
        ("ending", 100.0, 110.0),
    ]
    killed = ledger(journal((1, [*told[:5], (80, Progressed(step=70))]))).attempts[0]
    assert [(each.kind, each.ended) for each in attempt_timeline.attempt_phases(killed, 80.0)] == [
        ("training", 60.0),
        ("lost", 80.0),
    ]


def test_the_wall_time_is_the_sum_of_its_parts(tmp_path, seed):
    wall = of(eventful(seed), tmp_path).wall_time
    assert [part.kind for part in wall.parts] == ["productive", *KINDS]
    assert sum(part.secs for part in wall.parts) == pytest.approx(wall.secs)
    assert wall.ended - wall.began == pytest.approx(wall.secs)
    assert wall.ratio == pytest.approx(wall.parts[0].secs / wall.secs)


def test_an_empty_run(tmp_path):
    (tmp_path / "run" / "journal").mkdir(parents=True)
    (tmp_path / "run" / "journal" / "attempt-000001.jsonl").touch()
    document = document_of(str(tmp_path / "run"))
    conforms(document)
    assert (
        document.run.state,
        document.attempts,
        document.checkpoints,
        document.totals.newest_good,
    ) == ("new", (), (), None)
    assert (document.wall_time.secs, document.wall_time.ratio, document.wall_time.began) == (
        0.0,
        None,
        None,
    )


def test_a_checkpoint_has_its_fate(dummy_run):
    dummy_run.attempt()
    for step in (100, 200, 300, 400, 500, 600):
        dummy_run.save(step, final=step == 600)
    files, layout = FileSystem(), dummy_run.layout
    dummy_run.record(TakenAway(checkpoint="ckpt-100-1", reason="not among the latest 2"))
    files.remove_tree(layout.checkpoint(CheckpointName(100, 1)))
    moved = set_aside(files, layout.checkpoint(CheckpointName(200, 1)), layout.quarantine)
    dummy_run.record(
        PassedOver(
            checkpoint="ckpt-200-1",
            reason="its index is gone",
            moved_to=str(moved.relative_to(layout.root)),
        )
    )
    set_aside(files, layout.checkpoint(CheckpointName(300, 1)), layout.aside / "rolled-back-000002")
    dummy_run.record(
        RolledBack(
            checkpoint="ckpt-200-1",
            step=200,
            set_aside=["ckpt-300-1"],
            moved_to="aside/rolled-back-000002",
        )
    )
    next(layout.checkpoint(CheckpointName(400, 1)).glob("*.index")).write_bytes(b"x")
    pin(files, layout, CheckpointName(500, 1), Pin(pinned_at=5.0, note="the one in the paper"))
    document = document_of(str(dummy_run.root))
    conforms(document)
    rows = {row.step: row for row in document.checkpoints}
    assert [row.step for row in document.checkpoints] == [100, 200, 300, 400, 500, 600]
    assert {step: row.status for step, row in rows.items()} == {
        100: "taken_away",
        200: "quarantined",
        300: "set_aside",
        400: "damaged",
        500: "good",
        600: "good",
    }
    assert {step: row.words for step, row in rows.items() if step != 400} == {
        100: "not among the latest 2",
        200: "its index is gone",
        300: "the run was rolled back to step 200",
        500: "",
        600: "",
    }
    assert "its manifest says 8" in rows[400].words
    assert [step for step, row in rows.items() if row.is_there] == [400, 500, 600]
    assert [step for step, row in rows.items() if row.final] == [600]
    assert rows[500].pinned is not None
    assert (rows[500].pinned.note, rows[500].pinned.pinned_at) == ("the one in the paper", 5.0)
    assert all(row.trigger and row.size_bytes and row.saved_at for row in rows.values()), (
        "also of what is not there any more"
    )
    assert document.totals.newest_good == "ckpt-600-1"
    assert (document.verification.good, document.verification.damaged) == (2, 1)
    assert [(each.kind, each.path) for each in document.moved] == [
        ("quarantined", "quarantine/ckpt-200-1"),
        ("rolled_back", "aside/rolled-back-000002"),
    ]
    assert [each.words for each in document.moved] == [
        "its index is gone",
        "newer than step 200, to which the run was rolled back",
    ]
    assert [(mark.kind, mark.step) for mark in document.interventions] == [("rolled_back", 200)]
    assert {remark.kind for remark in document.remarks} == {"damaged", "moved"}


def test_a_checkpoint_of_which_the_journal_was_cut_off_is_there_and_marked(dummy_run):
    """As after a kill between the commit and its line."""
    dummy_run.attempt()
    dummy_run.save(100)
    journal = dummy_run.layout.attempt_journal(1)
    journal.write_bytes(
        b"".join(
            line
            for line in journal.read_bytes().splitlines(keepends=True)
            if b'"saved"' not in line
        )
    )
    dummy_run.attempt().record(
        Restored(checkpoint="ckpt-100-1", step=100, epoch=0, batch=0, secs=0.1)
    )
    document = document_of(str(dummy_run.root))
    [mark] = [mark for mark in document.attempts[0].marks if mark.kind == "saved"]
    assert (mark.checkpoint, mark.step) == ("ckpt-100-1", 100)
    assert document.links[0].saved_at == mark.at
    FileSystem().remove_tree(dummy_run.layout.checkpoint(CheckpointName(100, 1)))
    assert document_of(str(dummy_run.root)).links[0].saved_at is None


def test_what_has_vanished_without_a_word_is_gone(dummy_run):
    dummy_run.attempt()
    dummy_run.save(100)
    FileSystem().remove_tree(dummy_run.layout.checkpoint(CheckpointName(100, 1)))
    [row] = document_of(str(dummy_run.root)).checkpoints
    assert (row.status, row.is_there, row.saved_at is not None) == ("gone", False, True)


def test_a_checkpoint_that_is_gone_was_saved_when_its_snapshot_was_taken():
    """As one that is there says of itself; the first journals told of the commit only."""
    told = journal((1, [(60, saved(10, taken_at=40.0)), (90, saved(20))]))
    rows, _ = checkpoint_table.checkpoint_rows([], told, {}, [])
    assert [(row.step, row.saved_at) for row in rows] == [(10, 40.0), (20, 90.0)]


def test_verifying_in_full_finds_what_a_quick_look_leaves(dummy_run):
    dummy_run.attempt()
    path = dummy_run.save(100, data=b"a" * 2_000_000)
    data = next(path.glob("*.data-*"))
    data.write_bytes(b"a" * 1_999_999 + b"b")
    quick, full = document_of(str(dummy_run.root)), document_of(str(dummy_run.root), full=True)
    assert (quick.verification.depth, quick.verification.damaged, quick.checkpoints[0].status) == (
        "quick",
        0,
        "good",
    )
    assert (full.verification.depth, full.verification.damaged, full.checkpoints[0].status) == (
        "full",
        1,
        "damaged",
    )
    assert quick.verification.read_bytes < quick.verification.size_bytes
    assert "digest differs" in full.checkpoints[0].words


def test_sizes_are_those_of_the_files(dummy_run):
    dummy_run.attempt()
    dummy_run.save(100)
    (dummy_run.root / "quarantine" / "deep" / "er").mkdir(parents=True)
    (dummy_run.root / "quarantine" / "deep" / "er" / "file").write_bytes(b"x" * 12345)
    (dummy_run.root / "link").symlink_to("/usr")
    document = document_of(str(dummy_run.root))
    sizes = {each.name: (each.files, each.size_bytes) for each in document.disk}
    assert sizes["quarantine"] == (1, 12345)
    assert "link" not in sizes
    assert document.totals.size_bytes == sum(
        path.stat().st_size
        for path in dummy_run.root.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
    assert next(iter(sizes)) == "quarantine"


def test_what_has_changed_between_attempts_is_told(tmp_path, story):
    story.start(scheduler={"SLURM_JOB_ID": "7"}).train(5)
    story.start(versions={"tensorflow": "2.22.0"}, host="other")
    story.tell(HyperparameterChanged(name="learning_rate", then="0.1", now="0.01", settled="code"))
    story.start(versions={"tensorflow": "2.22.0"}, host="other")
    document = of(story, tmp_path)
    spells = {
        each.name: [(spell.value, spell.attempts) for spell in each.spells]
        for each in document.environment
    }
    assert spells["tensorflow"] == [("2.21.0", (1,)), ("2.22.0", (2, 3))]
    assert spells["host"] == [("gpu-node-7", (1,)), ("other", (2, 3))]
    assert spells["scheduler: SLURM_JOB_ID"] == [("7", (1,))]
    [change] = document.configuration.changes
    assert (change.attempt, change.name, change.then, change.now, change.settled) == (
        2,
        "learning_rate",
        "0.1",
        "0.01",
        "code",
    )


def test_stalls_and_remarks(tmp_path, story):
    story.start().train(10).tell(Inexact(reason="the data cannot be saved")).tell(
        Inexact(reason="the data cannot be saved")
    )
    story.tell(SpaceShort(step=10, needed_bytes=5, free_bytes=1)).train(20)
    launcher = Story(1)
    launcher.now = story.now - 5
    launcher.tell(
        LaunchStarted(launcher="a", number=1, host="h", boot="b", pid=1, program="p", step=0)
    )
    launcher.tell(Stalled(secs=301.0, phase="training", step=20, ended=False))
    root = story.write(tmp_path / "told")
    (root / "journal" / "launcher-a.jsonl").write_bytes(
        b"".join(encode_line(event) for event in launcher.events[0]) + b"{torn"
    )
    document = document_of(str(root))
    conforms(document)
    [stall] = [mark for mark in document.attempts[0].marks if mark.kind == "stalled"]
    assert (stall.step, stall.words) == (20, "no progress for 301 s, while training")
    assert [remark.kind for remark in document.remarks] == ["inexact", "space", "journal"]
    assert "launcher-a.jsonl:3" in document.remarks[-1].words


def test_a_fresh_start_is_an_intervention_and_the_earlier_life_stays(tmp_path, story):
    story.start().train(120).finish()
    story.saved.clear()
    story.wait(50).start().tell(SetAside(label="again <b>", moved_to="aside/checkpoints")).train(
        110
    )
    document = of(story, tmp_path)
    assert document.run.life == 2
    assert [attempt.life for attempt in document.attempts] == [1, 2]
    assert document.totals.attempts == 1
    assert [(mark.kind, "again <b>" in mark.words) for mark in document.interventions] == [
        ("set_aside", True)
    ]
    assert not any(
        mark.kind == "set_aside" for attempt in document.attempts for mark in attempt.marks
    )
    assert {row.status for row in document.checkpoints if row.attempt == 1} == {"set_aside"}


def test_very_many_saves_are_told_together_and_none_is_lost(tmp_path, monkeypatch):
    story = Story(3, secs_per_step=0.5)
    story.start().train(900, every=1, keep=1)
    saves = sum(event.event == "saved" for event in story.events[1])
    story.start().train(20, every=1, keep=1)
    more = sum(event.event == "saved" for event in story.events[2])
    monkeypatch.setattr(attempt_timeline, "MOST_MARKS", 100)
    monkeypatch.setattr(checkpoint_table, "MOST_ROWS", 50)
    document = of(story, tmp_path)
    conforms(document)
    marks = [mark for mark in document.attempts[0].marks if mark.kind == "saved"]
    assert sum(mark.count for mark in marks) == saves
    assert len(marks) < 250
    assert all(mark.until is None or mark.until >= mark.at for mark in marks)
    assert [mark.count for mark in marks if mark.checkpoint == document.links[0].checkpoint] == [
        1
    ], "what was gone on from stands for itself"
    assert [mark.at for mark in document.attempts[0].marks] == sorted(
        mark.at for mark in document.attempts[0].marks
    )
    assert len(document.checkpoints) == 50
    assert document.checkpoints[-1].step == story.saved[-1][0]
    [left] = [remark for remark in document.remarks if remark.kind == "left_out"]
    assert f"{saves + more - 50:,}" in left.words


def test_saves_that_were_not_written_are_a_remark(tmp_path, story):
    story.start()
    story.tell(TrainingStarted(step=0)).tell(SaveDropped(step=7, reason="a newer one"))
    document = of(story, tmp_path)
    conforms(document)
    [remark] = [each for each in document.remarks if each.kind == "dropped"]
    assert "replaced them: 1." in remark.words


def test_times_that_cannot_be_are_no_trouble(tmp_path, story):
    story.start()
    story.now = -1e308
    story.tell(TrainingStarted(step=0)).tell(Progressed(step=7))
    story.now = 1e308
    story.train(100).tell(
        Restored(checkpoint="ckpt-1-1", step=1, epoch=0, batch=1, secs=1e308)
    ).tell(Finished(step=2**62, epoch=0))
    document = of(story, tmp_path)
    conforms(document)


def test_making_it_changes_nothing_and_takes_no_lock(dummy_run, tmp_path, capsys):
    dummy_run.attempt()
    dummy_run.save(100)

    def state() -> dict[str, tuple[int, int, bytes]]:
        return {
            str(path): (
                path.stat().st_mtime_ns,
                path.stat().st_mode,
                path.read_bytes() if path.is_file() else b"",
            )
            for path in sorted(dummy_run.root.rglob("*"))
        }

    before = state()
    assert main(["report", str(dummy_run.root), "-o", str(tmp_path / "out.html"), "--verify"]) == 0
    assert state() == before
    assert capsys.readouterr().out.startswith("wrote ")


def test_random_journals_make_documents(tmp_path, seed):
    chance = random.Random(seed)
    for number in range(4):
        story = many(chance.randrange(2**31), chance.randrange(1, 6))
        for events in story.events.values():
            chance.shuffle(events)
        conforms(document_of(str(story.write(tmp_path / str(number)))))
