"""Journals of invented runs, in the form of real ones."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckptkit.layout import run_layout
from ckptkit.run.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    Exported,
    Failed,
    Finished,
    NoticeReceived,
    PassedOver,
    Progressed,
    Requested,
    RequestServed,
    Restored,
    RunPreempted,
    Saved,
    SaveDropped,
    SaveFailed,
    SignalReceived,
    TakenAway,
    TrainingStarted,
)
from ckptkit.run.journal import encode_line

BEGAN = 1_790_000_000.0
VERSIONS = {
    "ckptkit": "0.1.0",
    "keras": "3.15.1",
    "numpy": "2.3.1",
    "python": "3.11.9",
    "tensorflow": "2.21.0",
}


class Story:
    """A run, told one event after the other.

    Args:
        seed: of what is left to chance.
        secs_per_step: how long a step takes.
    """

    def __init__(self, seed: int, secs_per_step: float = 1.0) -> None:
        self.random = random.Random(seed)
        self.now = BEGAN
        self.number = 0
        self.step = 0
        self.told = 0.0
        self.spent: dict[str, float] = {}
        self.saved: list[tuple[int, str]] = []
        self.events: dict[int, list[Event]] = {}
        self.secs_per_step = secs_per_step
        self.host = "gpu-node-7"

    def wait(self, secs: float) -> Story:
        self.now += secs
        return self

    def tell(self, event: Event) -> Story:
        self.events.setdefault(self.number, []).append(
            replace(event, time=self.now, attempt=self.number)
        )
        return self

    def start(self, *, falls_back: bool = False, **fields: Any) -> Story:
        """A process opens the run, and goes on from the newest checkpoint, or from the one before
        it.
        """
        self.number += 1
        known: dict[str, Any] = {
            "host": self.host,
            "pid": 4_000_000 + self.number,
            "program": "train.py",
            "versions": VERSIONS,
        }
        self.wait(2.5).tell(AttemptStarted(**(known | fields)))
        self.step, self.spent = (
            0,
            {"preparing": 0.3, "restoring": 0.0, "first_step": 4.0, "training": 0.0, "saving": 0.0},
        )
        if falls_back:
            _, name = self.saved.pop()
            self.tell(
                PassedOver(
                    checkpoint=name,
                    reason=f"{name}.index has changed since it was written (digest differs).",
                    moved_to=f"quarantine/{name}",
                )
            )
        if self.saved:
            self.step, name = self.saved[-1]
            self.spent["restoring"] = 1.2
            self.wait(1.5).tell(
                Restored(
                    checkpoint=name,
                    step=self.step,
                    epoch=self.step // 100,
                    batch=self.step % 100,
                    secs=1.2,
                )
            )
        return self.wait(4).tell(TrainingStarted(step=self.step))

    def train(self, steps: int, every: int = 100, keep: int = 3) -> Story:
        """Steps, with a save at each multiple of `every`, some of which are skipped or fail."""
        for _ in range(steps):
            self.step += 1
            took = self.secs_per_step * self.random.uniform(0.9, 1.1)
            self.spent["training"] += took
            self.wait(took)
            if self.now - self.told > 60:
                self.told = self.now
                self.tell(Progressed(step=self.step, spent=dict(self.spent)))
            if self.step % every == 0:
                self._save(f"every {every} steps", keep)
        return self

    def _save(self, trigger: str, keep: int, final: bool = False) -> None:
        self.spent["saving"] += 0.004
        chance = self.random.random()
        if chance < 0.03 and not final:
            self.tell(SaveDropped(step=self.step, reason="a newer snapshot took its place"))
        elif chance < 0.05 and not final:
            self.tell(
                SaveFailed(step=self.step, error="StorageError", message="No space left on device")
            )
        else:
            name = f"ckpt-{self.step}-{self.number}"
            self.saved.append((self.step, name))
            loss = 2.0 / (1 + self.step / 300)
            self.tell(
                Saved(
                    checkpoint=name,
                    step=self.step,
                    epoch=self.step // 100,
                    batch=self.step % 100,
                    trigger=trigger,
                    size_bytes=25_400_000,
                    snapshot_secs=0.004,
                    write_secs=0.8,
                    metrics={"loss": round(loss, 4), "accuracy": round(1 - loss / 2, 4)},
                    final=final,
                )
            )
            if len(self.saved) > keep:
                self.tell(
                    TakenAway(
                        checkpoint=self.saved[-keep - 1][1], reason=f"not among the latest {keep}"
                    )
                )

    def crash(self) -> Story:
        """Killed without a word."""
        return self

    def preempt(self) -> Story:
        self.tell(NoticeReceived(source="gce: maintenance", grace_secs=30.0)).wait(0.4)
        self.tell(SignalReceived(signal="SIGTERM", phase="training")).wait(0.3)
        self._save("SIGTERM", 3, final=False)
        self.tell(
            RunPreempted(
                step=self.saved[-1][0] if self.saved else 0,
                reason="SIGTERM",
                exit_code=75,
                secs=0.7,
            )
        )
        return self.wait(0.2).tell(AttemptEnded(outcome="preempted", step=self.step))

    def fail(self, message: str = "Expected a shape of (16, 8). Received: (16, 9).") -> Story:
        self.tell(Failed(error="ValueError", message=message, step=self.step, restart=True))
        return self.wait(0.1).tell(AttemptEnded(outcome="failed", step=self.step))

    def request(self) -> Story:
        self.tell(
            Requested(id="a1", action="save", source="ckptkit save (head-node, process 4711)")
        ).wait(0.3)
        self.tell(RequestServed(id="a1", step=self.step))
        self._save("asked for by ckptkit save (head-node, process 4711)", 3)
        return self

    def finish(self) -> Story:
        self._save("the end of training", 3, final=True)
        self.wait(0.2).tell(Finished(step=self.step, epoch=self.step // 100)).wait(6)
        self.tell(
            Exported(
                path="export/1790000000",
                step=self.step,
                secs=5.9,
                check_secs=4.8,
                proof="equal bits",
            )
        )
        return self.wait(0.2).tell(AttemptEnded(outcome="finished", step=self.step))

    def write(self, root: Path) -> Path:
        """The journals, as they lie in a run directory."""
        layout = run_layout(root)
        layout.journal.mkdir(parents=True)
        for number, events in self.events.items():
            layout.attempt_journal(number).write_bytes(
                b"".join(encode_line(event) for event in events)
            )
        return root


def eventful(seed: int) -> Story:
    """A handful of attempts in which everything happens that a report has a mark for."""
    story = Story(seed)
    story.start().train(730)
    story.wait(400).start().train(410).preempt()
    story.wait(3 * 86_400).start(
        versions=VERSIONS | {"tensorflow": "2.22.0"}, host="gpu-node-9"
    ).train(120).request().train(80).fail()
    story.wait(30)
    story.start(falls_back=True).train(350).finish()
    return story


def many(seed: int, attempts: int) -> Story:
    """A run on machines that are taken away again and again."""
    story = Story(seed, secs_per_step=4.0)
    for _ in range(attempts - 1):
        story.host = f"spot-{story.random.randrange(1000):03d}"
        falls_back = len(story.saved) > 3 and story.random.random() < 0.06
        story.start(falls_back=falls_back).train(story.random.randrange(40, 900), every=50, keep=5)
        ending = story.random.random()
        if ending < 0.55:
            story.preempt()
        elif ending < 0.9:
            story.crash()
        else:
            story.fail()
        story.wait(story.random.choice([5, 60, 300, 3600, 6 * 3600]))
    return story.start().train(150, every=50).finish()
