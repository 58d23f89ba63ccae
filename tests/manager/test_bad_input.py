"""What a user may get wrong, and what a machine may refuse: the right error with path and remedy;
nothing lost, nothing half restored.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.machine import NOT_PERMITTED
from tests.support.spread import spread

START = """
    import errno, json, os, sys
    from pathlib import Path
    import tensorflow as tf
    import ckptkit
    from tests.support import machine

    run = Path(sys.argv[1])
    weight = tf.Variable([0.0, 0.0])

    def manager(where=run, **options):
        options = {"keep": ckptkit.KeepLatest(99), "background": False, **options}
        return ckptkit.CheckpointManager(where, {"weight": weight}, **options)

    def save(*steps, where=run, **options):
        with manager(where, **options) as m:
            for step in steps:
                weight.assign([step, -step])
                m.save(step)

    def restored(where=run):
        weight.assign([-1, -1])
        m = manager(where)
        step = m.restore_or_initialize().step
        m.close()
        assert weight.numpy().tolist() == ([step, -step] if step else [-1, -1])
        return step

    def refused(action, *args, **options):
        try:
            action(*args, **options)
        except ckptkit.CheckpointError as error:
            number = getattr(error, "errno", None) or getattr(error.__cause__, "errno", None)
            code = number and errno.errorcode[number]
            return {"kind": type(error).__name__, "errno": code, "text": str(error)}
        return {"kind": None, "errno": None, "text": ""}

    def contents(directory):
        return {
            str(path.relative_to(directory)): [
                path.stat().st_mtime_ns,
                path.read_bytes().hex() if path.is_file() else None,
            ]
            for path in sorted(directory.rglob("*"))
        }

    def say(**found):
        print(json.dumps(found))
"""


@pytest.fixture
def program(tf_process, tmp_path):
    """Runs a program after `START`, and returns what it has said."""

    def run(text, *args, cwd=None):
        process = tf_process(dedent(START) + dedent(text), tmp_path / "run", *args, cwd=cwd)
        if process.wait() == NOT_PERMITTED:
            pytest.skip(process.stderr.strip().splitlines()[-1])
        process.check()
        run.stderr = process.stderr
        return json.loads(process.stdout.splitlines()[-1])

    return run


def expect(refused, kind, *words, errno=None):
    assert refused["kind"] == kind, refused
    assert refused["errno"] == errno, refused
    assert [word for word in words if str(word) not in refused["text"]] == [], refused["text"]


# -- the directory


@pytest.mark.parametrize(
    "url",
    [
        "hdfs://host/run",
        "file:///tmp/run",
    ],
)
def test_a_url_is_refused_before_anything_is_made(program, tmp_path, url):
    said = program(
        """
    say(manager=refused(manager, sys.argv[2]),
        callback=refused(ckptkit.CheckpointCallback, sys.argv[2]),
        run=refused(ckptkit.open_run, sys.argv[2]),
        made=os.listdir("."))
    """,
        url,
        cwd=tmp_path,
    )
    for received in (said["manager"], said["callback"], said["run"]):
        expect(received, "ConfigError", url, "ount")
    assert said["made"] == []


def test_an_object_stores_url_is_a_run_to_train_and_no_directory_to_read(program, tmp_path):
    """The constructors look at nothing and make nothing; readers want a directory."""
    said = program(
        """
    urls = ["s3://bucket/run", "gs://bucket/run", "az://container/run"]
    for url in urls:
        ckptkit.CheckpointCallback(url)
    say(manager=refused(manager, "S3://bbb"),
        runs=[refused(ckptkit.open_run, url) for url in urls],
        made=os.listdir("."))
    """,
        cwd=tmp_path,
    )
    expect(said["manager"], "ConfigError", "a place inside the bucket")
    for received in said["runs"]:
        expect(received, "ConfigError", "Mount storage")
    assert said["made"] == []


@pytest.mark.parametrize("directory", ["''", "None", "3", "b'run'", "['run']"])
def test_what_is_no_path_is_refused(program, directory):
    said = program(
        f"say(manager=refused(manager, {directory}), callback=refused(ckptkit.CheckpointCallback, "
        f"{directory}))"
    )
    for received in (said["manager"], said["callback"]):
        expect(received, "ConfigError", directory)


@pytest.mark.parametrize(
    ("directory", "kind", "errno"),
    [
        ("run / ('x' * 300)", "StorageError", "ENAMETOOLONG"),
        ("run / 'a\\0b'", "ConfigError", None),
        ("run.parent / 'dangling'", "StorageError", None),
    ],
)
def test_a_path_that_cannot_be_is_refused(program, tmp_path, directory, kind, errno):
    (tmp_path / "dangling").symlink_to(tmp_path / "file" / "nothing")
    (tmp_path / "file").write_text("x")
    said = program(f"say(manager=refused(save, 1, where={directory}))")
    assert said["manager"]["kind"] == kind, said
    if errno:
        assert said["manager"]["errno"] == errno
    assert str(tmp_path) in said["manager"]["text"]


def test_a_relative_directory_stays_where_it_was_when_the_program_goes_elsewhere(program, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    said = program(
        """
    m = manager("runs/one", save=ckptkit.EveryNSteps(1))
    with m:
        for step in m.steps(3):
            weight.assign([step, -step])
            os.chdir(sys.argv[2])
    say(steps=m.all_steps, elsewhere=os.listdir("."))
    """,
        tmp_path / "there",
        cwd=tmp_path / "here",
    )
    assert said == {"steps": [1, 2, 3], "elsewhere": []}
    assert (
        tmp_path / "here" / "runs" / "one" / "checkpoints" / "ckpt-3-1" / "manifest.json"
    ).exists()


@pytest.mark.parametrize("file", ["run", "run/checkpoints", "run/journal"])
def test_a_file_where_a_directory_is_expected_is_named_and_left_alone(program, tmp_path, file):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")
    received = program("say(refused=refused(save, 1))")["refused"]
    expect(received, "ConfigError", path, "is a file", "another directory")
    assert path.read_text() == "precious"


def test_a_file_above_the_directory_is_named(program, tmp_path):
    (tmp_path / "above").write_text("precious")
    received = program("say(refused=refused(save, 1, where=run.parent / 'above' / 'run'))")[
        "refused"
    ]
    assert received["kind"] in ("StorageError", "ConfigError")
    assert str(tmp_path / "above") in received["text"]
    assert (tmp_path / "above").read_text() == "precious"


def test_a_file_in_the_way_of_the_quarantine_is_named_and_nothing_is_lost(program, tmp_path):
    # What cannot be moved must not keep the run from the good checkpoint before it.
    said = program("""
    save(1, 2)
    data = run / "checkpoints" / "ckpt-2-1" / "ckpt-2.data-00000-of-00001"
    data.write_bytes(b"damaged")
    (run / "quarantine").write_text("precious")
    before = contents(run / "checkpoints")
    step = restored()
    same = contents(run / "checkpoints") == before
    say(step=step, same=same, kept=(run / "quarantine").read_text())
    """)
    assert said == {"step": 1, "same": True, "kept": "precious"}
    assert "checkpoint ckpt-2-1 is not used" in program.stderr
    assert f"{tmp_path / 'run' / 'quarantine'}" in program.stderr
    assert "move it away" in program.stderr


def test_another_programs_checkpoints_are_not_touched(program, tmp_path):
    said = program("""
    (run / "checkpoints").mkdir(parents=True)
    other = tf.train.Checkpoint(weight=weight)
    tf.train.CheckpointManager(other, str(run / "checkpoints"), max_to_keep=3).save()
    before = contents(run)
    received = refused(restored)
    say(refused=received, same=contents(run) == before)
    """)
    expect(said["refused"], "ConfigError", tmp_path / "run" / "checkpoints", "another")
    assert said["same"]


FOREIGN = [
    "notes.txt",
    "model.keras",
    "sub/dir/file",
    "checkpoints/notes.txt",
    "checkpoints/ckpt-7.index",
    "checkpoints/ckpt-7/x",
    "checkpoints/ckpt-1-1.bak/x",
    "checkpoints/ckpt-x-1/x",
    "checkpoints/.hidden",
    "checkpoints/.writing-x/x",
    "journal/notes.txt",
    "journal/sub/x",
    "quarantine/x",
    "export/notes",
]


def test_foreign_files_are_left_alone(program, tmp_path):
    said = program(
        """
    def foreign():
        return {
            name: [run.joinpath(name).read_text(), run.joinpath(name).stat().st_mtime_ns]
            for name in sys.argv[2:]
        }
    save(1)
    for name in sys.argv[2:]:
        run.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        run.joinpath(name).write_text("precious " + name)
    before = foreign()
    # Saving, taking away, putting aside, resuming: with all of them there.
    save(2, 3, keep=ckptkit.KeepLatest(1))
    save(4)
    (run / "checkpoints" / "ckpt-4-3" / "manifest.json").unlink()
    say(step=restored(), same=foreign() == before, steps=manager().all_steps)
    """,
        *FOREIGN,
    )
    assert said == {"step": 3, "same": True, "steps": [3]}


def test_a_directory_with_foreign_files_only_may_become_a_run(program, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("precious")
    said = program("say(nothing=restored(), before=refused(ckptkit.open_run, run)['kind'])")
    assert said["nothing"] == 0
    assert program("save(1); say(step=restored())") == {"step": 1}
    assert (tmp_path / "run" / "notes.txt").read_text() == "precious"


def test_what_is_no_run_is_not_opened(program, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    said = program(
        "say(**{name: refused(ckptkit.open_run, run.parent / name) for name in ('nothing', "
        "'empty', 'file')})"
    )
    for name in ("nothing", "empty", "file"):
        expect(said[name], "CheckpointNotFoundError", tmp_path / name, "xpected")
    assert not (tmp_path / "nothing").exists()
    assert list((tmp_path / "empty").iterdir()) == []


# -- the machine


def test_without_permission_to_make_the_directory(program, tmp_path):
    _let_others_in(tmp_path)
    (tmp_path / "locked").mkdir(mode=0o755)
    (tmp_path / "locked").chmod(0o555)
    received = program("""
    machine.become_another_user()
    say(refused=refused(save, 1, where=run.parent / "locked" / "run"))
    """)["refused"]
    expect(received, "StorageError", tmp_path / "locked" / "run", "permission", errno="EACCES")


LOCK = {
    # What is made unwritable (or unreadable) between two attempts, and how.
    "the run": ("run", 0o555),
    "the checkpoints": ("run / 'checkpoints'", 0o555),
    "the journal": ("run / 'journal'", 0o555),
    "reading the run": ("run", 0o000),
    "reading the checkpoints": ("run / 'checkpoints'", 0o000),
    "reading the journal": ("run / 'journal'", 0o000),
}


@pytest.mark.parametrize("what", LOCK)
def test_without_permission_on_a_run_nothing_is_lost(program, tmp_path, what):
    _let_others_in(tmp_path)
    path, mode = LOCK[what]
    said = program(f"""
    machine.become_another_user()
    save(1, 2)
    ({path}).chmod({mode})
    weight.assign([-1, -1])
    received = refused(save, 3)
    value = weight.numpy().tolist()
    ({path}).chmod(0o755)
    say(refused=received, value=value, steps=manager().all_steps, step=restored())
    """)
    if said["refused"]["kind"] is None:  # what this start did not need to write
        assert said["steps"] == [1, 2, 3]
    else:
        expect(said["refused"], "StorageError", tmp_path / "run", "ermission", errno="EACCES")
        assert said["steps"] == [1, 2]
    assert said["step"] == said["steps"][-1]


@pytest.mark.parametrize("file", ["manifest.json", "ckpt-2.data-00000-of-00001", "ckpt-2.index"])
def test_a_checkpoint_that_this_user_may_not_read_is_not_taken_for_a_damaged_one(
    program, tmp_path, file
):
    _let_others_in(tmp_path)
    said = program(
        """
    machine.become_another_user()
    save(1, 2)
    path = run / "checkpoints" / "ckpt-2-1" / sys.argv[2]
    path.chmod(0o000)
    received = refused(restored)
    path.chmod(0o644)
    say(refused=received, step=restored())
    """,
        file,
    )
    expect(said["refused"], "StorageError", file, "ermission", errno="EACCES")
    assert said["step"] == 2


def _let_others_in(path: Path) -> None:
    """Another user may come to a test's directory, and write in it."""
    for parent in path.parents:
        if (
            os.access(parent, os.W_OK)
            and parent.stat().st_uid == os.getuid()
            and not parent.stat().st_mode & 0o001
        ):
            parent.chmod(parent.stat().st_mode | 0o011)
    path.chmod(0o777)


def test_a_file_system_that_became_read_only(program, tmp_path):
    said = program("""
    machine.small_disk(run.parent / "disk", 10_000_000)
    run = run.parent / "disk" / "run"
    save(1, 2, where=run)
    open_one = manager(run)
    open_one.restore_or_initialize()
    weight.assign([3, -3])
    machine.make_read_only(run.parent)
    during = refused(open_one.save, 3)
    refused(open_one.close)
    before = contents(run)
    at_start = refused(restored, run)
    say(during=during, at_start=at_start, same=contents(run) == before,
        steps=ckptkit.open_run(run).checkpoints[-1].step,
        new=refused(save, 1, where=run.parent / "new"))
    """)
    for received in (said["during"], said["at_start"], said["new"]):
        expect(
            received,
            "StorageError",
            tmp_path / "disk",
            "read-only",
            "another directory",
            errno="EROFS",
        )
    assert said["same"]
    assert said["steps"] == 2


def test_a_full_disk(program, tmp_path):
    said = program("""
    machine.small_disk(run.parent / "disk", 3_000_000)
    run = run.parent / "disk" / "run"
    big = tf.Variable(tf.zeros([300_000]))
    def both(**options):
        options = {"keep": ckptkit.KeepLatest(5), "background": False, **options}
        return ckptkit.CheckpointManager(run, {"weight": weight, "big": big}, **options)
    m = both()
    m.restore_or_initialize()
    for step in (1, 2):
        weight.assign([step, -step])
        big.assign(tf.fill([300_000], float(step)))  # or the checkpoints would share its file
        m.save(step)
    weight.assign([3, -3])
    big.assign(tf.fill([300_000], 3.0))
    full = refused(m.save, 3)
    again = refused(m.save, 3)
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    left = [name for name in names if not name.startswith("ckpt-")]
    steps = m.all_steps
    # With space again, the same attempt goes on.
    import shutil
    shutil.rmtree(run / "checkpoints" / "ckpt-1-1")
    m.save(3)
    m.close()
    weight.assign([-1, -1])
    m = both()
    step = m.restore_or_initialize().step
    m.close()
    say(full=full, again=again, left=left, steps=steps, step=step, value=weight.numpy().tolist())
    """)
    for received in (said["full"], said["again"]):
        expect(
            received,
            "StorageError",
            tmp_path / "disk" / "run",
            "space",
            "KeepLatest(1)",
            errno="ENOSPC",
        )
    assert said["left"] == ["checkpoint"]
    assert said["steps"] == [1, 2]
    assert said["step"] == 3
    assert said["value"] == [3.0, -3.0]


def test_a_disk_that_is_full_to_the_last_byte(program, tmp_path):
    said = program("""
    machine.small_disk(run.parent / "disk", 1_000_000)
    run = run.parent / "disk" / "run"
    save(1, 2, where=run)
    m = manager(run)
    m.restore_or_initialize()
    with open(run.parent / "filler", "wb") as file:
        try:
            while True:
                os.write(file.fileno(), bytes(4096))
        except OSError:
            pass
    during = refused(m.save, 3)
    refused(m.close)
    at_start = refused(restored, run)
    (run.parent / "filler").unlink()
    say(during=during, at_start=at_start, step=restored(run),
        damaged=list(ckptkit.open_run(run).journal_view.damaged))
    """)
    for received in (said["during"], said["at_start"]):
        expect(received, "StorageError", tmp_path / "disk" / "run", "space", errno="ENOSPC")
    assert said["step"] == 2


SEAM = """
    import threading
    from ckptkit.storage.files import FileSystem, storage_errors
    OPERATIONS = ("make_dir", "create", "replace_content", "append", "sync_file", "sync_dir",
                  "rename", "remove_file", "remove_tree")

    class Failing(FileSystem):
        '''Refuses the n-th operation of a kind, or that one and all after it.

        The n-th of all would be of another kind now and then: whether an event file has to make
        way depends on the second in which the one before it began.
        '''
        def __init__(self, kind, at, lasting):
            self.kind, self.count, self.at, self.lasting, self.reached = kind, 0, at, lasting, []

    def failing(name):
        def method(self, *args, **options):
            # That thread works at times of its own: the n-th operation would be another one each
            # time.
            if threading.current_thread().name == "ckptkit-tensorboard":
                return getattr(FileSystem, name)(self, *args, **options)
            self.count += name == self.kind
            if (self.lasting and self.reached) or (name == self.kind and self.count == self.at):
                self.reached.append(name)
                with storage_errors(name, args[0]):
                    raise OSError(number, os.strerror(number))
            return getattr(FileSystem, name)(self, *args, **options)
        return method

    for name in OPERATIONS:
        setattr(Failing, name, failing(name))

    import tenacity
    from ckptkit.writing import checkpoint_writer
    checkpoint_writer.WAIT = tenacity.wait_none()
    number = getattr(errno, sys.argv[2])
    lasting = sys.argv[3] == "lasting"
    import shutil
    problems, operations, kinds = [], [], set()
    left = [(name, 1) for name in OPERATIONS]
    while left:
        kind, at = left.pop()
        shutil.rmtree(run, ignore_errors=True)
        save(1, 2)
        files = Failing(kind, at, lasting)
        m = manager(files=files, keep=ckptkit.KeepLatest(2), background=sys.argv[4] == "background")
        def attempt():
            m.restore_or_initialize()
            weight.assign([3, -3])
            m.save(3)
            m.close()
        received = refused(attempt)
        refused(m.close)
        if not files.reached:
            continue
        left.append((kind, at + 1))
        operations.append(kind)
        kinds.add((received["kind"], received["errno"]))
        step = restored()
        if step not in (2, 3):
            problems.append([at, files.reached, "restored", step])
        if received["kind"] is None and step != 3:
            problems.append([at, files.reached, "no error, and not saved"])
        if received["kind"] and str(run) not in received["text"]:
            problems.append([at, files.reached, received["text"]])
        # And the run goes on.
        save(4)
        if restored() != 4:
            problems.append([at, files.reached, "does not go on"])
    say(problems=problems, count=len(operations), operations=sorted(set(operations)),
        kinds=sorted(map(str, kinds)))
"""


@pytest.mark.parametrize(
    ("where", "how", "number"),
    spread(
        [
            ("background", "once", "ENOSPC"),
            ("background", "lasting", "ENOSPC"),
            ("foreground", "lasting", "EIO"),
            ("foreground", "once", "EIO"),
            ("background", "once", "EIO"),
            ("background", "lasting", "EIO"),
            ("foreground", "lasting", "ENOSPC"),
            ("foreground", "once", "ENOSPC"),
        ],
        3,
    ),
)
def test_whatever_operation_is_refused_the_run_has_its_newest_state(program, number, how, where):
    said = program(SEAM, number, how, where)
    assert said["problems"] == []
    assert said["count"] >= 15, "each operation of an attempt was refused once"
    assert {
        "make_dir",
        "create",
        "append",
        "sync_file",
        "sync_dir",
        "rename",
        "replace_content",
        "remove_tree",
    } <= set(said["operations"])
    assert [kind for kind in said["kinds"] if number not in kind and kind != "(None, None)"] == []


@pytest.mark.parametrize("shortage", ["bytes", "inodes"])
def test_a_disk_that_the_save_of_a_killed_process_has_filled(program, shortage):
    """The next start removes what is left of that save, though it has no space for itself."""
    said = program(
        """
    machine.small_disk(run.parent / "disk", 2_000_000, inodes=300)
    run = run.parent / "disk" / "run"
    save(1, 2, where=run)
    writing = run / "checkpoints" / ".writing-1"
    writing.mkdir()
    try:
        if sys.argv[2] == "bytes":
            with open(writing / "ckpt-3.data-00000-of-00001", "wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        for number in range(1000):
            (writing / str(number)).touch()
    except OSError as error:
        full = error.strerror
    step = restored(run)
    hidden = sorted(path.name for path in (run / "checkpoints").glob(".*"))
    save(3, where=run)
    say(full=full, step=step, hidden=hidden, then=restored(run))
    """,
        shortage,
    )
    assert "No space" in said["full"]
    assert (said["step"], said["hidden"], said["then"]) == (2, [], 3)
