"""Take a training's machine away, kill it with SIGKILL, and show that it ends with the same bits as
one that nobody interrupted.

The training is scripts/train_digits.py under `ckptkit run`, as an operator would start it. It is
watched from outside: what it prints, and what `ckptkit.open_run` reads in its directory. Each claim
that is printed at the end has been checked.
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
from typing import IO, Any

import ckptkit
from ckptkit.exit_codes import ExitCode
from ckptkit.run.events import Finished, LaunchEnded, Restored

SCRIPTS = Path(__file__).parent
EPOCHS = 15
NOTICE_FROM_EPOCH, KILL_FROM_EPOCH = 4, 9
"""The machine goes away in the middle of epoch 4 or of one soon after it; the second attempt is
killed in epoch 9 or in one soon after it.
"""
GRACE_SECS = 30
"""What the notice says that is left, as on a Spot instance of Compute Engine."""
STEPS_AFTER_CHECKPOINT = 10
"""How far training has to have gone on after a new checkpoint, which is one inside the same epoch,
before it is killed.
"""
SILENCE_SECS = 600
"""How long a process may print nothing; there is no limit on the whole, as machines differ."""
MIN_ACCURACY = 0.9
PREEMPTED = ExitCode.PREEMPTED

ACCURACY = re.compile(r"accuracy on \d+ held-out digits: ([\d.]+)")
DIGEST = re.compile(r"SHA-256 of all variables: (\w{64})")
NOISE = re.compile(
    r"[IWE]\d{4} \d\d:\d\d:|[IWE]0000 00:00:|WARNING: All log messages before absl|ckptkit: saved "
    r"step .* every"
)
"""What is not shown: TensorFlow's greetings, and a line for each save on the way."""


class DemoFailed(Exception):
    """Something did not turn out as the demo says that it does."""


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise DemoFailed(otherwise)


def script(run: Path) -> list[str]:
    """The training, as it is typed after `python`."""
    return [
        str(SCRIPTS / "train_digits.py"),
        "--run",
        str(run),
        "--epochs",
        str(EPOCHS),
        "--verbose",
        "1",
    ]


def say(text: str = "", indent: str = "") -> None:
    print(indent + text, flush=True)


class Training:
    """One start of scripts/train_digits.py, by a launcher or by itself, and how far it has come by
    its own progress bar.
    """

    def __init__(self, run: Path, *, notice: Path | None = None) -> None:
        command = [sys.executable, "-u", *script(run)]
        if notice is not None:
            launcher = [
                sys.executable,
                "-m",
                "ckptkit",
                "run",
                "--notices",
                f"file:{notice}",
                "--backoff-secs",
                "1",
                "--",
            ]
            command = [*launcher, *command]
        self.run = run
        self.epoch = 0
        self.steps_per_epoch = 0
        self.step = 0
        self.accuracy: float | None = None
        self.digest: str | None = None
        self.errors: list[str] = []
        self.started = self.last_output = time.monotonic()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=quiet_environment(),
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
        if time.monotonic() - self.last_output > SILENCE_SECS:
            raise DemoFailed(f"training has printed nothing for {SILENCE_SECS} s")
        return self.process.poll() is None

    def wait(self) -> int:
        """Waits for the end of the process, and of what it has printed."""
        while self.running():
            time.sleep(0.05)
        for reader in self._readers:
            reader.join()
        return self.process.returncode

    def until_inside_an_epoch(self, from_epoch: int, after: int) -> int:
        """Waits until a checkpoint later than `after` was committed inside an epoch, and training
        has gone on; the checkpoint's step.
        """
        while self.running():
            newest = newest_step(self.run)
            inside = (
                self.steps_per_epoch
                and newest // self.steps_per_epoch == self.epoch - 1
                and newest % self.steps_per_epoch
            )
            if (
                newest > after
                and self.epoch >= from_epoch
                and inside
                and self.step - newest >= STEPS_AFTER_CHECKPOINT
            ):
                return newest
            time.sleep(0.01)
        raise DemoFailed(
            f"training ended, exit code {self.wait()}, before epoch {from_epoch}:\n"
            + "\n".join(self.errors[-30:])
        )

    def where(self) -> str:
        batch = self.step - (self.epoch - 1) * self.steps_per_epoch
        return f"in epoch {self.epoch} at batch {batch} of {self.steps_per_epoch}, step {self.step}"

    def end(self) -> None:
        """Stop what still runs after a failure: the launcher stops its training too."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(GRACE_SECS)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def _read_output(self, pipe: IO[bytes]) -> None:
        """The progress bar goes back and rewrites its line: only the newest version counts."""
        line = ""
        while chunk := os.read(pipe.fileno(), 65536).decode(errors="replace"):
            self.last_output = time.monotonic()
            *complete, line = (line + chunk).split("\n")
            for text in complete:
                self._read_line(text, complete=True)
            self._read_line(line, complete=False)
        if self.step % (self.steps_per_epoch or 1):
            self._say_cut()

    def _say_cut(self) -> None:
        say(f"Epoch {self.epoch}/{EPOCHS}  step {self.step}, and then no more", indent="  | ")

    def _read_line(self, line: str, *, complete: bool) -> None:
        text = re.sub(r"\x1b\[\d*m|━", "", re.split(r"[\r\b]", line)[-1]).strip()
        if header := re.fullmatch(r"Epoch (\d+)/\d+", text):
            if complete:
                self.epoch = int(header[1])
        elif progress := re.match(r"(\d+)/(\d+) ", text):
            self.steps_per_epoch = int(progress[2])
            self.step = (self.epoch - 1) * self.steps_per_epoch + int(progress[1])
            if complete and progress[1] == progress[2]:
                say(f"Epoch {self.epoch}/{EPOCHS}  {text.partition(' - ')[2]}", indent="  | ")
            elif complete:
                self._say_cut()
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
    # Without a GPU: its kernels may compute other bits each time, and the digests of two trainings
    # are compared.
    return {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, "CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True)
class Attempt:
    """What one process did: it went on after step `resumed_from`, came to step `reached`, and
    printed a result if it came to the end.
    """

    resumed_from: int
    reached: int
    newest_checkpoint: int
    secs: float
    accuracy: float = 0.0
    digest: str = ""


def newest_step(run: Path) -> int:
    """The step of the newest committed checkpoint, 0 if there is none yet."""
    try:
        checkpoints = ckptkit.open_run(run).checkpoints
    except ckptkit.CheckpointNotFoundError:
        return 0
    return checkpoints[-1].step if checkpoints else 0


def resumed_from(run: Path, attempt: int) -> int:
    """The step that the journal says this attempt restored, 0 for a new run."""
    steps = [
        e.step
        for e in ckptkit.open_run(run).journal
        if isinstance(e, Restored) and e.attempt == attempt
    ]
    expect(
        len(steps) == (attempt > 1), f"the journal has {len(steps)} restores in attempt {attempt}"
    )
    return steps[0] if steps else 0


def journal_of(run: Path, event: str, attempt: int) -> list[Any]:
    return [e for e in ckptkit.open_run(run).journal if e.event == event and e.attempt == attempt]


def preempt(run: Path, notice: Path) -> Attempt:
    """A launcher trains until a notice says that the machine goes away: the training saves, and
    both end with 75.
    """
    training = Training(run, notice=notice)
    try:
        training.until_inside_an_epoch(NOTICE_FROM_EPOCH, after=0)
        say(f"  NOTICE {training.where()}: the machine goes away in {GRACE_SECS} s.")
        noticed = time.time()
        write_notice(notice)
        code = training.wait()
    finally:
        training.end()
    said = "\n".join(training.errors[-30:])
    expect(
        code == PREEMPTED,
        f"the launcher was to end with {PREEMPTED} after the notice and ended with {code}:\n{said}",
    )
    (preempted,) = journal_of(run, "preempted", 1)
    saved = next(e for e in journal_of(run, "saved", 1) if e.step == preempted.step)
    secs = saved.time - noticed
    expect(
        secs < GRACE_SECS,
        f"the checkpoint was durable {secs:.1f} s after the notice, and {GRACE_SECS} s were left",
    )
    say(
        f"  Step {preempted.step} was durable {secs:.1f} s after the notice, and the launcher "
        f"ended with exit code {code}."
    )
    return Attempt(
        resumed_from(run, 1), preempted.step, newest_step(run), time.monotonic() - training.started
    )


def write_notice(notice: Path) -> None:
    new = notice.with_suffix(".new")
    new.write_text(f"{GRACE_SECS} the demo takes the machine away\n")
    new.rename(notice)


def kill_and_finish(run: Path, notice: Path) -> list[Attempt]:
    """Another launcher, as on the next machine: its training is killed, and it starts it again by
    itself.
    """
    training = Training(run, notice=notice)
    try:
        training.until_inside_an_epoch(KILL_FROM_EPOCH, after=newest_step(run))
        (victim,) = journal_of(run, "attempt_started", 2)
        os.kill(victim.pid, signal.SIGKILL)
        reached, newest, killed = training.step, newest_step(run), time.monotonic()
        say(f"  SIGKILL {training.where()}; the newest checkpoint has step {newest}.")
        code = training.wait()
    finally:
        training.end()
    attempts = [Attempt(resumed_from(run, 2), reached, newest, killed - training.started)]
    return [*attempts, finished(training, code, 3, time.monotonic() - killed)]


def train_uninterrupted(run: Path) -> Attempt:
    training = Training(run)
    try:
        code = training.wait()
    finally:
        training.end()
    return finished(training, code, 1, time.monotonic() - training.started)


def finished(training: Training, code: int, number: int, secs: float) -> Attempt:
    expect(
        code == 0,
        f"attempt {number} ended with exit code {code}:\n" + "\n".join(training.errors[-30:]),
    )
    if training.accuracy is None or training.digest is None:
        raise DemoFailed("training printed no accuracy, or no digest")
    ends = [e.step for e in ckptkit.open_run(training.run).journal if isinstance(e, Finished)]
    total = EPOCHS * training.steps_per_epoch
    expect(ends == [total], f"the journal was to say finished at step {total}; it says {ends}")
    return Attempt(
        resumed_from(training.run, number),
        training.step,
        newest_step(training.run),
        secs,
        training.accuracy,
        training.digest,
    )


def published_model(run: Path) -> Path:
    versions = [path for path in (run / "export").glob("*") if path.name.isdecimal()]
    expect(bool(versions), f"there is no SavedModel in {run / 'export'}")
    return max(versions, key=lambda path: int(path.name))


def predict(model: Path, digit: int) -> float:
    """Lets a fresh process use the SavedModel; the accuracy that it finds."""
    command = [sys.executable, str(SCRIPTS / "predict_digit.py"), str(model), "--digit", str(digit)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=quiet_environment(),
        timeout=SILENCE_SECS,
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
    say(
        "A launcher watches over it. The machine is taken away in the middle of an epoch, by a "
        "notice; and on the next one the training is killed"
    )
    say("with SIGKILL, which no program can catch.")
    notice = run.with_name(f"{run.name}.notice")
    command = f"ckptkit run --notices file:{notice} -- python {' '.join(script(run))}"
    say(f"\n{command}")
    try:
        attempts = [preempt(run, notice)]
        notice.unlink()
        say("\nThe same command, as on the next machine")
        attempts += kill_and_finish(run, notice)
    finally:
        notice.unlink(missing_ok=True)
    model = published_model(run)

    other = run.with_name(f"{run.name}-uninterrupted")
    say(f"\nThe same training, which nobody interrupts: python {' '.join(script(other))}")
    uninterrupted = train_uninterrupted(other)

    say(
        "\nA fresh process, with TensorFlow and the SavedModel but nothing of the training, on "
        "held-out digits:"
    )
    say(f"python scripts/predict_digit.py {model}")
    served_accuracy = predict(model, digit)

    check(run, attempts, uninterrupted, served_accuracy)
    summarize(run, attempts, uninterrupted, model)
    say(f"\nIt took {time.monotonic() - started:.0f} s. Look around: .venv/bin/ckptkit list {run}")


def check(
    run: Path, attempts: list[Attempt], uninterrupted: Attempt, served_accuracy: float
) -> None:
    started = sum(e.event == "attempt_started" for e in ckptkit.open_run(run).journal)
    expect(
        started == len(attempts), f"the journal has {started} attempts; there were {len(attempts)}"
    )
    for number, (ended, following) in enumerate(pairwise(attempts), start=1):
        expect(
            following.resumed_from == ended.newest_checkpoint,
            f"attempt {number + 1} resumed from step {following.resumed_from}; the newest "
            f"checkpoint was of step {ended.newest_checkpoint}",
        )
    preempted, killed, _ = attempts
    expect(
        preempted.reached == preempted.newest_checkpoint, "after the notice a step was not saved"
    )
    expect(killed.reached > killed.newest_checkpoint, "it was killed before it had gone on")
    causes = [e.cause for e in ckptkit.open_run(run).journal if isinstance(e, LaunchEnded)]
    expect(
        causes == ["preempted", "signal", "finished"], f"the launchers tell of other ends: {causes}"
    )
    last = attempts[-1]
    expect(
        last.digest == uninterrupted.digest,
        "the interrupted training ended with other values than the one that nobody interrupted: "
        f"{last.digest}, {uninterrupted.digest}",
    )
    expect(
        last.accuracy >= MIN_ACCURACY, f"the accuracy is {last.accuracy}, less than {MIN_ACCURACY}"
    )
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
            end = (
                f"killed; its last {lost} steps are done again"
                if lost
                else "preempted by a notice; nothing is done again"
            )
        steps = f"steps {attempt.resumed_from + 1:>4} to {attempt.reached:>4}"
        say(f"  attempt {number}   {steps}   {attempt.secs:4.1f} s   {start + ',':<24} {end}")
    last = attempts[-1]
    say(
        f"  done again  {sum(again)} of {last.reached} steps, {sum(again) / last.reached:.1%}, "
        "and the few that the progress bar had not shown yet"
    )
    say(
        f"  accuracy    {last.accuracy:.1%} on 297 held-out digits, the same from the SavedModel "
        "in a fresh process"
    )
    say("  SHA-256 over all variables of the model and the optimizer, at the end")
    say(f"    {last.digest}  preempted, then killed")
    say(f"    {uninterrupted.digest}  not interrupted")
    say(f"  SavedModel  {model}")
    say(f"  journal     {run / 'journal'}")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Preempt and kill a training run, and see it end as if nothing had happened.",
    )
    parser.add_argument(
        "--run", type=Path, help="a new run directory (default: runs/demo-<time> in the repository)"
    )
    parser.add_argument(
        "--digit", type=int, default=0, help="which of the 297 held-out digits is predicted"
    )
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
