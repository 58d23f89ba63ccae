"""Restoring is all or nothing, and loops resume where they were."""

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
    """Runs a program after `START`, and returns what it has printed last."""

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
        data.write_bytes(
            data.read_bytes().replace(values_of_step_3, np.array([3.5, -3.0], 'float32').tobytes())
        )
        from ckptkit.run.manifest import seal
        result = manifest.read_text().replace(old.digest, file_entry(data).digest)
        manifest.write_bytes(seal(b"{" + result.partition('",')[2].encode()))""",
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
def test_a_damaged_checkpoint_is_quarantined_and_the_previous_one_restored(
    program, tmp_path, damage
):
    result = program(f"""
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
    assert result == {
        "position": 2,
        "values": [2.0, -2.0, 2000],
        "steps": [1, 2, 4],
        "untouched": True,
        "moved": True,
    }
    warning = next(
        line for line in program.stderr.splitlines() if "checkpoint ckpt-3-1 is not used" in line
    )
    assert str(tmp_path / "run" / "quarantine" / "ckpt-3-1") in warning
    passed = [
        event
        for event in ckptkit.open_run(tmp_path / "run").journal
        if event.event == "passed_over"
    ]
    assert [(event.checkpoint, event.moved_to) for event in passed] == [
        ("ckpt-3-1", "quarantine/ckpt-3-1")
    ]


def test_if_all_checkpoints_are_damaged_training_does_not_start_again(program, tmp_path):
    result = program("""
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
    assert result["values"] == [-1.0, 1.0, -1000]
    assert result["kept"] == ["ckpt-1-1", "ckpt-2-1"]
    for message in (result["first"], result["second"]):
        assert "step 0" in message
        assert str(tmp_path / "run") in message
    assert all(name in result["first"] for name in result["kept"])


@pytest.mark.parametrize("gone", ["checkpoints", "checkpoints/*"])
def test_if_checkpoints_were_deleted_but_journaled_training_does_not_start_again(program, gone):
    result = program(
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
    assert "step 7" in result["message"]
    assert result["values"] == [-1.0, 1.0, -1000]


def test_an_interrupted_save_is_no_checkpoint(program):
    result = program("""
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
    assert result == {"position": 2, "values": [2.0, -2.0, 2000], "left": []}


@pytest.mark.parametrize("gone", ["checkpoint", "journal"])
def test_a_run_resumes_without_tensorflows_state_file_and_without_a_journal(program, gone):
    result = program(
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
    assert result == {"step": 2, "names": ["ckpt-1-1", "ckpt-2-1", "ckpt-3-2"], "newest": "ckpt-3"}


# -- all or nothing


def test_an_assignment_that_fails_leaves_everything_as_it_was(program):
    result = program("""
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
    assert result == {
        "message": "not now",
        "values": [-1.0, 1.0, -1000],
        "first": 1,
        "last": 1,
        "batch": 0,
        "same": True,
        "size": 0,
    }


def test_a_checkpoint_that_does_not_fit_does_not_fall_back_to_an_older_one(program):
    result = program("""
    save(1, 2)
    message = raises(
        ckptkit.IncompatibleStateError,
        ckptkit.CheckpointManager(run, {"weight": weight}).restore_or_initialize,
    )
    say(message=message, values=values(), steps=manager().all_steps)
    """)
    assert result["values"] == [-1.0, 1.0, -1000]
    assert result["steps"] == [1, 2]
    assert "ckpt-2-1" in result["message"]


# -- one of several


def test_a_step_is_restored_by_its_number(program):
    result = program("""
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
    assert result["found"] == [[step, step, step, -step, step * 1000] for step in (1, 300, 20, 300)]
    assert "1, 20, 300" in result["missing"]
    assert result["after"] == [300.0, -300.0, 300000]
    assert result["latest"] == 300
    assert result["all"] == [1, 20, 300]


def test_a_damaged_step_that_was_asked_for_is_an_error(program):
    result = program("""
    save(1, 2, 3)
    data = run / "checkpoints" / "ckpt-2-1" / "ckpt-2.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    m = manager()
    message = raises(ckptkit.CorruptCheckpointError, m.restore, 2)
    say(message=message, values=values(), there=data.exists())
    """)
    assert result["values"] == [-1.0, 1.0, -1000]
    assert "ckpt-2.data" in result["message"]
    assert result["there"]


def test_the_newest_is_asked_for_and_damaged(program, tmp_path):
    result = program("""
    save(1, 2, 3)
    (run / "checkpoints" / "ckpt-3-1" / "manifest.json").write_text("nothing")
    m = manager()
    step = m.restore().step
    m.close()
    say(step=step, values=values(), moved=(run / "quarantine" / "ckpt-3-1").exists())
    """)
    assert result == {"step": 2, "values": [2.0, -2.0, 2000], "moved": True}
    assert "checkpoint ckpt-3-1 is not used" in program.stderr


def test_a_restore_that_fails_closes_the_run(program):
    result = program("""
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
    assert result == {"free": True, "stays": True, "open": [False, False], "made": False}


def test_going_back_in_another_attempt_makes_a_new_line(program):
    result = program("""
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
    assert result["step"] == 3
    assert result["values"] == [30.0, -30.0, 30000]
    assert result["names"] == ["ckpt-1-1", "ckpt-2-1", "ckpt-3-1", "ckpt-4-1", "ckpt-3-2"]
    assert result["of_three"] == "ckpt-3-2"


def test_going_back_within_an_attempt_makes_a_new_line(program):
    result = program("""
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
    assert result == {"step": 6, "values": [60.0, -60.0, 60000], "latest": 6}


def test_the_latest_step_is_the_newest_checkpoints(program):
    result = program("""
    save(1, 2, 3)
    m = manager()
    m.restore(1)
    m.save(2)
    m.close()
    say(latest=m.latest_step, all=m.all_steps)
    """)
    assert result == {"latest": 2, "all": [1, 2, 3]}


def test_a_second_save_at_a_step_counts(program):
    result = program("""
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
    assert result == {"step": 7, "values": [2.0, -2.0, 2000], "names": ["checkpoint", "ckpt-7-1"]}


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
        # The turn that was left does not count. After a break, the newest snapshot from before the
        # turn is saved; on a slow machine it may be an earlier one.
        ("break", 0, None),
        ("exception", 1, 8),
        ("interrupt", -2, 8),
        # A request is served when the turn is done, with a save.
        ("stop", 75, 10),
        ("thread", 75, 10),
    ],
)
def test_a_loop_resumes_after_the_saved_step(program, tmp_path, how, code, goes_on_after):
    first = program(LOOP, 10, how, code=code)
    run = ckptkit.open_run(tmp_path / "run")
    if how == "break":
        goes_on_after = run.find("latest").step
        assert goes_on_after in (8, 9)
    assert run.find("latest").step == goes_on_after
    assert first["done"] == list(range(1, 11 if code == 75 else 10))
    second = program(LOOP, 99, "nothing")
    assert second["done"] == list(range(goes_on_after + 1, 21))
    assert second["other"] == sum(range(1, 21)), "no turn is in the state twice"
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


def test_a_finished_loop_does_nothing_and_continues_with_a_larger_total(program):
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
def test_epochs_resume_after_the_saved_epoch(program, how, code, begins):
    program(EPOCHS, 2, how, code=code)
    result = program(EPOCHS, 99, "nothing")
    assert result["seen"] == [
        [epoch, batch, 3 * epoch + batch] for epoch in range(begins, 5) for batch in range(3)
    ]
    assert result["other"] == 5 * 6
    assert result["positions"] == [[3 * epoch, epoch, 0] for epoch in range(1, 6)]


def test_loops_over_python_iterables_and_of_nothing(program):
    result = program("""
    with manager() as m:
        numbers = [batch for _ in m.epochs(2) for batch in m.data([1, 2])]
        say(
            numbers=numbers,
            position=[m.position.step, m.position.epoch, m.position.batch],
            rest=list(m.steps(0)),
        )
    """)
    assert result == {"numbers": [1, 2, 1, 2], "position": [4, 2, 0], "rest": []}


# -- when to save, and what stays


def test_saves_are_due_when_an_interval_was_crossed(program):
    result = program("""
    with manager(save=ckptkit.EveryNSteps(10)) as m:
        saved = [step for step in (3, 7, 14, 15, 21, 28, 29, 30, 55, 57) if m.maybe_save(step)]
    with manager(save=ckptkit.EveryNSteps(10)) as m:
        again = [step for step in (58, 59, 60, 61, 75) if m.maybe_save(step)]
    say(saved=saved, again=again)
    """)
    assert result == {"saved": [14, 21, 30, 55], "again": [60, 75]}


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
    result = program("""
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
    assert result["asked"] == [0, 0, 0, 0, 0, 1]
    assert result["metrics"] == {
        "5": {"a": 5.0, "b": 10.0, "c": 5.0},
        "6": {"a": 6.0, "b": 12.0, "c": 6.0},
    }


def test_a_metric_that_is_no_number_is_named_and_costs_no_save(program):
    result = program("""
    import logging
    lines, handler = [], logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("ckptkit").addHandler(handler)
    with manager() as m:
        m.save(1, metrics={"loss": tf.constant([1.0, 2.0])})
        m.save(2, metrics={"loss": float("nan"), "accuracy": float("inf")})
    say(
        lines=lines,
        metrics={name: str(value) for name, value in m.run.find("latest").metrics.items()},
    )
    """)
    assert any("the metric 'loss' is not recorded" in line for line in result["lines"])
    assert result["metrics"] == {"loss": "nan", "accuracy": "inf"}


# -- where it must not be used


def test_inside_a_tf_function_the_methods_raise(program):
    result = program("""
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
    assert {name: text for name, text in result["found"].items() if "tf.function" not in text} == {}
    assert result["steps"] == []


def test_a_manager_that_is_not_open_says_so(program):
    result = program("""
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
    assert all("not open" in message for message in result["messages"])


@pytest.mark.parametrize("step", ["-1", "1.5", "'3'", "True"])
def test_a_step_that_is_no_count_is_refused(program, step):
    result = program(f"""
    with manager() as m:
        say(
            message=raises(ckptkit.ConfigError, m.save, {step}),
            total=raises(ckptkit.ConfigError, lambda: m.steps({step})),
        )
    """)
    assert step.strip("'") in result["message"]
    assert step.strip("'") in result["total"]


def test_a_step_whose_name_no_reader_knows_is_refused(program):
    """Its checkpoint would be on the disk, and no catalog would list it."""
    result = program("""
    with manager() as m:
        message = raises(ckptkit.ConfigError, m.save, 10**18)
        m.save(10**18 - 1)
    say(message=message, steps=m.all_steps)
    """)
    assert "at most 999,999,999,999,999,999" in result["message"]
    assert result["steps"] == [10**18 - 1]


def test_a_step_never_goes_back(program):
    result = program("""
    save(10)
    with manager() as m:
        say(message=raises(ckptkit.ConfigError, m.save, 9))
    """)
    assert "10" in result["message"]
    assert "9" in result["message"]
