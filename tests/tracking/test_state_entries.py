"""Other entries of `state={...}`: Python objects, iterators, generators, and what is refused."""

from __future__ import annotations

import pytest

THINGS = """
    import random, sys
    import numpy as np, tensorflow as tf
    import ckptkit

    class Getting:
        def __init__(self): self.value = None
        def get_state(self): return self.value
        def set_state(self, state): self.value = state

    class Dict:
        def __init__(self): self.value = {}
        def state_dict(self): return {"value": self.value}
        def load_state_dict(self, state): self.value = state["value"]

    DTYPES = (
        "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
        "float16 float32 float64 complex64 complex128"
    ).split()
    run, what, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
    rng = np.random.default_rng(seed)
    generators = [
        np.random.default_rng(),
        np.random.Generator(np.random.Philox()),
        np.random.Generator(np.random.MT19937()),
        np.random.Generator(np.random.SFC64()),
    ]
    state = {
        "python": random.Random(),
        "generators": generators,
        "old": np.random.RandomState(),
        "tf_generator": tf.random.Generator.from_seed(1),
        "nested": {"a": [Getting(), {"b": Dict()}]},
        "getting": Getting(),
        "counter": tf.Variable(0),
    }
    def draw():
        return [
            state["python"].random(),
            *(generator.random() for generator in generators),
            state["old"].random_sample(),
            state["tf_generator"].uniform((2,)).numpy().tolist(),
        ]
    def arrays():
        made = {
            f"{dtype} {shape}": rng.integers(0, 256, (*shape, 16)).astype("uint8")
            for dtype in DTYPES
            for shape in [(), (2, 0), (3,)]
        }
        return {
            name: (array > 127 if name.startswith("bool") else array.view(name.split()[0]))
            for name, array in made.items()
        }
    def texts():
        return [
            {
                "n": [10**400, -1, float("nan"), float("inf"), True, None],
                "t": (1, ("a",)),
                3: b"\\0\\xff",
            },
            {(1, 2): {3}},
        ]

    expected = arrays()
    with ckptkit.CheckpointManager(run, state) as manager:
        if what == "save":
            draw()
            (
                state["nested"]["a"][0].value,
                state["nested"]["a"][1]["b"].value,
                state["getting"].value,
            ) = expected, texts(), 7
            state["counter"].assign(5)
            manager.save(1)
        else:
            assert manager.position.step == 1
            found = state["nested"]["a"][0].value
            assert list(found) == list(expected)
            for name in expected:
                assert found[name].dtype == expected[name].dtype, name
                assert found[name].shape == expected[name].shape, name
                assert found[name].tobytes() == expected[name].tobytes(), name
            assert repr(state["nested"]["a"][1]["b"].value) == repr(texts())
            assert (state["getting"].value, state["counter"].numpy()) == (7, 5)
        print(draw())
"""


def test_python_state_comes_back(tf_process, tmp_path, seed):
    saved = tf_process(THINGS, tmp_path / "run", "save", seed).check()
    restored = tf_process(THINGS, tmp_path / "run", "restore", seed).check()
    assert restored.stdout == saved.stdout
    assert len(saved.stdout) > 100


ITERATORS = """
    import sys
    import tensorflow as tf
    import ckptkit

    run, steps = sys.argv[1], int(sys.argv[2])
    shuffled = (
        tf.data.Dataset.range(50)
        .shuffle(20, seed=4)
        .map(lambda x: x * 2, num_parallel_calls=2)
        .repeat(2)
        .batch(3)
        .prefetch(2)
    )
    other = (
        tf.data.Dataset.range(100).shuffle(100).window(5).flat_map(lambda window: window.batch(5))
    )
    state = {
        "batches": iter(shuffled),
        "more": [iter(other), {"last": iter(tf.data.Dataset.range(100).cache())}],
        "done": tf.Variable(0),
    }
    with ckptkit.CheckpointManager(run, state, save=ckptkit.EveryNSteps(1000)) as manager:
        for step in manager.steps(1000):
            if step > steps:
                break
            print(
                step,
                next(state["batches"]).numpy(),
                next(state["more"][0]).numpy(),
                next(state["more"][1]["last"]).numpy(),
            )
"""


def test_iterators_resume_with_the_next_batch(tf_process, tmp_path):
    first = tf_process(ITERATORS, tmp_path / "run", 7).check().stdout
    second = tf_process(ITERATORS, tmp_path / "run", 15).check().stdout
    copy = tmp_path / "again"
    whole = tf_process(ITERATORS, copy, 15).check().stdout
    lines = (first + second).splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(1, 16))
    # The second pipeline shuffles without a seed: over both attempts it must give every number
    # once.
    assert [line.split("]")[0] for line in lines] == [
        line.split("]")[0] for line in whole.splitlines()
    ]
    drawn = [int(number) for line in lines for number in line.split("[")[2].split("]")[0].split()]
    assert len(drawn) == len(set(drawn)) == 75
    assert [int(line.split()[-1]) for line in lines] == list(range(15))


NOT_SAVED = {
    # An expression, and what the message has to say.
    "tf.data.Dataset.range(3)": ["state['x']", "iter(dataset)"],
    "tf.constant(1.0)": ["state['x']", "tf.Variable"],
    "lambda: 1": ["state['x']", "function"],
    "keras.Model": ["state['x']", "class"],
    "tf.Module": ["state['x']", "class"],
    "tf.function(lambda: 1)": ["state['x']", "function"],
    "3": ["state['x']", "int"],
    "None": ["state['x']", "NoneType"],
    "[]": ["state['x']"],
    "{}": ["state['x']"],
    "[tf.Variable(1.0), 3]": ["state['x']", "[1]", "int"],
    "{'a': [tf.data.Dataset.range(3)]}": ["state['x']", "['a'][0]", "iter(dataset)"],
    "keras.callbacks.Callback()": ["state['x']", "Callback"],
    "iter([1])": ["state['x']", "list_iterator"],
    "tf.Module()": ["state['x']", "no variable"],
    "tf.train.Checkpoint()": ["state['x']", "no variable"],
    "keras.layers.Dense(3)": ["state['x']", "build"],
    "keras.Sequential([keras.layers.Dense(3)])": ["state['x']", "build"],
    "keras.optimizers.Adam()": ["x", "build"],
    "[keras.Sequential([keras.layers.Dense(3)])]": ["state['x']", "build"],
    "{'m': keras.layers.Dense(3), 'v': tf.Variable(0.0)}": ["state['x']", "build"],
}

REFUSE = """
    import json, sys
    import keras, tensorflow as tf
    import ckptkit
    for index, text in enumerate(json.loads(sys.argv[2])):
        try:
            with ckptkit.CheckpointManager(
                f"{sys.argv[1]}/{index}", {"x": eval(text), "y": tf.Variable(1.0)}
            ) as manager:
                manager.save(1)
        except ckptkit.ConfigError as error:
            print(json.dumps([text, str(error)]))
        else:
            print(json.dumps([text, None]))
"""


def test_an_unsavable_entry_is_an_error_that_names_it(tf_process, tmp_path):
    import json

    process = tf_process(REFUSE, tmp_path, json.dumps(list(NOT_SAVED))).check()
    result = dict(json.loads(line) for line in process.stdout.splitlines())
    assert [text for text, message in result.items() if message is None] == [], "saved in silence"
    assert {
        text: [word for word in NOT_SAVED[text] if word not in result[text]] for text in NOT_SAVED
    } == {text: [] for text in NOT_SAVED}


@pytest.mark.parametrize(
    "name", ["", "a/b", "a.b", "1a", "a b", "save", "restore", "root", "é", "process", "fit"]
)
def test_a_name_that_cannot_be_part_of_a_key_is_refused(tf_process, tmp_path, name):
    process = tf_process(
        """
        import sys, tensorflow as tf, ckptkit
        try:
            ckptkit.CheckpointManager(sys.argv[1], {sys.argv[2]: tf.Variable(1.0)})
        except ckptkit.ConfigError as error:
            print(error)
    """,
        tmp_path / "run",
        name,
    ).check()
    assert repr(name) in process.stdout


def test_an_error_while_saving_names_the_entry_and_loses_no_checkpoint(tf_process, tmp_path):
    process = tf_process(
        """
        import sys, tensorflow as tf, ckptkit
        class Odd:
            value = 1
            def get_state(self): return {"a": [self.value]}
            def set_state(self, state): self.value = state["a"][0]
        def numbers():
            yield 1
            yield 2
        odd = Odd()
        with ckptkit.CheckpointManager(
            sys.argv[1] + "/a", {"v": tf.Variable(1.0), "odd": [odd]}
        ) as manager:
            manager.save(1)
            odd.value = object()
            try:
                manager.save(2)
            except ckptkit.ConfigError as error:
                print("1:", error)
            assert manager.all_steps == [1]
            odd.value = 3
            manager.save(3)
        from_python = iter(
            tf.data.Dataset.from_generator(numbers, output_signature=tf.TensorSpec((), tf.int32))
        )
        try:
            with ckptkit.CheckpointManager(
                sys.argv[1] + "/b", {"v": tf.Variable(1.0), "batches": from_python}
            ) as manager:
                manager.save(1)
        except ckptkit.ConfigError as error:
            print("2:", error)
        assert not manager.all_steps
    """,
        tmp_path / "run",
    ).check()
    first, second = process.stdout.splitlines()[:2]
    assert all(word in first for word in ("odd.0", "['a'][0]", "builtins.object"))
    assert "batches" in second
    assert "iterator" in second
