"""Kill a training run twice with SIGKILL, start it again each time, and show that it ends with the same bits as one that nobody killed.

The training is scripts/train_digits.py, as a user would start it. It is watched from outside: what it prints, and what
`ckptkit.open_run` reads in its directory. Each claim that is printed at the end has been checked.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

import ckptkit

SCRIPTS = Path(__file__).parent
EPOCHS = 15
KILL_FROM_EPOCH = (4, 9)
"""The first attempt is killed in the middle of epoch 4 or of one soon after it, the second of epoch 9 or of one soon after it."""
STEPS_AFTER_CHECKPOINT = 10
"""How far training has to have gone on after a new checkpoint, which is one inside the same epoch, before it is killed."""
TIMEOUT_SECS = 120
"""For one process; on two cores it takes 5 to 20 s."""
MIN_ACCURACY = 0.9

ACCURACY = re.compile(r"accuracy on \d+ held-out digits: ([\d.]+)")
DIGEST = re.compile(r"SHA-256 of all variables: (\w{64})")
NOISE = re.compile(r"[IWE]\d{4} \d\d:\d\d:|[IWE]0000 00:00:|WARNING: All log messages before absl|ckptkit: saved step .* every")
"""What is not shown: TensorFlow's greetings, and a line for each save on the way."""


class DemoFailed(Exception):
    """Something did not turn out as the demo says that it does."""


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise DemoFailed(otherwise)


def say(text: str = "", indent: str = "") -> None:
    print(indent + text, flush=True)


class Training:
    """One attempt: a process of scripts/train_digits.py, and how far it has come by its own progress bar."""

    def __init__(self, run: Path) -> None:
        command = [sys.executable, "-u", str(SCRIPTS / "train_digits.py"), "--run", str(run)]
        command += ["--epochs", str(EPOCHS), "--verbose", "1"]
        self.epoch = 0
        self.steps_per_epoch = 0
        self.step = 0
        self.accuracy: float | None = None
        self.digest: str | None = None
        self.errors: list[str] = []
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=quiet_environment()
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read_output, args=[self.process.stdout]),
            threading.Thread(target=self._read_errors, args=[self.process.stderr]),
        ]
        for reader in self._readers:
            reader.start()

    def running(self) -> bool:
        if time.monotonic() - self.started > TIMEOUT_SECS:
            raise DemoFailed(f"training had not ended after {TIMEOUT_SECS} s")
        return self.process.poll() is None

    def wait(self) -> int:
        """Waits for the end of the process, and of what it has printed."""
        while self.running():
            time.sleep(0.05)
        for reader in self._readers:
            reader.join()
        return self.process.returncode

    def kill(self) -> int:
        self.process.send_signal(signal.SIGKILL)
        return self.wait()

    def _read_output(self, pipe: IO[bytes]) -> None:
        """The progress bar goes back and rewrites its line: only the newest version counts."""
        line = ""
        while chunk := os.read(pipe.fileno(), 65536).decode(errors="replace"):
            *complete, line = (line + chunk).split("\n")
            for text in complete:
                self._read_line(text, complete=True)
            self._read_line(line, complete=False)
        if self.step % (self.steps_per_epoch or 1):
            say(f"Epoch {self.epoch}/{EPOCHS}  step {self.step}, and then no more", indent="  | ")

    def _read_line(self, line: str, *, complete: bool) -> None:
        text = re.sub(r"\x1b\[\d*m|━", "", re.split(r"[\r\b]", line)[-1]).strip()
        if header := re.fullmatch(r"Epoch (\d+)/\d+", text):
            if complete:
                self.epoch = int(header[1])
        elif progress := re.match(r"(\d+)/(\d+) ", text):
            self.steps_per_epoch = int(progress[2])
            self.step = (self.epoch - 1) * self.steps_per_epoch + int(progress[1])
            if complete:
                say(f"Epoch {self.epoch}/{EPOCHS}  {text.partition(' - ')[2]}", indent="  | ")
        elif complete and text:
            say(text, indent="  | ")
            if accuracy := ACCURACY.search(text):
                self.accuracy = float(accuracy[1])
            if digest := DIGEST.search(text):
                self.digest = digest[1]

    def _read_errors(self, pipe: IO[bytes]) -> None:
        for raw in pipe:
            text = raw.decode(errors="replace").rstrip()
            self.errors.append(text)
            if text and not NOISE.match(text):
                say(text, indent="  | ")


def quiet_environment() -> dict[str, str]:
    # Without a GPU: its kernels may compute other bits each time, and the digests of two trainings are compared.
    return {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, "CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True)
class Attempt:
    """What one process did: it went on after step `resumed_from`, came to step `reached`, and printed a result if it came to the end."""

    resumed_from: int
    reached: int
    newest_checkpoint: int
    secs: float
    accuracy: float = 0.0
    digest: str = ""


def newest_step(run: Path) -> int:
    """The step of the newest committed checkpoint, 0 where there is none yet."""
    try:
        checkpoints = ckptkit.open_run(run).checkpoints
    except ckptkit.CheckpointNotFoundError:
        return 0
    return checkpoints[-1].step if checkpoints else 0


def resumed_from(run: Path, attempt: int) -> int:
    """The step that the journal says this attempt restored, 0 for a new run."""
    steps = [e.step for e in ckptkit.open_run(run).journal if e.event == "restored" and e.attempt == attempt]
    expect(len(steps) == (attempt > 1), f"the journal has {len(steps)} restores in attempt {attempt}")
    return steps[0] if steps else 0


def train_and_kill(run: Path, number: int, from_epoch: int) -> Attempt:
    """Starts training, and kills it after a new checkpoint was committed and training had gone on."""
    before = newest_step(run)
    training = Training(run)
    try:
        while training.running():
            newest = newest_step(run)
            inside = training.steps_per_epoch and newest // training.steps_per_epoch == training.epoch - 1 and newest % training.steps_per_epoch
            if newest > before and training.epoch >= from_epoch and inside and training.step - newest >= STEPS_AFTER_CHECKPOINT:
                break
            time.sleep(0.01)
        else:
            training.wait()
            raise DemoFailed(f"attempt {number} ended, exit code {training.process.returncode}, before it was killed")
        code = training.kill()
    finally:
        training.process.kill()
    expect(code == -signal.SIGKILL, f"attempt {number} was to die of SIGKILL and ended with exit code {code}")
    newest = newest_step(run)
    batch = training.step - (training.epoch - 1) * training.steps_per_epoch
    say(f"  SIGKILL in epoch {training.epoch} at batch {batch} of {training.steps_per_epoch}, step {training.step}; "
        f"the newest checkpoint has step {newest}.")
    return Attempt(resumed_from(run, number), training.step, newest, time.monotonic() - training.started)


def train_to_the_end(run: Path, number: int) -> Attempt:
    training = Training(run)
    try:
        code = training.wait()
    finally:
        training.process.kill()
    expect(code == 0, f"attempt {number} ended with exit code {code}:\n" + "\n".join(training.errors[-30:]))
    if training.accuracy is None or training.digest is None:
        raise DemoFailed("training printed no accuracy, or no digest")
    secs = time.monotonic() - training.started
    finished = [e.step for e in ckptkit.open_run(run).journal if e.event == "finished"]
    total = EPOCHS * training.steps_per_epoch
    expect(finished == [total], f"the journal was to say finished at step {total}; it says {finished}")
    return Attempt(resumed_from(run, number), training.step, newest_step(run), secs, training.accuracy, training.digest)


def published_model(run: Path) -> Path:
    versions = [path for path in (run / "export").glob("*") if path.name.isdecimal()]
    expect(bool(versions), f"there is no SavedModel in {run / 'export'}")
    return max(versions, key=lambda path: int(path.name))


def predict(model: Path, digit: int) -> float:
    """Lets a fresh process use the SavedModel; the accuracy that it finds."""
    command = [sys.executable, str(SCRIPTS / "predict_digit.py"), str(model), "--digit", str(digit)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=quiet_environment(), timeout=TIMEOUT_SECS
    )
    expect(done.returncode == 0, f"the SavedModel could not be used:\n{done.stderr}")
    for line in done.stdout.splitlines():
        say(line, indent="  | ")
    found = ACCURACY.search(done.stdout)
    if not found:
        raise DemoFailed("the fresh process printed no accuracy")
    return float(found[1])


def demo(run: Path, digit: int) -> None:
    started = time.monotonic()
    say(f"Training on 1,500 handwritten digits, {EPOCHS} epochs, in the run directory {run}.")
    say("It is killed twice with SIGKILL, which no program can catch, in the middle of an epoch, and started again with the same command.")
    attempts: list[Attempt] = []
    for number, from_epoch in enumerate(KILL_FROM_EPOCH, start=1):
        say(f"\nAttempt {number}: python scripts/train_digits.py --run {run}")
        attempts.append(train_and_kill(run, number, from_epoch))
    number = len(attempts) + 1
    say(f"\nAttempt {number}: the same command, to the end")
    attempts.append(train_to_the_end(run, number))
    model = published_model(run)

    other = run.with_name(f"{run.name}-uninterrupted")
    say(f"\nThe same training, which nobody interrupts: python scripts/train_digits.py --run {other}")
    uninterrupted = train_to_the_end(other, 1)

    say("\nA fresh process, with TensorFlow and the SavedModel but nothing of the training, on held-out digits:")
    say(f"python scripts/predict_digit.py {model}")
    served_accuracy = predict(model, digit)

    check(run, attempts, uninterrupted, served_accuracy)
    summarize(run, attempts, uninterrupted, model)
    say(f"\nIt took {time.monotonic() - started:.0f} s. Look around: .venv/bin/ckptkit list {run}")


def check(run: Path, attempts: list[Attempt], uninterrupted: Attempt, served_accuracy: float) -> None:
    started = sum(e.event == "attempt_started" for e in ckptkit.open_run(run).journal)
    expect(started == len(attempts), f"the journal has {started} attempts; there were {len(attempts)}")
    for number, (killed, following) in enumerate(pairwise(attempts), start=1):
        expect(killed.reached > killed.newest_checkpoint, f"attempt {number} was killed before it had gone on")
        expect(
            following.resumed_from == killed.newest_checkpoint,
            f"attempt {number + 1} resumed from step {following.resumed_from}; "
            f"the newest checkpoint was of step {killed.newest_checkpoint}",
        )
    last = attempts[-1]
    expect(
        last.digest == uninterrupted.digest,
        f"the killed training ended with other values than the one that nobody interrupted: {last.digest}, {uninterrupted.digest}",
    )
    expect(last.accuracy >= MIN_ACCURACY, f"the accuracy is {last.accuracy}, less than {MIN_ACCURACY}")
    expect(
        served_accuracy == last.accuracy,
        f"the SavedModel's accuracy is {served_accuracy}, the trained model's {last.accuracy}",
    )


def summarize(run: Path, attempts: list[Attempt], uninterrupted: Attempt, model: Path) -> None:
    say("\nWhat happened")
    again = []
    for number, attempt in enumerate(attempts, start=1):
        start = f"resumed from step {attempt.resumed_from}" if attempt.resumed_from else "a new run"
        end = "finished"
        if number < len(attempts):
            lost = attempt.reached - attempt.newest_checkpoint
            again.append(lost)
            end = f"killed; its last {lost} steps are done again"
        steps = f"steps {attempt.resumed_from + 1:>4} to {attempt.reached:>4}"
        say(f"  attempt {number}   {steps}   {attempt.secs:4.1f} s   {start + ',':<24} {end}")
    last = attempts[-1]
    say(f"  done again  {sum(again)} of {last.reached} steps, {sum(again) / last.reached:.1%}, and the few that the progress bar had not shown yet")
    say(f"  accuracy    {last.accuracy:.1%} on 297 held-out digits, the same from the SavedModel in a fresh process")
    say("  SHA-256 over all variables of the model and the optimizer, at the end")
    say(f"    {last.digest}  killed twice")
    say(f"    {uninterrupted.digest}  not interrupted")
    say(f"  SavedModel  {model}")
    say(f"  journal     {run / 'journal'}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Kill a training run twice and see it end as if nothing had happened.")
    parser.add_argument("--run", type=Path, help="a new run directory (default: runs/demo-<time> in the repository)")
    parser.add_argument("--digit", type=int, default=0, help="which of the 297 held-out digits is predicted")
    args = parser.parse_args()
    run = args.run or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
    try:
        expect(not run.exists(), f"{run} exists; the demo needs a new directory")
        demo(run, args.digit)
    except (DemoFailed, ckptkit.CheckpointError, subprocess.TimeoutExpired) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
