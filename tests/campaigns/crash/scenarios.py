"""What may be interrupted. A new entry of the table is swept by the kill at every step, and by the
loss of power after every step.

An entry needs two functions: `prepare` makes a run that lies on the disk safely, and `act` does in
it what is to be interrupted. Both get a `RunProcess`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ckptkit.errors import StorageError
from ckptkit.layout import CheckpointName
from ckptkit.ownership.machine_identity import Machine
from ckptkit.policies import KeepLatest
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.checkpoint_removal import remove_checkpoint
from ckptkit.run.fresh_start import set_aside_earlier_lives
from ckptkit.run.journal import Journal
from ckptkit.run.retention import remove, review
from ckptkit.run.rollback import roll_back
from ckptkit.run.set_aside import set_aside
from ckptkit.run.verification_cache import CheckpointIndex
from ckptkit.testing import FakeClock
from tests.campaigns.crash import exports
from tests.campaigns.crash import tensorboard_logs as logs
from tests.campaigns.crash.run_process import RunProcess, Tape


@dataclass(frozen=True)
class Scenario:
    """Something that is interrupted.

    Args:
        prepare: makes the run of before.
        act: is interrupted.
        moved_to: directories of the run in which a save may be found that is in `checkpoints/` no
            more. Where there are any, `checkpoints/` may have an older save than that, or none.
    """

    prepare: Callable[[RunProcess], object]
    act: Callable[[RunProcess], object]
    moved_to: tuple[str, ...] = ()


def nothing(process: RunProcess) -> None:
    """No run yet."""


def three_saves(process: RunProcess) -> None:
    process.begin()
    for serial in (1, 2, 3):
        process.save(step=serial * 10, serial=serial)


def three_saves_with_an_anchor(process: RunProcess) -> None:
    """The second one wrote it, and the third one shares it."""
    process.begin()
    process.save(10, 1)
    process.save(20, 2, anchor="new")
    process.save(30, 3, anchor="shared")


def three_saves_that_share_data(process: RunProcess) -> None:
    process.begin()
    for serial in (1, 2, 3):
        process.save(serial * 10, serial, anchor="data")


def save_with_an_anchor(
    process: RunProcess, anchor: str, keep: int, later: str | None = None
) -> None:
    process.begin().save(40, 4, KeepLatest(keep), anchor=anchor)
    if later:
        process.save(50, 5, KeepLatest(keep), anchor=later)


def damaged(process: RunProcess) -> None:
    """The two newest of four cannot be used."""
    three_saves(process)
    process.save(40, 4)
    (process.layout.checkpoint(CheckpointName(40, 1)) / "ckpt-40.index").unlink()
    (process.layout.checkpoint(CheckpointName(30, 1)) / "manifest.json").write_bytes(b"{")


def left_overs(process: RunProcess) -> None:
    """Everything that crashes can leave, at once."""
    three_saves(process)
    checkpoints = process.layout.checkpoints
    process.write_tensors(checkpoints / "ckpt-10-1", 70, 7)
    (checkpoints / "ckpt-10-1").rename(checkpoints / ".writing-1")
    (checkpoints / "ckpt-20-1").rename(checkpoints / ".removing-ckpt-20-1")
    (checkpoints / "ckpt-30-1").rename(checkpoints / ".replaced-ckpt-30-1")
    (checkpoints / "checkpoint.tmp").write_bytes(b"model_check")


def replaced_left_over(process: RunProcess) -> None:
    """A second save was committed, and what it replaced not removed."""
    three_saves(process)
    checkpoints = process.layout.checkpoints
    (checkpoints / "ckpt-20-1").rename(checkpoints / ".replaced-ckpt-30-1")


def save(process: RunProcess, step: int = 40, keep: int = 2) -> None:
    process.begin().save(step, 4, KeepLatest(keep))


def save_twice(process: RunProcess) -> None:
    """A second save at one step in one attempt."""
    process.begin()
    process.save(40, 4)
    process.save(40, 5, KeepLatest(1))


def replace_newest(process: RunProcess) -> None:
    """A second save at a step in the attempt that goes on."""
    process.journal = Journal(process.files, process.layout.attempt_journal(1), 1, FakeClock())
    process.save(30, 4)


def save_again_after_refusal(process: RunProcess) -> None:
    """The second save at a step is refused after its rename, and tried again."""
    assert isinstance(process.files, Tape)
    process.begin()
    process.save(40, 4)
    renamed: list[bool] = []

    def first_sync_after_the_commit(step: object) -> bool:
        renamed.append(str(step) == "Rename .writing-2 ckpt-40-2")
        return any(renamed) and str(step) == "SyncDir checkpoints"

    process.files.fail(errno.EIO, when=first_sync_after_the_commit)
    try:
        process.save(40, 5)
    except StorageError:
        process.save(40, 6, KeepLatest(1))
    assert process.files.reached == 1


def removal_ends_half_way(process: RunProcess) -> None:
    """What a second save replaced cannot be removed whole; then the second save goes itself."""
    assert isinstance(process.files, Tape)
    process.files.fail(
        errno.EIO,
        at=2,
        when=lambda step: step.kind == "Unlink" and step.path.parent.name.endswith("-ckpt-30-1"),
    )
    replace_newest(process)
    assert process.files.reached == 1
    process.save(50, 5, KeepLatest(1))


def fresh(process: RunProcess) -> None:
    process.begin()
    set_aside_earlier_lives(process.files, process.layout, process.journal, "again")
    process.save(5, 4)


def quarantine(process: RunProcess) -> None:
    process.begin().pass_over_damaged()
    process.save(50, 5, KeepLatest(1))


def move_newest_away(process: RunProcess) -> None:
    set_aside(process.files, process.layout.checkpoint(CheckpointName(30, 1)), process.layout.aside)


def saves_elsewhere(process: RunProcess) -> None:
    """A machine that was lost, and that nobody can ask."""
    process.begin(Machine("elsewhere", "1"))
    for serial in (1, 2, 3):
        process.save(step=serial * 10, serial=serial)


def save_without_space_for_a_claim(process: RunProcess) -> None:
    """The claim is made from the files of the previous one."""
    assert isinstance(process.files, Tape)
    process.files.fail(
        errno.ENOSPC,
        when=lambda step: step.kind == "MakeDir" and step.path.parent.name == "lock",
        times=None,
    )
    process.begin()
    assert process.files.reached
    process.save(40, 4, KeepLatest(2))


def a_late_one(process: RunProcess) -> None:
    """The first machine was alive and saved once more; then the second one was lost."""
    saves_elsewhere(process)
    process.begin(Machine("another", "2"))
    late = RunProcess(process.layout.root.parent, process.files)
    late.journal = Journal(late.files, late.layout.attempt_journal(1), 1, FakeClock())
    late.save(90, 9)


def prune(process: RunProcess) -> None:
    """As the command does it."""
    process.begin()
    for judged in review(CheckpointIndex(process.layout), KeepLatest(1)):
        if not judged.stays:
            remove(process.owned, process.layout, process.journal, judged)


def rollback(process: RunProcess) -> None:
    target, *newer = list_checkpoints(process.begin().layout)
    roll_back(process.owned, process.layout, process.journal, target, newer[::-1])


def begin_and_put_in_order(process: RunProcess) -> None:
    logs.recover(process.begin())


def take_all_but_one(process: RunProcess) -> None:
    for step in (10, 20):
        remove_checkpoint(process.files, process.layout, CheckpointName(step, 1))
    process.begin().retain(KeepLatest(1))


def with_more(prepare: Callable[[RunProcess], object]) -> Callable[[RunProcess], None]:
    """A run of three saves, and what is beside them."""

    def both(process: RunProcess) -> None:
        three_saves(process)
        prepare(process)

    return both


SCENARIOS = {
    "the first save of a run": Scenario(nothing, save),
    "a save, with nothing given up": Scenario(three_saves, partial(save, keep=99)),
    "a save that one is given up for": Scenario(three_saves, partial(save, keep=3)),
    "a save that all others are given up for": Scenario(three_saves, partial(save, keep=1)),
    "a replacement alone": Scenario(three_saves, replace_newest),
    "a replaced one whose removal ends half-way": Scenario(three_saves, removal_ends_half_way),
    "two saves at a step": Scenario(three_saves, save_twice),
    "a save that is tried again": Scenario(three_saves, save_again_after_refusal),
    "a save with a new anchor": Scenario(
        three_saves_with_an_anchor, partial(save_with_an_anchor, anchor="new", keep=99)
    ),
    "a save with a shared anchor": Scenario(
        three_saves_with_an_anchor, partial(save_with_an_anchor, anchor="shared", keep=1)
    ),
    "a save that shares data": Scenario(
        three_saves_that_share_data, partial(save_with_an_anchor, anchor="data", keep=1)
    ),
    "saves after which nothing needs an anchor": Scenario(
        three_saves_with_an_anchor,
        partial(save_with_an_anchor, anchor="new", keep=1, later="shared"),
    ),
    "removals": Scenario(three_saves, take_all_but_one),
    "passing over damaged ones": Scenario(damaged, quarantine),
    "setting one aside": Scenario(three_saves, move_newest_away, moved_to=("aside",)),
    "a fresh start": Scenario(three_saves, fresh, moved_to=("aside/checkpoints",)),
    "cleaning up": Scenario(left_overs, RunProcess.begin),
    "cleaning up after a replacement": Scenario(replaced_left_over, save),
    "pruning": Scenario(three_saves, prune),
    "rolling back": Scenario(three_saves, rollback, moved_to=("aside/rolled-back-000002",)),
    "taking over": Scenario(saves_elsewhere, save),
    "a save on a disk with no space for a claim": Scenario(
        three_saves, save_without_space_for_a_claim
    ),
    "taking over with no space for a claim": Scenario(
        saves_elsewhere, save_without_space_for_a_claim
    ),
    "taking over from one that shut out another": Scenario(a_late_one, save),
    "the first export": Scenario(three_saves, partial(exports.export, number=30)),
    "an export that an older one is given up for": Scenario(
        with_more(exports.two), partial(exports.export, number=30)
    ),
    "an export beside others' versions": Scenario(
        with_more(exports.foreign), partial(exports.export, number=30, keep=1)
    ),
    "an export after crashes": Scenario(
        with_more(exports.left_overs), partial(exports.export, number=40)
    ),
    "event files that are put in order": Scenario(with_more(logs.written), begin_and_put_in_order),
    "the state file alone": Scenario(
        three_saves, lambda process: process.begin().retain(KeepLatest(99))
    ),
}
