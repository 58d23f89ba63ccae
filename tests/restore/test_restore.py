"""Restoring is all or nothing, and the loops of a custom program go on where they were."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest

import ckptkit

START = """
    import json, os, sys, threading
    from pathlib import Path
    import numpy as np, tensorflow as tf
    import ckptkit

    run = Path(sys.argv[1])
    weight, other = tf.Variable([0.0, 0.0]), tf.Variable(0, dtype=tf.int64)


    def manager(**options):
        return ckptkit.CheckpointManager(
            run,
            {"weight": weight, "other": other},
            **{"keep": ckptkit.KeepLatest(99), "background": False, **options},
        )


    def assign(step):
        weight.assign([step, -step])
        other.assign(step * 1000)


    def values():
        return [*weight.numpy().tolist(), int(other.numpy())]


    def save(*steps, **options):
        with manager(**options) as m:
            for step in steps:
                assign(step)
                m.save(step)
        assign(-1)


    def say(**found):
        print(json.dumps(found))


    def raises(kind, action, *args, **options):
        try:
            action(*args, **options)
        except kind as error:
            return str(error)
        raise AssertionError(f"no {kind.__name__}")
"""


@pytest.fixture
def program(tf_process, tmp_path):
    """Runs a program after `START`, and returns what it has said."""

    def run(text, *args, code=0):
        process = tf_process(dedent(START) + dedent(text), tmp_path / "run", *args).check(code=code)
        run.stderr = process.stderr
        lines = [json.loads(line) for line in process.stdout.splitlines()]
        return lines[-1] if lines else {}

    return run


# -- which checkpoint


DAMAGE = {
    "a flipped bit in the data": "data.write_bytes(data.read_bytes()[:-1] + "
    "bytes([data.read_bytes()[-1] ^ 1]))",
    "the data cut off": "data.write_bytes(data.read_bytes()[:-3])",
    "more data": "data.write_bytes(data.read_bytes() + b'x')",
    "no data": "data.unlink()",
    "a directory for the data": "data.unlink(); data.mkdir()",
    "a link for the data": "data.rename(run / 'elsewhere'); data.symlink_to(run / 'elsewhere')",
    "a flipped bit in the index": "index.write_bytes(bytes([index.read_bytes()[0] ^ 128]) + "
    "index.read_bytes()[1:])",
    "no index": "index.unlink()",
    "no manifest": "manifest.unlink()",
    "an empty manifest": "manifest.write_bytes(b'')",
    "half a manifest": "manifest.write_bytes(manifest.read_bytes()[:99])",
    "a manifest of another": "manifest.write_bytes((newest.parent / 'ckpt-2-1' / "
    "'manifest.json').read_bytes())",
    "an empty directory": "import shutil; shutil.rmtree(newest); newest.mkdir()",
    "a file for the directory": "import shutil; shutil.rmtree(newest); newest.write_text('x')",
    "what only TensorFlow sees": """if True:
        from ckptkit.run.verify import file_entry
        old = file_entry(data)
        values_of_step_3 = np.array([3.0, -3.0], 'float32').tobytes()
        assert values_of_step_3 in data.read_bytes()
        others = np.array([3.5, -3.0], 'float32').tobytes()
        data.write_bytes(data.read_bytes().replace(values_of_step_3, others))
        from ckptkit.run.manifest import seal
        said = manifest.read_text().replace(old.digest, file_entry(data).digest)
        manifest.write_bytes(seal(b"{" + said.partition('",')[2].encode()))""",
}
PATHS = """
    newest = run / "checkpoints" / "ckpt-3-1"
    index, data, manifest = (
        newest / "ckpt-3.index",
        newest / "ckpt-3.data-00000-of-00001",
        newest / "manifest.json",
    )
"""


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_it_counts(program, tmp_path, damage):
    said = program(f"""
    save(1, 2, 3)
    {PATHS}
    {dedent(DAMAGE[damage])}
    before = sorted(path.name for path in newest.iterdir()) if newest.is_dir() else None
    m = manager()
    position = m.restore_or_initialize()
    say(position=[position.step, m.position.step], values=values(), steps=m.all_steps)
    m.save(4)
    m.close()
    moved = run / "quarantine" / "ckpt-3-1"
    after = sorted(path.name for path in moved.iterdir()) if moved.is_dir() else None
    say(
        position=position.step,
        values=values(),
        steps=m.all_steps,
        untouched=before == after,
        moved=moved.exists(),
    )
    """)
    assert said == {
        "position": 2,
        "values": [2.0, -2.0, 2000],
        "steps": [1, 2, 4],
        "untouched": True,
        "moved": True,
    }
    warning = next(line for line in program.stderr.splitlines() if "passed over ckpt-3-1" in line)
    assert str(tmp_path / "run" / "quarantine" / "ckpt-3-1") in warning
    passed = [
        event
        for event in ckptkit.open_run(tmp_path / "run").journal
        if event.event == "passed_over"
    ]
    assert [(event.checkpoint, event.moved_to) for event in passed] == [
        ("ckpt-3-1", "quarantine/ckpt-3-1")
    ]


def test_where_all_are_damaged_nothing_begins_anew(program, tmp_path):
    said = program("""
    save(1, 2)
    for path in (run / "checkpoints").glob("ckpt-*/*.data*"):
        path.write_bytes(b"nothing")
    first = raises(ckptkit.CorruptCheckpointError, manager().restore_or_initialize)
    second = raises(ckptkit.CorruptCheckpointError, manager().restore_or_initialize)
    say(
        first=first,
        second=second,
        values=values(),
        kept=sorted(path.name for path in (run / "quarantine").iterdir() if path.is_dir()),
    )
    """)
    assert said["values"] == [-1.0, 1.0, -1000]
    assert said["kept"] == ["ckpt-1-1", "ckpt-2-1"]
    for message in (said["first"], said["second"]):
        assert "step 0" in message
        assert str(tmp_path / "run") in message
    assert all(name in said["first"] for name in said["kept"])


@pytest.mark.parametrize("gone", ["checkpoints", "checkpoints/*"])
def test_where_checkpoints_were_deleted_but_the_journal_tells_of_them_nothing_begins_anew(
    program, gone
):
    said = program(
        """
    import shutil
    save(7)
    for path in list(run.glob(sys.argv[2])):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    message = raises(ckptkit.CorruptCheckpointError, manager().restore_or_initialize)
    say(message=message, values=values())
    """,
        gone,
    )
    assert "step 7" in said["message"]
    assert said["values"] == [-1.0, 1.0, -1000]


def test_an_interrupted_save_is_no_checkpoint(program):
    said = program("""
    import shutil

    save(1, 2)
    shutil.copytree(run / "checkpoints" / "ckpt-2-1", run / "checkpoints" / ".writing-1")
    (run / "checkpoints" / "checkpoint").write_text('model_checkpoint_path: "ckpt-9-9/ckpt-9"')
    m = manager()
    say(
        position=m.restore_or_initialize().step,
        values=values(),
        left=sorted(p.name for p in (run / "checkpoints").glob(".*")),
    )
    """)
    assert said == {"position": 2, "values": [2.0, -2.0, 2000], "left": []}


@pytest.mark.parametrize("gone", ["checkpoint", "journal"])
def test_a_run_goes_on_without_tensorflows_state_file_and_without_a_journal(program, gone):
    said = program(
        """
    import shutil

    save(1, 2)
    (run / "checkpoints" / "checkpoint").unlink() if sys.argv[2] == "checkpoint" else shutil.rmtree(
        run / "journal"
    )
    m = manager()
    step = m.restore_or_initialize().step
    m.save(3)
    m.close()
    say(
        step=step,
        names=sorted(c.path.name for c in m.run.checkpoints),
        newest=tf.train.latest_checkpoint(run / "checkpoints")[-6:],
    )
    """,
        gone,
    )
    assert said == {"step": 2, "names": ["ckpt-1-1", "ckpt-2-1", "ckpt-3-2"], "newest": "ckpt-3"}


# -- all or nothing


def test_an_assignment_that_fails_leaves_everything_as_it_was(program):
    said = program("""
    class Odd:
        def __init__(self, refuses=False):
            self.value, self.refuses = 1, refuses

        def get_state(self):
            return self.value

        def set_state(self, state):
            if self.refuses:
                raise RuntimeError("not now")
            self.value = state


    def state(odd, last):
        table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)
        return {
            "weight": weight,
            "first": Odd(),
            "generator": np.random.default_rng(1),
            "batches": iter(tf.data.Dataset.range(100)),
            "table": table,
            "odd": odd,
            "last": last,
            "other": other,
        }


    saved = state(Odd(), Odd())
    saved["first"].value = saved["last"].value = 5
    saved["generator"].random(), next(saved["batches"]), saved["table"].insert([1], [1])
    assign(1)
    with ckptkit.CheckpointManager(run, saved) as m:
        m.save(1)
    assign(-1)
    live = state(Odd(refuses=True), Odd())
    fresh = np.random.default_rng(1).random()
    message = raises(RuntimeError, ckptkit.CheckpointManager(run, live).restore_or_initialize)
    say(
        message=message,
        values=values(),
        first=live["first"].value,
        last=live["last"].value,
        batch=int(next(live["batches"])),
        same=live["generator"].random() == fresh,
        size=int(live["table"].size()),
    )
    """)
    assert said == {
        "message": "not now",
        "values": [-1.0, 1.0, -1000],
        "first": 1,
        "last": 1,
        "batch": 0,
        "same": True,
        "size": 0,
    }


def test_a_checkpoint_that_does_not_fit_does_not_fall_back_to_an_older_one(program):
    said = program("""
    save(1, 2)
    message = raises(
        ckptkit.IncompatibleStateError,
        ckptkit.CheckpointManager(run, {"weight": weight}).restore_or_initialize,
    )
    say(message=message, values=values(), steps=manager().all_steps)
    """)
    assert said["values"] == [-1.0, 1.0, -1000]
    assert said["steps"] == [1, 2]
    assert "ckpt-2-1" in said["message"]


# -- one of several


def test_a_step_is_restored_by_its_number(program):
    said = program("""
    save(1, 20, 300)
    m = manager()
    found = []
    for step in (1, 300, 20, None):
        found.append([m.restore(step).step, m.position.step, *values()])
    missing = raises(ckptkit.CheckpointNotFoundError, m.restore, 2)
    also = raises(FileNotFoundError, m.restore, -1)
    m.close()
    say(found=found, missing=missing, after=values(), latest=m.latest_step, all=m.all_steps)
    """)
    assert said["found"] == [[step, step, step, -step, step * 1000] for step in (1, 300, 20, 300)]
    assert "1, 20, 300" in said["missing"]
    assert said["after"] == [300.0, -300.0, 300000]
    assert said["latest"] == 300
    assert said["all"] == [1, 20, 300]


def test_a_damaged_step_that_was_asked_for_is_an_error(program):
    said = program("""
    save(1, 2, 3)
    data = run / "checkpoints" / "ckpt-2-1" / "ckpt-2.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    m = manager()
    message = raises(ckptkit.CorruptCheckpointError, m.restore, 2)
    say(message=message, values=values(), there=data.exists())
    """)
    assert said["values"] == [-1.0, 1.0, -1000]
    assert "ckpt-2.data" in said["message"]
    assert said["there"]


def test_the_newest_is_asked_for_and_damaged(program, tmp_path):
    said = program("""
    save(1, 2, 3)
    (run / "checkpoints" / "ckpt-3-1" / "manifest.json").write_text("nothing")
    m = manager()
    step = m.restore().step
    m.close()
    say(step=step, values=values(), moved=(run / "quarantine" / "ckpt-3-1").exists())
    """)
    assert said == {"step": 2, "values": [2.0, -2.0, 2000], "moved": True}
    assert "passed over ckpt-3-1" in program.stderr


def test_a_restore_that_fails_lets_go_of_the_run(program):
    said = program("""
    import signal

    save(1, 2)
    before = signal.getsignal(signal.SIGTERM)
    m = ckptkit.CheckpointManager(run, {"weight": weight})
    messages = [raises(ckptkit.IncompatibleStateError, m.restore, step) for step in (1, None)]
    free = not m.is_open and signal.getsignal(signal.SIGTERM) == before
    opened = manager()
    opened.restore_or_initialize()
    messages.append(raises(ckptkit.CheckpointNotFoundError, opened.restore, 7))
    stays = opened.is_open
    opened.close()
    empty = ckptkit.CheckpointManager(run.parent / "other", {"weight": weight})
    messages.append(raises(ckptkit.CheckpointNotFoundError, empty.restore))
    fresh = manager(fresh="a label")
    messages.append(raises(ckptkit.CheckpointNotFoundError, fresh.restore))
    say(
        free=free,
        stays=stays,
        open=[empty.is_open, fresh.is_open],
        made=(run.parent / "other").exists(),
    )
    """)
    assert said == {"free": True, "stays": True, "open": [False, False], "made": False}


def test_going_back_in_another_attempt_makes_a_new_line(program):
    said = program("""
    save(1, 2, 3, 4)
    m = manager()
    m.restore(2)
    assign(30)
    m.save(3)
    m.close()
    again = manager()
    position = again.restore_or_initialize()
    say(
        step=position.step,
        values=values(),
        names=[c.path.name for c in again.run.checkpoints],
        of_three=again.run.find(3).path.name,
    )
    """)
    assert said["step"] == 3
    assert said["values"] == [30.0, -30.0, 30000]
    assert said["names"] == ["ckpt-1-1", "ckpt-2-1", "ckpt-3-1", "ckpt-4-1", "ckpt-3-2"]
    assert said["of_three"] == "ckpt-3-2"


def test_going_back_within_an_attempt_makes_a_new_line(program):
    said = program("""
    m = manager(keep=ckptkit.KeepLatest(2))
    m.restore_or_initialize()
    for step in (1, 5, 9):
        assign(step)
        m.save(step)
    m.restore(5)
    assign(60)
    m.save(6)
    m.close()
    position = manager().restore_or_initialize()
    say(step=position.step, values=values(), latest=m.latest_step)
    """)
    assert said == {"step": 6, "values": [60.0, -60.0, 60000], "latest": 6}


def test_the_latest_step_is_the_newest_checkpoints(program):
    said = program("""
    save(1, 2, 3)
    m = manager()
    m.restore(1)
    m.save(2)
    m.close()
    say(latest=m.latest_step, all=m.all_steps)
    """)
    assert said == {"latest": 2, "all": [1, 2, 3]}


def test_a_second_save_at_a_step_counts(program):
    said = program("""
    with manager() as m:
        for value in (1, 2):
            assign(value)
            m.save(7)
    assign(0)
    position = manager().restore_or_initialize()
    say(
        step=position.step,
        values=values(),
        names=sorted(path.name for path in (run / "checkpoints").iterdir()),
    )
    """)
    assert said == {"step": 7, "values": [2.0, -2.0, 2000], "names": ["checkpoint", "ckpt-7-1"]}


# -- loops


LOOP = """
    end, how = int(sys.argv[2]), sys.argv[3]
    done = []
    with manager(save=ckptkit.EveryNSteps(4)) as m:
        for step in m.steps(20):
            other.assign_add(step)
            if step == end:
                if how == "break": break
                if how == "exception": raise ValueError("stop")
                if how == "interrupt": raise KeyboardInterrupt
                if how == "stop": m.request_stop("the test says so")
                if how == "thread":
                    thread = threading.Thread(target=m.request_stop)
                    thread.start()
                    thread.join()
            done.append(step)
            print(json.dumps({"done": done, "other": int(other.numpy()), "steps": m.all_steps}))
    say(done=done, other=int(other.numpy()), steps=m.all_steps)
"""


@pytest.mark.parametrize(
    ("how", "code", "goes_on_after"),
    [
        # The turn that was left does not count. What a break has left is saved, what an exception
        # has left is not.
        ("break", 0, 9),
        ("exception", 1, 8),
        ("interrupt", -2, 8),
        # A request is served when the turn is done, with a save.
        ("stop", 75, 10),
        ("thread", 75, 10),
    ],
)
def test_a_loop_goes_on_after_what_was_saved(program, tmp_path, how, code, goes_on_after):
    first = program(LOOP, 10, how, code=code)
    run = ckptkit.open_run(tmp_path / "run")
    assert run.find("latest").step == goes_on_after
    assert first["done"] == list(range(1, 11 if code == 75 else 10))
    second = program(LOOP, 99, "nothing")
    assert second["done"] == list(range(goes_on_after + 1, 21))
    # The turn that was left by a break has trained, and its step is trained again: the state is the
    # one of the break.
    assert second["other"] == sum(range(1, 21)) + (10 if how == "break" else 0)
    ended = [
        event
        for event in run.journal
        if event.event in ("attempt_ended", "preempted", "failed", "finished")
    ]
    outcome = {
        "break": "stopped",
        "exception": "failed",
        "interrupt": "stopped",
        "stop": "preempted",
        "thread": "preempted",
    }[how]
    assert [event.outcome for event in ended if event.event == "attempt_ended"] == [
        outcome,
        "finished",
    ]
    preempted = [event for event in ended if event.event == "preempted"]
    assert [(event.step, event.exit_code) for event in preempted] == (
        [(10, 75)] if code == 75 else []
    )
    assert all("the test says so" in event.reason for event in preempted if how == "stop")


def test_a_finished_loop_does_nothing_more_and_goes_on_with_a_larger_total(program):
    loop = """
    with manager(save=ckptkit.EveryNSteps(100)) as m:
        done = list(m.steps(int(sys.argv[2])))
    say(done=done, steps=m.all_steps, final=[c.manifest.final for c in m.run.checkpoints])
    """
    assert program(loop, 5) == {"done": [1, 2, 3, 4, 5], "steps": [5], "final": [True]}
    assert program(loop, 5) == {"done": [], "steps": [5], "final": [True]}
    assert program(loop, 7) == {"done": [6, 7], "steps": [5, 7], "final": [True, True]}
    assert program(loop, 6)["done"] == []


EPOCHS = """
    at, how = int(sys.argv[2]), sys.argv[3]
    seen = []
    with manager(save=ckptkit.EveryNEpochs(1)) as m:
        for epoch in m.epochs(5):
            for batch in m.data(tf.data.Dataset.range(3)):
                other.assign_add(int(batch) + 1)
                seen.append([epoch, int(batch), m.position.step])
            if epoch == at and how == "exception":
                raise ValueError
            if epoch == at and how == "stop":
                m.request_stop()
            print(json.dumps({"seen": seen}))
    say(
        seen=seen,
        other=int(other.numpy()),
        positions=[
            [c.manifest.step, c.manifest.epoch, c.manifest.batch] for c in m.run.checkpoints
        ],
    )
"""


@pytest.mark.parametrize(("how", "code", "begins"), [("exception", 1, 2), ("stop", 75, 3)])
def test_epochs_go_on_after_the_epoch_that_was_saved(program, how, code, begins):
    program(EPOCHS, 2, how, code=code)
    said = program(EPOCHS, 99, "nothing")
    assert said["seen"] == [
        [epoch, batch, 3 * epoch + batch] for epoch in range(begins, 5) for batch in range(3)
    ]
    assert said["other"] == 5 * 6
    assert said["positions"] == [[3 * epoch, epoch, 0] for epoch in range(1, 6)]


def test_loops_over_python_iterables_and_of_nothing(program):
    said = program("""
    with manager() as m:
        numbers = [batch for _ in m.epochs(2) for batch in m.data([1, 2])]
        say(
            numbers=numbers,
            position=[m.position.step, m.position.epoch, m.position.batch],
            rest=list(m.steps(0)),
        )
    """)
    assert said == {"numbers": [1, 2, 1, 2], "position": [4, 2, 0], "rest": []}


# -- when to save, and what stays


def test_saves_are_due_when_an_interval_was_crossed(program):
    said = program("""
    with manager(save=ckptkit.EveryNSteps(10)) as m:
        saved = [step for step in (3, 7, 14, 15, 21, 28, 29, 30, 55, 57) if m.maybe_save(step)]
    with manager(save=ckptkit.EveryNSteps(10)) as m:
        again = [step for step in (58, 59, 60, 61, 75) if m.maybe_save(step)]
    say(saved=saved, again=again)
    """)
    assert said == {"saved": [14, 21, 30, 55], "again": [60, 75]}


def test_the_best_is_remembered_over_attempts(program):
    attempt = """
    losses = json.loads(sys.argv[2])
    keep = ckptkit.KeepLatest(1) | ckptkit.KeepBest("loss")
    with manager(save=ckptkit.OnBest("loss"), keep=keep) as m:
        saved = []
        for loss in losses:
            step = m.position.step + 1
            if m.maybe_save(step, metrics={"loss": tf.constant(loss)}):
                saved.append(step)
        m.save(m.position.step + 1, metrics={"loss": 99.0})
    say(saved=saved, steps=m.all_steps, best=m.run.find("best").step)
    """
    assert program(attempt, "[5.0, 3.0, 4.0, NaN]") == {"saved": [1, 2], "steps": [2, 5], "best": 2}
    assert program(attempt, "[3.5, 3.0, 7.0]") == {"saved": [], "steps": [2, 9], "best": 2}
    assert program(attempt, "[3.5, 2.5]") == {"saved": [11], "steps": [11, 12], "best": 11}


def test_logged_values_are_converted_only_when_a_save_needs_them(program):
    said = program("""
    class Lazy:
        asked = 0
        def __init__(self, value): self.value = value
        def __float__(self):
            Lazy.asked += 1
            return float(self.value)
    asked = []
    with manager(save=ckptkit.EveryNSteps(5)) as m:
        for step in m.steps(6):
            m.log(a=Lazy(step), b=tf.constant(step * 2.0))
            m.log(c=np.float32(step))
            asked.append(Lazy.asked)
    say(asked=asked, metrics={c.step: c.metrics for c in m.run.checkpoints})
    """)
    assert said["asked"] == [0, 0, 0, 0, 0, 1]
    assert said["metrics"] == {
        "5": {"a": 5.0, "b": 10.0, "c": 5.0},
        "6": {"a": 6.0, "b": 12.0, "c": 6.0},
    }


def test_a_metric_that_is_no_number_is_named(program):
    said = program("""
    with manager() as m:
        message = raises(ckptkit.ConfigError, m.save, 1, metrics={"loss": tf.constant([1.0, 2.0])})
        m.save(1, metrics={"loss": float("nan"), "accuracy": float("inf")})
    say(
        message=message,
        metrics={name: str(value) for name, value in m.run.find("latest").metrics.items()},
    )
    """)
    assert "'loss'" in said["message"]
    assert said["metrics"] == {"loss": "nan", "accuracy": "inf"}


# -- where it must not be used


def test_inside_a_tf_function_the_methods_raise(program):
    said = program("""
    m = manager()
    m.restore_or_initialize()
    calls = {
        "save": lambda: m.save(1),
        "maybe_save": lambda: m.maybe_save(1),
        "restore": lambda: m.restore(),
        "steps": lambda: m.steps(3),
        "restore_or_initialize": lambda: m.restore_or_initialize(),
        "epochs": lambda: m.epochs(3),
        "data": lambda: m.data([1]),
        "safe_point": lambda: m.safe_point(),
        "log": lambda: m.log(loss=weight[0]),
        "close": lambda: m.close(),
        "request_stop": lambda: m.request_stop(),
        "wait_until_finished": lambda: m.wait_until_finished(),
    }
    found = {}
    for name, call in calls.items():
        try:
            tf.function(lambda call=call: call() and None, autograph=False)()
            found[name] = "nothing was raised"
        except ckptkit.ConfigError as error:
            found[name] = str(error)
    say(found=found, steps=m.all_steps)
    """)
    assert {name: text for name, text in said["found"].items() if "tf.function" not in text} == {}
    assert said["steps"] == []


def test_a_manager_that_is_not_open_says_so(program):
    said = program("""
    m = manager()
    messages = [
        raises(ckptkit.ConfigError, action)
        for action in (
            lambda: m.save(1),
            lambda: m.maybe_save(1),
            lambda: m.log(a=1),
            lambda: m.steps(3),
            lambda: m.epochs(3),
            lambda: m.data([]),
            m.request_stop,
            m.safe_point,
            m.wait_until_finished,
            lambda: m.position,
        )
    ]
    m.close()
    m.close()
    with m:
        m.save(3)
    messages.append(raises(ckptkit.ConfigError, m.save, 4))
    say(messages=messages, nothing_made=not (run.parent / "other").exists())
    """)
    assert all("not open" in message for message in said["messages"])


@pytest.mark.parametrize("step", ["-1", "1.5", "'3'", "True", "None"])
def test_a_step_that_is_no_count_is_refused(program, step):
    said = program(f"""
    with manager() as m:
        say(
            message=raises(ckptkit.ConfigError, m.save, {step}),
            total=raises(ckptkit.ConfigError, lambda: m.steps({step})),
        )
    """)
    assert step.strip("'") in said["message"]
    assert step.strip("'") in said["total"]


def test_a_step_never_goes_back(program):
    said = program("""
    save(10)
    with manager() as m:
        say(message=raises(ckptkit.ConfigError, m.save, 9))
    """)
    assert "10" in said["message"]
    assert "9" in said["message"]
