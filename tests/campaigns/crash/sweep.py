"""The campaigns: kills at every step, and losses of power after every step. Run as a process of its
own, so that a fork is cheap and has no threads.

    python -m tests.campaigns.crash.sweep kill|power|recovery|renames SCENARIO DIRECTORY [SEEDS]

prints one JSON object: how many points and outcomes there were, and the problems.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.checkpoint_removal import clean_up
from ckptkit.run.verify import verify
from ckptkit.storage.operations import Append, Operation, Overwrite, Rename, SyncDir
from ckptkit.testing import PowerLoss, all_lost, nothing_lost, write_tree
from tests.campaigns.crash import exports
from tests.campaigns.crash.recovery_check import newest_serial, problem_of
from tests.campaigns.crash.run_process import RunProcess, Tape, committed
from tests.campaigns.crash.scenarios import SCENARIOS, Scenario
from tests.support.disks import Unsynced

EXHAUSTIVE = 64
"""Up to so many outcomes of a moment are all tried."""


class Lab:
    """A scenario, its run of before, and what its steps are.

    Args:
        scenario: which.
        directory: where to work.
    """

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self.scenario, self.directory = scenario, directory
        self.before = directory / "before"
        self.before.mkdir(parents=True)
        scenario.prepare(RunProcess(self.before, Unsynced()))
        self.bad = {
            str(checkpoint.name)
            for checkpoint in list_checkpoints(RunProcess(self.before, Unsynced()).layout)
            if not _is_good(checkpoint)
        }
        root = self.copy()
        layout = RunProcess(root, Unsynced()).layout
        clean_up(Unsynced(), layout)
        self.least = newest_serial(list_checkpoints(layout), self.bad)
        self.least_export = exports.newest(RunProcess(root, Unsynced()))
        tape = Tape()
        scenario.act(RunProcess(self.copy(), tape))
        self.steps, self.tried = tape.steps, tape.tried
        self.seen: set[object] = set()

    def copy(self) -> Path:
        """The run of before, once more, in the place where it is always copied to: so steps are the
        same ones.
        """
        root = self.directory / "work"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.before, root)
        return root

    def exports(self, steps: list[Operation], *, durable: bool) -> int:
        """The newest export after so many steps: that is visible, or that must not be lost."""
        return max(
            [
                self.least_export,
                *(number for number, _, kept in exports.published(steps) if kept or not durable),
            ]
        )

    def problem(
        self, root: Path, least: int, most: int, torn: int = 1, exports: tuple[int, int] = (0, 0)
    ) -> str | None:
        """What is wrong there, or None; of two that are the same the second is not looked at."""
        key = (least, most, exports, tuple(PowerLoss(root).left(all_lost).items()))
        if key in self.seen:
            return None
        self.seen.add(key)
        return problem_of(
            root,
            least,
            most,
            bad=self.bad,
            moved_to=self.scenario.moved_to,
            torn=torn,
            exports=exports,
        )


def _is_good(checkpoint: Any) -> bool:
    try:
        verify(checkpoint)
    except Exception:
        return False
    return True


# -- kills


def kill(lab: Lab) -> dict[str, Any]:
    """Kills a process before each step, after it, and in the middle of each write."""
    problems, points = [], 0
    for number, (done_before, step) in enumerate(lab.tried, start=1):
        ways: dict[str, dict[str, Any]] = {"before": {}, "after": {"after": True}}
        if isinstance(step, Append | Overwrite) and len(step.data) > 1:
            ways["in the middle of"] = {"after_bytes": len(step.data) // 2}
        for way, options in ways.items():
            root, where = lab.copy(), f"{way} step {number} ({step})"
            _die(lab, root, number, options, where)
            points += 1
            # A rename is seen at once, synced or not: what the dead process made visible is what
            # has to be there.
            done = done_before + (way == "after")
            newest = max(
                [
                    lab.least,
                    *(serial for serial, visible, _ in committed(lab.steps[:done]) if visible),
                ]
            )
            export = lab.exports(lab.steps[:done], durable=False)
            if (problem := lab.problem(root, newest, newest, exports=(export, export))) is not None:
                problems.append(f"killed {where}: {problem}")
    return {
        "steps": len(lab.tried),
        "points": points,
        "different": len(lab.seen),
        "problems": problems,
    }


def _die(lab: Lab, root: Path, number: int, options: dict[str, Any], where: str) -> None:
    child = os.fork()
    if child == 0:
        try:  # nothing of this process's own end runs in the child
            tape = Tape()
            tape.kill(at=number, **options)
            lab.scenario.act(RunProcess(root, tape))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"nobody was killed {where}"
    assert os.WTERMSIG(status) == signal.SIGKILL


# -- losses of power


def power(lab: Lab, seeds: int) -> dict[str, Any]:
    """Takes the power away after each step."""
    return _lose_power(lab, lab.steps, range(len(lab.steps) + 1), seeds)


def recovery(
    lab: Lab, seeds: int, at: Callable[[Operation], bool] = lambda step: True
) -> dict[str, Any]:
    """Kills a process after each step, lets another one put the run in order and save, and takes
    the power away after each of its steps.
    """
    total: Counter[str] = Counter()
    problems: list[str] = []
    for number in [number for number, step in enumerate(lab.steps, start=1) if at(step)]:
        root, tape = lab.copy(), _Mortal()
        tape.left = number
        with suppress(_Gone):
            lab.scenario.act(RunProcess(root, tape))
        tape.left = -1
        tape.heal()
        process = RunProcess(root, tape).begin()
        process.pass_over_damaged()
        process.save(500, 50)
        if lab.exports(lab.steps, durable=False):
            exports.export(process, 980)
        said = _lose_power(lab, tape.steps, range(number, len(tape.steps) + 1), seeds)
        problems += [
            f"after a kill after step {number} ({lab.steps[number - 1]}): {problem}"
            for problem in said.pop("problems")
        ]
        total.update(said)
    return {**total, "different": len(lab.seen), "problems": problems}


def names_a_checkpoint(step: Operation) -> bool:
    """Whether a step renames `checkpoints/`, or something in it that a reader or a start would look
    at.
    """
    return (
        isinstance(step, Rename)
        and "checkpoints" in (step.path.name, step.path.parent.name)
        and "tmp" not in step.path.name
    )


class _Gone(BaseException):
    """The process is no more: nothing of ours catches this."""


class _Mortal(Tape):
    """Does so many steps and no more; -1 is for ever."""

    left = -1

    def do(self, step: Operation) -> None:
        if self.left == 0:
            raise _Gone
        self.left -= 1
        super().do(step)


def _lose_power(lab: Lab, steps: list[Operation], moments: range, seeds: int) -> dict[str, Any]:
    work = lab.directory / "work"
    shutil.rmtree(work)
    shutil.copytree(lab.before, work)
    disk, problems, tried = PowerLoss(work), [], 0
    disk.follow(steps[: moments.start])
    for moment in moments:
        if moment > moments.start:
            disk.follow(steps[moment - 1 : moment])
        saves = committed(steps[:moment])
        least = max([lab.least, *(serial for serial, _, durable in saves if durable)])
        most = max([lab.least, *(serial for serial, visible, _ in saves if visible)])
        for outcome in outcomes(disk, seeds):
            tried += 1
            export = (
                lab.exports(steps[:moment], durable=True),
                lab.exports(steps[:moment], durable=False),
            )
            if (least, most, export, tuple(outcome.items())) in lab.seen:
                continue
            root = lab.directory / "after"
            shutil.rmtree(root, ignore_errors=True)
            write_tree(outcome, root)
            if (problem := lab.problem(root, least, most, torn=2, exports=export)) is not None:
                after = f"step {moment} ({steps[moment - 1]})" if moment else "nothing"
                problems.append(f"power lost after {after}: {problem}; left was {sorted(outcome)}")
    return {
        "steps": len(steps),
        "moments": len(moments),
        "outcomes": tried,
        "different": len(lab.seen),
        "problems": problems,
    }


def outcomes(disk: PowerLoss, seeds: int) -> Iterator[dict[str, bytes | None]]:
    """The two extremes; then all outcomes where they are few, else so many at random."""
    yield disk.left(all_lost)
    yield disk.left(nothing_lost)
    every = _every(disk.left)
    few = [outcome for outcome, _ in zip(every, range(EXHAUSTIVE + 1), strict=False)]
    if len(few) <= EXHAUSTIVE:
        yield from few
    else:
        for seed in range(seeds):
            yield disk.left(random.Random(seed).randrange)


def _every(
    left: Callable[[Callable[[int], int]], dict[str, bytes | None]],
) -> Iterator[dict[str, bytes | None]]:
    """Goes through all decisions, as one counts: each is a digit, and how far a digit goes is known
    when it is asked for.
    """
    digits: list[int] = []
    while True:
        count = _Count(digits)
        yield left(count.decide)
        digits, limits = count.digits, count.limits
        while digits and digits[-1] == limits[len(digits) - 1] - 1:
            digits.pop()
        if not digits:
            return
        digits[-1] += 1


class _Count:
    """Decides by given digits, and by 0 from there on."""

    def __init__(self, digits: list[int]) -> None:
        self.given, self.digits, self.limits = digits, list[int](), list[int]()

    def decide(self, outcomes: int) -> int:
        self.digits.append(
            self.given[len(self.digits)] if len(self.digits) < len(self.given) else 0
        )
        self.limits.append(outcomes)
        return self.digits[-1]


def main(campaign: str, name: str, directory: str, seeds: str = "20") -> None:
    lab = Lab(SCENARIOS[name], Path(directory))
    campaigns: dict[str, Callable[[], dict[str, Any]]] = {
        "kill": lambda: kill(lab),
        "power": lambda: power(lab, int(seeds)),
        "recovery": lambda: recovery(lab, int(seeds)),
        "renames": lambda: recovery(lab, int(seeds), names_a_checkpoint),
    }
    said = campaigns[campaign]()
    assert any(isinstance(step, Rename | SyncDir) for step in lab.steps), (
        "a scenario that changes nothing proves nothing"
    )
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
