"""What TensorFlow's errors say about its files, and paths that it would take for patterns."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest

START = """
    import errno, json, os, string, sys
    from pathlib import Path
    from types import SimpleNamespace
    import numpy as np, tensorflow as tf
    import ckptkit
    from ckptkit.run.manifest import TensorEntry
    from ckptkit.bundle import tensor_bundle
    from ckptkit.bundle.tensor_bundle import judging_tensorflow

    here = Path(sys.argv[1])
    KEY = "model/weights/0"
    FULL = KEY + tensor_bundle.SUFFIX
    ENTRY = TensorEntry(key=KEY, kind="variable", path="x", shape=(1000,), dtype="float32")


    def written(directory, name="ckpt-3"):
        directory.mkdir(parents=True, exist_ok=True)
        snapshot = SimpleNamespace(tensors={KEY: (ENTRY, tf.range(1000, dtype=tf.float32))})
        tensor_bundle.write_tensors(snapshot, directory, 3, {})
        for path in directory.glob("ckpt-3.*"):
            path.rename(directory / path.name.replace("ckpt-3", name))
        return directory / name


    def values(prefix):
        reader = tensor_bundle.open_reader(prefix)
        by_reader = tensor_bundle.read_value(reader, prefix, FULL)
        (by_operation,) = tensor_bundle.read_tensors(prefix, [ENTRY])
        assert (by_reader == by_operation.numpy()).all()
        return by_reader.tolist()


    def outcome(action):
        try:
            action()
        except ckptkit.CorruptCheckpointError as error:
            return error.damage
        except ckptkit.StorageError as error:
            return errno.errorcode[error.errno]
        return "read"


    def outcomes(prefix):
        def by_reader():
            tensor_bundle.read_value(tensor_bundle.open_reader(prefix), prefix, FULL)

        return [outcome(lambda: tensor_bundle.read_tensors(prefix, [ENTRY])), outcome(by_reader)]
"""


@pytest.fixture
def program(tf_process, tmp_path):
    def run(text):
        process = tf_process(dedent(START) + dedent(text), tmp_path).check()
        return json.loads(process.stdout.splitlines()[-1])

    return run


def test_every_printable_sign_in_a_path_is_read_and_written(program):
    result = program("""
    signs = [each for each in string.printable if each != "/"]
    names = [*(f"q{each}q" for each in signs), "lr=[0.1]", "[!a]", "{a,b}", "ü-模", "%41", "x*y?"]
    wrong = []
    for number, name in enumerate(names):
        for prefix in (written(here / name), written(here / str(number), name=name)):
            if outcome(lambda: values(prefix)) != "read" or values(prefix)[7] != 7:
                wrong.append(str(prefix))
    print(json.dumps([len(names), wrong, os.listdir("/proc/self/fd")]))
    """)
    assert result[0] == 105
    assert result[1] == []


def test_damaged_files_are_damage_and_good_ones_without_descriptors_are_not(program):
    result = program("""
    import resource
    found = {}
    for odd in ("plain", "lr=[0.1]"):
        prefix = written(here / odd)
        index = prefix.with_name("ckpt-3.index")
        data = prefix.with_name("ckpt-3.data-00000-of-00001")
        whole = {path: path.read_bytes() for path in (index, data)}

        def damaged(name, action):
            action()
            found[f"{name} {odd}"] = outcomes(prefix)
            for path, content in whole.items():
                if path.is_dir():
                    path.rmdir()
                path.write_bytes(content)

        for path in (index, data):
            content = whole[path]
            middle = len(content) // 2
            half = content[:middle]
            at = 0 if path == index else middle  # the end of the index is not checked
            flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
            damaged(f"half of {path.suffix[:5]}", lambda: path.write_bytes(half))
            damaged(f"flipped {path.suffix[:5]}", lambda: path.write_bytes(flipped))
            damaged(f"no {path.suffix[:5]}", path.unlink)
            damaged(f"directory {path.suffix[:5]}", lambda: (path.unlink(), path.mkdir()))
        found[f"good {odd}"] = outcomes(prefix)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    for odd in ("plain", "lr=[0.1]"):
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        few = found[f"few {odd}"] = []
        while taken and few[-2:] != ["read", "read"]:
            few += outcomes(here / odd / "ckpt-3")
            os.close(taken.pop())
        for descriptor in taken:
            os.close(descriptor)
    print(json.dumps(found))
    """)
    for odd in ("plain", "lr=[0.1]"):
        few = result.pop(f"few {odd}")
        assert "EMFILE" in few
        assert set(few) == {"EMFILE", "read"}
        assert result.pop(f"good {odd}") == ["read", "read"]
        for part in (".inde", ".data"):
            assert result.pop(f"no {part} {odd}") == ["missing", "missing"]
            for kind in ("half of", "flipped", "directory"):
                assert result.pop(f"{kind} {part} {odd}") == ["unreadable"] * 2, (kind, part)
    assert result == {}


def test_no_error_of_the_system_is_damage_whatever_type_tensorflow_gives_it(program):
    result = program("""
    prefix = written(here / "run")
    data = f"{prefix}.data-00000-of-00001"
    kinds = [
        kind
        for kind in vars(tf.errors).values()
        if isinstance(kind, type) and issubclass(kind, tf.errors.OpError)
        and kind is not tf.errors.OpError
    ]
    wrong, tried = [], 0
    for number in errno.errorcode:
        for end in ("", " [Op:RestoreV2]", ": perhaps your file is in a different format"):
            text = f"{data}; {os.strerror(number)}{end}"
            errors = [
                *(kind(None, None, text) for kind in kinds),
                tf.errors.OpError(None, None, text, tf.errors.UNKNOWN),
                *(kind(text) for kind in (RuntimeError, IndexError, ValueError)),
                OSError(number, os.strerror(number), data),
            ]
            for error in errors:
                tried += 1

                def fail():
                    with judging_tensorflow(prefix):
                        raise error

                if outcome(fail) != errno.errorcode[number]:
                    wrong.append([type(error).__name__, text, outcome(fail)])
    for error in (
        MemoryError(),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
        tf.errors.NotFoundError(None, None, "Failed to find any matching files for x"),
        tf.errors.UnavailableError(None, None, "try again"),
        tf.errors.InternalError(None, None, "a bug"),
        RuntimeError("anything"),
    ):

        def fail():
            with judging_tensorflow(prefix):
                raise error

        if outcome(fail) not in ("ENOMEM", "EIO"):
            wrong.append([type(error).__name__, str(error), outcome(fail)])
    print(json.dumps([tried, wrong]))
    """)
    assert result[0] > 1000
    assert result[1] == []
