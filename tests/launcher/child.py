"""A training without TensorFlow and without ckptkit: it speaks to its launcher as docs/format.md
says, and does what its arguments say.

child.py RUN WORD...       words are done one after the other; `next:A/B/C` picks by the number of
earlier starts
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

RUN = Path(sys.argv[1])
CHANNEL = Path(os.environ["CKPTKIT_LAUNCHER"])
STARTS = RUN / "starts"


class Training:
    def __init__(self):
        self.said = {
            "version": 1,
            "pid": os.getpid(),
            "run": "",
            "attempt": 0,
            "step": 0,
            "phase": "idle",
            "beats": 0,
            "trained": False,
        }
        self.held = None
        self.run = RUN
        RUN.mkdir(parents=True, exist_ok=True)
        with STARTS.open("a") as file:
            file.write(f"{os.getpid()}\n")
        self.number = len(STARTS.read_text().split())

    def say(self, **more):
        if self.held is None:
            self.held = os.open(CHANNEL / "training", os.O_RDWR)
            fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.said.update(more)
        (CHANNEL / "new").write_text(json.dumps(self.said))
        os.replace(CHANNEL / "new", CHANNEL / "training.json")

    # -- words

    def open(self):
        self.say(run=str(self.run.absolute()), attempt=self.number, phase="tracing", outcome="")

    def fold(self, name):
        """Opens another run, which counts its attempts itself; its launcher tells of this start
        there before it goes on.
        """
        self.run = RUN / name
        self.open()
        while not any(
            '"launch_started"' in line and json.loads(line)["number"] == self.number
            for path in self.run.glob("journal/launcher-*")
            for line in path.read_text().split("\n")[:-1]
        ):
            time.sleep(0.005)

    def step(self):
        self.say(
            step=self.said["step"] + 1, beats=self.said["beats"] + 1, phase="training", trained=True
        )

    def commit(self):
        (self.run / "checkpoints" / f"ckpt-{10 * self.number}-{self.number}").mkdir(parents=True)

    def fail(self, error, restart):
        self.say(
            outcome="failed",
            failure={"error": error, "message": "as it was told to", "restart": restart == "yes"},
        )
        sys.exit(1)

    def failed(self, error):
        raise type(error, (Exception,), {"__module__": "some.module"})("as it was told to")

    def allocate(self, megabytes):
        _ = [bytearray(os.urandom(1000) * 1000) for _ in range(int(megabytes))]

    def limit(self, megabytes):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(megabytes) * 1_000_000,) * 2)

    def exit(self, code):
        sys.exit(int(code))

    def signal(self, name):
        os.kill(os.getpid(), signal.Signals[name])
        time.sleep(60)

    def ignore(self, name):
        signal.signal(signal.Signals[name], signal.SIG_IGN)

    def note(self, *names):
        """Writes each signal down, with what the launcher asked for by then."""

        def arrived(number, frame):
            request = (
                json.loads((CHANNEL / "request.json").read_text())
                if (CHANNEL / "request.json").exists()
                else None
            )
            with (RUN / "signals").open("a") as file:
                file.write(json.dumps([signal.Signals(number).name, request]) + "\n")

        for name in names:
            signal.signal(signal.Signals[name], arrived)

    def save_on(self, name, code=75):
        """As a training does: saves and exits with 75."""

        def arrived(number, frame):
            self.commit()
            self.say(outcome="preempted", reason=signal.Signals(number).name)
            sys.exit(int(code))

        signal.signal(signal.Signals[name], arrived)

    def save_slowly_on(self, name):
        """As where a step and a save take their time: until it may go on."""

        def arrived(number, frame):
            self.wait("go")
            self.commit()
            self.say(outcome="preempted", reason=signal.Signals(number).name)
            sys.exit(75)

        signal.signal(signal.Signals[name], arrived)

    def stacks(self):
        import faulthandler

        faulthandler.register(signal.SIGRTMIN + 5, all_threads=True)
        self.say(dump_signal=int(signal.SIGRTMIN) + 5)

    def claim(self, pid, dump_signal):
        """Says that it is another process, and what it would like to be sent."""
        self.say(pid=int(pid), dump_signal=int(dump_signal))

    def dumps_on(self, number):
        self.say(dump_signal=int(number))

    def leave(self, kind):
        """A process that has left the session, and whose parent is gone."""
        code = "import os, signal, sys, time; os.setsid(); os.fork() and os._exit(0); "
        code += "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        code += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if kind == "stubborn" else ""
        code += "os.rename(sys.argv[1], sys.argv[1] + '.here'); time.sleep(60)"
        subprocess.run(
            [sys.executable, "-S", "-c", code, str(RUN / f"left-{self.number}")],
            stdin=subprocess.DEVNULL,
            check=True,
        )
        while not (RUN / f"left-{self.number}.here").exists():
            time.sleep(0.005)

    def print(self, text):
        print(text)

    def write(self, text):
        sys.stdout.write(text)
        sys.stdout.flush()

    def burst(self, lines):
        """More at once than a pipe holds."""
        self.write("".join(f"{number:09}\n" for number in range(int(lines))))

    def pause(self):
        time.sleep(0.01)

    def complain(self, text):
        sys.stderr.write(text)

    def wait(self, name):
        """Until a file of this name appears beside the run; `here` says that it waits."""
        (RUN / f"{name}.here").touch()
        while not (RUN / name).exists():
            time.sleep(0.005)

    def idle(self):
        self.say(phase="idle")

    def asked(self):
        self.say(asked=True, outcome="preempted", reason="ckptkit stop")

    def heard(self):
        """It is asked to stop, and has come to no safe point yet."""
        self.say(asked=True)

    def stopped(self):
        self.say(outcome="preempted", reason="a reason of its own")

    def finish(self):
        self.say(outcome="finished")

    def garbage(self, text):
        (CHANNEL / "training.json").write_text(text)
        time.sleep(0.3)

    def watch(self):
        """As a training does: until the launcher is gone."""
        (RUN / "watching").touch()
        held = os.open(CHANNEL / "launcher", os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_SH)
        print("x" * 30_000)  # nobody reads that any more, and it is no error
        self.commit()
        (RUN / "saved").touch()
        sys.exit(75)

    def do(self, word):
        name, *arguments = word.split(":")
        if name == "next":
            kinds = ":".join(arguments).split("/")
            for each in kinds[min(self.number, len(kinds)) - 1].split("+"):
                self.do(each)
        else:
            getattr(self, name)(*arguments)


training = Training()
for word in sys.argv[2:]:
    training.do(word)
