"""What stays and what goes, and why; and what may not go, whatever a policy says."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ckptkit
from ckptkit.clock import SystemClock
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.ownership.reader_leases import held
from ckptkit.policies import Candidate, KeepPolicy, judge
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.journal_reader import read_journal
from ckptkit.run.manifest import to_numbers
from ckptkit.run.pins import Pin, pin
from ckptkit.run.retention import retain, review
from ckptkit.run.verification_cache import CheckpointIndex
from ckptkit.run.verify import SMALL_BYTES
from ckptkit.storage.files import FileSystem
from tests.support.stored_run import manifest, start_attempt


class NoSync(FileSystem):
    """A disk without syncs: no test here cuts the power."""

    def sync_file(self, path: Path) -> None:
        pass

    def sync_dir(self, path: Path) -> None:
        pass


@dataclass(frozen=True)
class Made:
    """A checkpoint that is made for a test.

    Args:
        loss: what it reports, or None.
        new_attempt: whether another process wrote it.
        pinned: whether somebody has pinned it.
        held: whether somebody reads it.
        damage: what is wrong with it.
    """

    loss: float | None = 1.0
    new_attempt: bool = False
    pinned: bool = False
    held: bool = False
    damage: str = ""


losses = st.sampled_from([None, 0.5, 1.0, 2.0, math.nan, math.inf])
made = st.builds(
    Made,
    loss=losses,
    new_attempt=st.booleans(),
    pinned=st.integers(0, 5).map(lambda n: n == 0),
    held=st.integers(0, 5).map(lambda n: n == 0),
    damage=st.sampled_from(["", "", "", "", "manifest", "missing", "size", "digest"]),
)
policies = st.sampled_from(
    [
        ckptkit.KeepLatest(1),
        ckptkit.KeepLatest(2),
        ckptkit.KeepBest("loss"),
        ckptkit.KeepBest("loss", mode="max", n=2),
        ckptkit.KeepEveryNSteps(30),
        ckptkit.KeepLatest(1) | ckptkit.KeepBest("loss"),
        ckptkit.KeepBest("nothing like it", mode="min"),
    ]
)


def make(layout: RunLayout, several: list[Made]) -> list[CheckpointName]:
    """Commits them, ten steps apart."""
    files, attempt, names = NoSync(), 1, []
    files.make_dir(layout.pins)
    for number, each in enumerate(several, start=1):
        attempt += each.new_attempt
        (begin_writing(files, layout, attempt) / f"ckpt-{10 * number}.index").write_bytes(
            b"tensors"
        )
        metrics = {} if each.loss is None else {"loss": each.loss}
        name = commit(
            files, layout, manifest(10 * number, attempt, metrics=to_numbers(metrics))
        ).name
        if each.pinned:
            pin(files, layout, name, Pin())
        file = layout.checkpoint(name) / f"ckpt-{10 * number}.index"
        if each.damage == "manifest":
            (layout.checkpoint(name) / "manifest.json").write_bytes(b"{")
        elif each.damage == "missing":
            file.unlink()
        elif each.damage:
            file.write_bytes(b"tensor" if each.damage == "size" else b"TENSORS")
        names.append(name)
    return names


@settings(max_examples=80)
@given(several=st.lists(made, max_size=7), policy=policies, coming=st.none() | losses)
def test_what_may_never_be_taken_away(several, policy, coming):
    """On a real disk, after a commit, and (`coming`) before one for which there is no space."""
    root = Path(tempfile.mkdtemp())
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, root)
        layout = RunLayout(root)
        names = make(layout, several)
        for name, each in zip(names, several, strict=True):
            if each.held:
                stack.enter_context(held(layout, name))
        journal = start_attempt(NoSync(), layout, SystemClock())
        next_one = (
            None
            if coming is None
            else Candidate(name="ckpt-999-9", step=999, metrics={"loss": coming})
        )
        judged = review(CheckpointIndex(layout, journal.attempt), policy, coming=next_one)
        assert [each.checkpoint.name for each in judged] == names
        assert all(each.reason for each in judged), "each with a reason"
        stays = {each.checkpoint.name for each in judged if each.stays}
        whole = [(name, each) for name, each in zip(names, several, strict=True) if not each.damage]
        reporting = [
            name for name, each in whole if each.loss is not None and math.isfinite(each.loss)
        ]
        assert {name for name, each in zip(names, several, strict=True) if each.damage} <= stays, (
            "nobody's to delete"
        )
        assert {name for name, each in whole if each.pinned or each.held} <= stays
        assert {name for name, _ in whole[-1:]} <= stays, "the newest that is whole"
        assert set(reporting[-1:]) <= stays, "the newest with finite metrics"
        best = min((each.loss for name, each in whole if name in reporting), default=None)
        if "KeepBest(monitor='loss', mode='min'" in repr(policy) and best is not None:
            assert stays & {name for name, each in whole if each.loss == best}, (
                "the best, also where a better one is to come"
            )
        if next_one is None:
            kept = policy.keep(
                [
                    Candidate(
                        name=str(n), step=n.step, metrics={} if e.loss is None else {"loss": e.loss}
                    )
                    for n, e in whole
                ]
            )
            assert {name for name in names if str(name) in kept} <= stays
            retain(NoSync(), CheckpointIndex(layout), journal, policy)
            assert {c.name for c in list_checkpoints(layout)} == stays
            told = [
                event
                for event in read_journal(layout).events
                if isinstance(event, events.TakenAway)
            ]
            assert {event.checkpoint for event in told} == {
                str(name) for name in set(names) - stays
            }
            assert all(event.reason for event in told)


def run_of(*losses: float) -> list[Candidate]:
    return [
        Candidate(name=f"c{number}", step=10 * number, metrics={"loss": loss})
        for number, loss in enumerate(losses, start=1)
    ]


def test_reasons_for_what_goes():
    verdicts = judge(
        ckptkit.KeepLatest(2) | ckptkit.KeepBest("loss") | ckptkit.KeepEveryNSteps(30),
        run_of(5, 2, 1, 4, 3, 3),
    )
    assert [verdict.stays for verdict in verdicts] == [False, False, True, False, True, True]
    assert (
        verdicts[0].reason
        == "older than the latest 2; not among the best 1 by loss (5); not the first at or after "
        "a multiple of 30 steps"
    )
    assert verdicts[2].reason == "best 1 of 1 by loss (1); every 30 steps (first at or after 30)"
    assert judge(ckptkit.KeepBest("accuracy"), run_of(1, 2))[0].reason == "has no accuracy"
    assert (
        judge(ckptkit.KeepLatest(1), run_of(1, 2), protected={"c1": "pinned"})[0].reason == "pinned"
    )


class First(KeepPolicy):
    def keep(self, candidates: Sequence[Candidate]) -> dict[str, str]:
        return {candidates[0].name: "the first"}

    def __repr__(self) -> str:
        return "First()"


def test_a_policy_of_the_users_own_has_a_reason_too():
    verdicts = judge(First(), run_of(1, 2, 3))
    assert [(v.stays, v.reason) for v in verdicts] == [
        (True, "the first"),
        (False, "not kept by First()"),
        (True, "newest"),
    ]
    assert [
        v.stays for v in judge(First(), run_of(1, 2, 3), coming=Candidate(name="c9", step=90))
    ] == [True, False, True]


@pytest.mark.parametrize(
    ("policy", "goes"),
    [
        (ckptkit.KeepLatest(1), ["c1", "c2"]),  # the newest stays until there is another one
        (ckptkit.KeepLatest(2), ["c1", "c2"]),
        (ckptkit.KeepLatest(3), ["c1"]),
        (
            ckptkit.KeepLatest(1) | ckptkit.KeepBest("loss"),
            ["c2"],
        ),  # the best stays until there is a better one
        (ckptkit.KeepLatest(4), []),
    ],
    ids=repr,
)
def test_room_for_one_that_is_to_come(policy, goes):
    verdicts = judge(
        policy, run_of(1, 2, 3), coming=Candidate(name="c9", step=90, metrics={"loss": 0.0})
    )
    assert [verdict.name for verdict in verdicts if not verdict.stays] == goes


def test_a_second_save_of_one_step_takes_one_place():
    there = run_of(3, 2, 1)
    assert [
        v.name for v in judge(ckptkit.KeepLatest(2), there, coming=there[-1]) if not v.stays
    ] == ["c1"]


class SomebodyPins(FileSystem):
    """A pin is written between the decision and the removal, as from another process."""

    def __init__(self, layout: RunLayout) -> None:
        self.layout = layout

    def rename(self, source: Path, target: Path) -> None:
        name = CheckpointName.parse(source.name)
        if target.name.startswith(".removing") and name == CheckpointName(10, 1):
            pin(FileSystem(), self.layout, name, Pin())
        super().rename(source, target)


def test_a_pin_at_the_last_moment_counts(layout):
    make(layout, [Made()] * 3)
    journal = start_attempt(FileSystem(), layout, SystemClock())
    retain(SomebodyPins(layout), CheckpointIndex(layout), journal, ckptkit.KeepLatest(1))
    assert [c.step for c in list_checkpoints(layout)] == [10, 30]
    assert [
        event.checkpoint
        for event in read_journal(layout).events
        if isinstance(event, events.TakenAway)
    ] == ["ckpt-20-1"]


def test_a_reader_at_the_last_moment_counts(layout):
    names = make(layout, [Made()] * 3)
    with ExitStack() as readers:

        class SomebodyReads(FileSystem):
            """Somebody begins to read when the decision is made already."""

            def create(self, path: Path, data: bytes) -> None:
                if path == layout.leaving(names[0]):
                    readers.enter_context(held(layout, names[0]))
                super().create(path, data)

        retain(
            SomebodyReads(),
            CheckpointIndex(layout),
            start_attempt(FileSystem(), layout, SystemClock()),
            ckptkit.KeepLatest(1),
        )
        assert [c.step for c in list_checkpoints(layout)] == [10, 30]
    retain(
        FileSystem(),
        CheckpointIndex(layout),
        start_attempt(FileSystem(), layout, SystemClock()),
        ckptkit.KeepLatest(1),
    )
    assert [c.step for c in list_checkpoints(layout)] == [30]


def test_where_pins_cannot_be_read_nothing_is_taken_away(layout):
    make(layout, [Made()] * 3)
    layout.pins.rmdir()
    layout.pins.write_text("no directory")
    with pytest.raises(ckptkit.StorageError):
        retain(
            FileSystem(),
            CheckpointIndex(layout),
            start_attempt(FileSystem(), layout, SystemClock()),
            ckptkit.KeepLatest(1),
        )
    assert len(list_checkpoints(layout)) == 3


def test_older_ones_go_only_for_a_newest_that_was_read_in_full(save, layout, files):
    """A flipped bit in a large file: found in another process's checkpoint. What this process has
    written itself need not be read again.
    """
    save(100, 1)
    path = save(200, 1, content=bytes(SMALL_BYTES + 1)) / "ckpt-200.index"
    path.write_bytes(bytes(SMALL_BYTES) + b"x")
    first, second = review(CheckpointIndex(layout, 2), ckptkit.KeepLatest(1))
    assert (first.stays, first.reason) == (True, "latest 1 of 1")
    assert second.stays
    assert second.reason.startswith("damaged, so it takes no other's place")
    assert not review(CheckpointIndex(layout, 1), ckptkit.KeepLatest(1))[0].stays


def test_a_review_changes_nothing(layout):
    names = make(layout, [Made()] * 3)
    review(CheckpointIndex(layout), ckptkit.KeepLatest(1))
    assert [c.name for c in list_checkpoints(layout)] == names
