"""Each name in `ckptkit/compat/` does what the package relies on, in this version of TensorFlow and
Keras.

They are private there, so any version may change them: then the check of that name fails, and says
which version that is.
"""

from __future__ import annotations

import ast
from importlib.metadata import version

import pytest

from tests.support.processes import ROOT

START = """
import json, sys
import keras, numpy as np, tensorflow as tf
from keras import layers
from ckptkit.compat import keras_fit, keras_models, keras_saving, object_attributes, tensorboard_callback, tf_checkpoint, tf_data, tf_functions, tf_random, tf_summary

def model(*parts, **options):
    made = keras.Sequential([keras.Input((4,)), *(parts or (layers.Dense(3), layers.Dense(1)))])
    made.compile(**{"optimizer": "adam", "loss": "mse", **options})
    return made

x, y = np.ones((8, 4), "float32"), np.zeros((8, 1), "float32")
"""

CHECKS = {
    "StagedTensor": """
prefix = tf.train.Checkpoint(a=tf_checkpoint.StagedTensor(tf.constant([1, 2])), it=tf_checkpoint.StagedTensor(
    tf_checkpoint.serialize(iter(tf.data.Dataset.range(3)))["_STATE"])).write("made")
assert tf.train.load_checkpoint(prefix).get_tensor("a/.ATTRIBUTES/VARIABLE_VALUE").tolist() == [1, 2]
assert tf.train.list_variables(prefix) and tf.raw_ops.RestoreV2(
    prefix=prefix, tensor_names=["it/.ATTRIBUTES/VARIABLE_VALUE"], shape_and_slices=[""], dtypes=[tf.variant])
""",
    "serializes": """
tables = [tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0),
          tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, 0, empty_key=-1, deleted_key=-2)]
assert all(map(tf_checkpoint.serializes, [*tables, iter(tf.data.Dataset.range(3))]))
without = [tf.Module(), tf.train.Checkpoint(), tf.random.Generator.from_seed(1), keras.layers.Dense(1), keras.optimizers.Adam()]
assert not any(map(tf_checkpoint.serializes, without))
""",
    "serialize": """
table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0)
table.insert([3], [4])
assert {tuple(tensor.numpy()) for tensor in tf_checkpoint.serialize(table).values()} == {(3,), (4,)}
""",
    "deserialize": """
table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0)
table.insert([3], [4])
values = tf_checkpoint.serialize(table)
table.insert([5], [6])
tf_checkpoint.deserialize(table, values)
assert [tensor.numpy().tolist() for tensor in table.export()] == [[3], [4]]
iterator = iter(tf.data.Dataset.range(9))
next(iterator)
values = tf_checkpoint.serialize(iterator)
next(iterator), next(iterator)
tf_checkpoint.deserialize(iterator, values)
assert next(iterator).numpy() == 1
""",
    "dataset_of": """
dataset = tf.data.Dataset.range(3)
assert tf_data.dataset_of(iter(dataset)) is dataset
""",
    "iterator_of": """
iterator, batches = iter(tf.data.Dataset.range(3)), tf.data.Dataset.range(3).as_numpy_iterator()
assert tf_data.iterator_of(iterator) is iterator
assert isinstance(tf_data.iterator_of(batches), tf.data.Iterator)
assert tf_data.iterator_of(model()) is tf_data.iterator_of(tf.Variable(1)) is None
""",
    "Stage": """
assert tf_data.Stage("RangeDataset") == tf_data.stage_of(tf.data.Dataset.range(3))
""",
    "stage_of": """
def kinds(stage):
    return [stage.kind, *(kind for each in stage.inputs for kind in kinds(each))]
first = tf.data.Dataset.range(9)
chain = first.shuffle(3).map(lambda x: x).batch(2).prefetch(1)
assert kinds(tf_data.stage_of(chain)) == ["PrefetchDataset", "BatchDataset", "MapDataset", "ShuffleDataset", "RangeDataset"]
assert kinds(tf_data.stage_of(tf.data.Dataset.zip(first, first.repeat(2)))) == ["ZipDataset", "RangeDataset", "RepeatDataset", "RangeDataset"]
assert kinds(tf_data.stage_of(first.concatenate(first.cache()))) == ["ConcatenateDataset", "RangeDataset", "CacheDataset", "RangeDataset"]
# What functions use and draw.
used = first.shuffle(4)
def random(x): return tf.random.uniform(())
@tf.function
def inner(x): return tf.cond(x > 1, lambda: random(x), lambda: 0.0)
class Has:
    held = used
    def own(self, i): return self.held
for made, kind, inside, drawn in (
        (first.flat_map(lambda i: used), "FlatMapDataset", (tf_data.stage_of(used),), ()),
        (first.interleave(lambda i: first.shard(2, 0), cycle_length=2), "InterleaveDataset", (tf_data.stage_of(first),), ()),
        (first.flat_map(lambda i: tf.data.Dataset.range(3).shuffle(2)), "FlatMapDataset", (), ()),
        (first.flat_map(Has().own), "FlatMapDataset", (None,), ()),
        (first.map(lambda i: used.reduce(i, tf.add)), "MapDataset", (tf_data.stage_of(used),), ()),
        (first.map(random), "MapDataset", (), ("RandomUniform",)),
        (first.map(inner, num_parallel_calls=2), "ParallelMapDataset", (), ("RandomUniform",)),
        (first.flat_map(lambda i: tf.data.Dataset.range(3).map(random)), "FlatMapDataset", (), ("RandomUniform",)),
        (first.window(3).flat_map(lambda rows: rows.batch(3)), "FlatMapDataset", (), ())):
    stage = tf_data.stage_of(made)
    assert (stage.kind, stage.inside, stage.random, stage.once) == (kind, inside, drawn, False), stage
assert tf_data.stage_of(tf.data.Dataset.range(1).map(random)).once
# Keras draws the order of arrays in one call, or that of each batch in one of its own.
class Look(keras.callbacks.Callback):
    def on_train_begin(self, logs=None): self.dataset = keras_fit.fit_call(self).epoch_iterator._distributed_dataset
def drawing(stage):
    return [(each, stage.once) for each in stage.random] + [each for below in stage.inputs for each in drawing(below)]
for shuffle, drawn in ((True, [("RandomShuffle", True)]), (False, []), ("batch", [("RandomShuffle", False)])):
    look = Look()
    model().fit(x, y, shuffle=shuffle, verbose=0, callbacks=[look])
    assert drawing(tf_data.stage_of(look.dataset)) == drawn, drawing(tf_data.stage_of(look.dataset))
""",
    "describe_pipeline": """
def stages(batch=4, buffer=10, prefetch=True):
    dataset = tf.data.Dataset.range(99).shuffle(buffer).map(lambda x: x).batch(batch).repeat(2)
    return tf_data.describe_pipeline(dataset.prefetch(1) if prefetch else dataset)
assert stages() == stages()
assert len({tuple(stages()), tuple(stages(batch=8)), tuple(stages(buffer=11)), tuple(stages(prefetch=False))}) == 4
assert [word for word in ("batch_size=4", "buffer_size=10", "count=2") if word not in " ".join(stages())] == []
""",
    "stateful_random_ops": """
class Noise(layers.Layer):
    def call(self, x): return x + tf.random.normal(tf.shape(x)) + tf.random.uniform(tf.shape(x))
found = []
for made in (model(), model(layers.Dropout(0.5), layers.Dense(1)), model(Noise(), layers.Dense(1))):
    made.fit(x, y, verbose=0)
    found.append(tf_random.stateful_random_ops(made.train_function))
assert found == [[], [], ["RandomStandardNormal", "RandomUniform"]], found
""",
    "EagerOperations": """
class Noise(layers.Layer):
    def call(self, x): return x + tf.random.normal(tf.shape(x))
found = []
for made in (model(), model(layers.Dropout(0.5), layers.Dense(1)), model(Noise(), layers.Dense(1))):
    made.compile("adam", "mse", run_eagerly=True)
    made.make_train_function()
    with tf_random.EagerOperations() as operations:
        made.train_function(iter(tf.data.Dataset.from_tensors((x, y))))
    found.append(sorted(operations.random))
    made.train_function(iter(tf.data.Dataset.from_tensors((x, y))))
    assert sorted(operations.random) == found[-1]
assert found == [[], [], ["RandomStandardNormal"]], found
with tf_random.EagerOperations() as operations: tf.random.normal((2,))
assert operations.random == {"RandomStandardNormal"}
operations.random.clear()
tf.random.normal((2,))
assert operations.random == set(), "it listens in its block only"
""",
    "unseeded_random_ops": """
numbers = tf.data.Dataset.range(3)
def draw(seed): return lambda x: tf.random.uniform([], seed=seed) + tf.cast(x, tf.float32)
def inner(x): return numbers.map(draw(None))
assert tf_data.unseeded_random_ops(numbers.map(lambda x: x).shuffle(3).batch(2)) == []
assert tf_data.unseeded_random_ops(numbers.map(draw(3)).batch(2)) == []
assert tf_data.unseeded_random_ops(numbers.map(draw(None)).batch(2)) == ["RandomUniform"]
assert tf_data.unseeded_random_ops(numbers.interleave(inner)) == ["RandomUniform"]
tf.random.set_seed(3)
assert tf_data.unseeded_random_ops(numbers.map(draw(None)).batch(2)) == []
""",
    "shuffles_in": """
def state(dataset, drawn):
    iterator = iter(dataset)
    for _ in range(drawn): next(iterator)
    (value,) = tf_checkpoint.serialize(iterator).values()
    return tf_data.shuffles_in(value)
numbers = tf.data.Dataset.range(9)
assert state(numbers.batch(2), 1) == 0
assert state(numbers.shuffle(4), 1) == 1
assert state(numbers.shuffle(4).shuffle(4), 1) == 2
""",
    "is_trackable": """
assert all(map(tf_checkpoint.is_trackable, [tf.Module(), tf.train.Checkpoint(), tf.Variable(1.0), iter(tf.data.Dataset.range(3)),
    tf.random.Generator.from_seed(1), tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0)]))
assert not any(map(tf_checkpoint.is_trackable, [object(), 3, lambda: 1, np.zeros(1), tf.constant(1)]))
""",
    "layers_of": """
class Nested(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = [layers.Dense(1), {"a": layers.Dropout(0.1)}]
        self.inner = keras.Sequential([layers.ReLU()])
nested = Nested()
found = keras_models.layers_of(nested)
assert found[0] is nested
assert {type(layer).__name__ for layer in found} >= {"Nested", "Dense", "Dropout", "Sequential", "ReLU"}
""",
    "seed_generators_of": """
dropout = layers.Dropout(0.5)
(generator,) = keras_models.seed_generators_of(dropout)
assert generator.state is dropout.seed_generator.state is dropout.variables[0]
assert keras_models.seed_generators_of(layers.Dense(1)) == []
""",
    "uninitialized": """
assert not tf_checkpoint.uninitialized(keras.Variable(1.0))
with keras.StatelessScope():
    deferred = keras.Variable(keras.initializers.Ones(), shape=(2,), dtype="float32")
    assert tf_checkpoint.uninitialized(deferred)
assert not tf_checkpoint.uninitialized(deferred)
""",
    "build_from_spec": """
made = keras.Sequential([layers.Dense(3), layers.Dense(1)])
made.compile("adam", "mse", metrics=["mae", keras.metrics.MeanSquaredError()])
assert not made.built
keras_models.build_from_spec(made, tf.data.Dataset.from_tensors((x, y)).element_spec)
assert made.built and made.optimizer.built and keras_models.compile_metrics_built(made)
names = [variable.path for variable in (*made.variables, *made.optimizer.variables, *made.metrics_variables)]
assert made.optimizer.iterations.numpy() == 0
made.train_on_batch(x, y)
assert names == [variable.path for variable in (*made.variables, *made.optimizer.variables, *made.metrics_variables)]
""",
    "input_signature": """
signature = tf.nest.flatten(keras_models.input_signature(model()))
assert [tuple(spec.shape) for spec in signature] == [(None, 4)]
""",
    "declares_inputs": """
class Own(keras.Model): call = lambda self, inputs: inputs
lazy = keras.Sequential([keras.layers.Dense(1)])
given = keras.Input((2,))
assert [keras_models.declares_inputs(each) for each in (model(), keras.Model(given, given), Own(), lazy)] == [True, True, False, False]
lazy(np.ones((2, 3)))
assert keras_models.declares_inputs(lazy)
""",
    "computes_in_16_bits": """
inner = tf.function(lambda x: tf.cast(tf.cast(x, tf.bfloat16) * 2, tf.float32))
spec = tf.TensorSpec([None], tf.float32)
assert tf_functions.computes_in_16_bits(tf.function(lambda x: inner(x) + 1).get_concrete_function(spec))
assert not tf_functions.computes_in_16_bits(tf.function(lambda x: x + 1).get_concrete_function(spec))
""",
    "rows_in_memory": """
class Look(keras.callbacks.Callback):
    def on_train_begin(self, logs=None): self.seen = keras_fit.rows_in_memory(keras_fit.fit_call(self))
look, made = Look(), model()
rows = np.random.default_rng().normal(size=(10, 4)).astype("float32")
for data, size, expected in (((rows, rows[:, :2]), 4, 2), ((rows, rows[:, :2]), 5, 5), ((rows, rows[:, :2]), 64, 10)):
    made.fit(*data, batch_size=size, verbose=0, callbacks=[look])
    assert (look.seen == rows[10 - expected:]).all() and len(look.seen) == expected, (size, look.seen)
made.fit(tf.data.Dataset.from_tensor_slices((rows, rows[:, :2])).batch(5), verbose=0, callbacks=[look])
assert look.seen is None
""",
    "set_call_counts": """
import glob
class On(keras.callbacks.Callback):
    def on_train_begin(self, logs=None): tensorboard_callback.set_call_counts(tensorboard, 40, 7)
tensorboard = keras.callbacks.TensorBoard("logs", update_freq=1)
model().fit(x, y, batch_size=4, verbose=0, validation_data=(x, y), callbacks=[tensorboard, On()])
assert tensorboard._global_train_batch == 42 and tensorboard._global_test_batch == 9, vars(tensorboard)
steps = {event.step for file in glob.glob("logs/train/*tfevents*") for event in tf.compat.v1.train.summary_iterator(file)
         for value in event.summary.value if value.tag == "batch_loss"}
assert steps == {41, 42}, steps
tensorboard = keras.callbacks.TensorBoard("logs", write_steps_per_second=True)
model().fit(x, y, verbose=0, callbacks=[tensorboard])
assert set(tensorboard_callback.PROCESS_ATTRIBUTES) <= set(vars(tensorboard)), set(tensorboard_callback.PROCESS_ATTRIBUTES) - set(vars(tensorboard))
""",
    "close_writers": """
import psutil
def opened(): return [file.path for file in psutil.Process().open_files() if "tfevents" in file.path]
for freq, event in ((1, "on_train_batch_end"), (1, "on_test_batch_end"), ("epoch", "on_train_batch_end")):
    fails, tensorboard = keras.callbacks.Callback(), keras.callbacks.TensorBoard("logs", update_freq=freq)
    def fail(batch, logs=None): raise InterruptedError
    setattr(fails, event, fail)
    try: model().fit(x, y, batch_size=4, verbose=0, validation_data=(x, y), callbacks=[tensorboard, fails])
    except InterruptedError: pass
    assert opened()
    tensorboard_callback.close_writers(tensorboard)
    assert opened() == [], (freq, event)
    with tf.summary.record_if(True): assert not tf.summary.scalar("nobody", 1.0, step=1)
""",
    "measure_steps_per_second_from_here": """
made = model()
made.fit(x, y, batch_size=4, verbose=0)
for measures in (True, False):
    tensorboard = keras.callbacks.TensorBoard("logs", write_steps_per_second=measures)
    tensorboard.set_model(made)
    tensorboard_callback.measure_steps_per_second_from_here(tensorboard)
    assert float(tensorboard._previous_epoch_iterations) == (2.0 if measures else 0.0)
""",
    "set_initial_epoch": """
seen = []
class Begin(keras.callbacks.Callback):
    def on_train_begin(self, logs=None): keras_fit.set_initial_epoch(self.model, at)
    def on_epoch_begin(self, epoch, logs=None): seen.append(epoch)
made = model()
for at, given in ((2, 0), (0, 3), (None, 3), (4, 0)):
    seen.clear()
    made.fit(x, y, epochs=4, initial_epoch=given, verbose=0, callbacks=[Begin()])
    assert seen == list(range(given if at is None else at, 4)), (at, given, seen)
    keras_fit.set_initial_epoch(made, None)
""",
    "skip_evaluation": """
made, calls = model(), []
class Skip(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None): self.epoch = epoch
    def on_test_begin(self, logs=None):
        original = self.model.test_function
        def test(iterator):
            if self.epoch: return original(iterator)
            keras_fit.skip_evaluation(self.model)
            return {}
        self.model.test_function, self.original = test, original
    def on_test_batch_end(self, batch, logs=None): calls.append((self.epoch, batch))
    def on_test_end(self, logs=None): self.model.test_function = self.original
rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
for validation in (rows, rows.filter(lambda a, b: True)):
    for steps in ({}, {"validation_steps": 2}):
        calls.clear()
        made.fit(x, y, epochs=2, verbose=0, validation_data=validation, callbacks=[Skip()], **steps)
        assert calls == [(0, 0), (1, 0), (1, 1)], (calls, steps)
""",
    "leave_out": """
class Jump(keras.callbacks.Callback):
    def on_train_begin(self, logs=None): self.iterator = keras_fit.fit_call(self).epoch_iterator
    def on_epoch_begin(self, epoch, logs=None): self.seen.append([])
    def on_train_batch_end(self, batch, logs=None):
        self.seen[-1].append(batch)
        if batch < each: self.left.append(keras_fit.leave_out(self.iterator, calls))
jump, rows = Jump(), tf.data.Dataset.from_tensor_slices((np.ones((18, 4), "float32"), np.ones((18, 1), "float32"))).batch(2, True)
for each in (1, 2):
    for data, steps in ((rows, None), (rows.repeat(), 9)):
        for calls in (3, 0, 50):  # the last is more than there are
            jump.seen, jump.left = [], []
            model(steps_per_execution=each).fit(data, epochs=2, steps_per_epoch=steps, verbose=0, callbacks=[jump])
            ends = [each - 1, *range(each * (calls + 2) - 1, 9 + each - 1, each)]
            assert jump.seen == [ends, ends] and jump.left == [min(calls, -(-9 // each) - 1)] * 2, (jump.seen, jump.left, ends)
jump.seen, jump.left, each, calls = [], [], 1, 3
model().fit(rows.filter(lambda a, b: True), verbose=0, callbacks=[jump])  # of unknown length: none of the batches is drawn for what is left out
assert jump.seen == [[0, *range(4, 12)]] and jump.left == [3], (jump.seen, jump.left)
""",
    "evaluation_iterator": """
class Look(keras.callbacks.Callback):
    def on_train_begin(self, logs=None): assert keras_fit.evaluation_iterator() is None
    def on_test_begin(self, logs=None): made.append(keras_fit.evaluation_iterator())
    def on_test_batch_end(self, batch, logs=None):
        batches.append(batch)
        if batch == 0: assert keras_fit.leave_out(made[-1], 2) == 2
class Own(keras.Sequential):
    def evaluate(self, *data, **options):
        options.pop("_use_cached_eval_dataset", None)
        return super().evaluate(*data, **options)
class Loop(keras.Sequential):
    def evaluate(self, *data, callbacks, **options):
        callbacks.on_test_begin()
        return {"loss": 1.0}
for kind, seen in ((keras.Sequential, 2), (Own, 2), (Loop, 0)):
    batches, made = [], []
    own = kind([keras.Input((4,)), layers.Dense(1)])
    own.compile("adam", "mse")
    own.fit(x, y, epochs=2, batch_size=2, verbose=0, validation_data=(x, y), validation_batch_size=2, callbacks=[Look()])
    assert batches == [0, 3] * seen, batches
    assert [each is not None for each in made] == [bool(seen)] * 2, made
assert keras_fit.leave_out(None, 3) == 0
""",
    "global_seed": """
import random
before = random.getstate()
assert tf_random.global_seed() is None
assert random.getstate() == before
keras.utils.set_random_seed(3)
first = keras.random.uniform((2,)).numpy()
state = tf_random.global_seed()
second = keras.random.uniform((2,)).numpy()
tf_random.set_global_seed(state)
assert (keras.random.uniform((2,)).numpy() == second).all() and (first != second).all()
""",
    "set_global_seed": """
keras.random.uniform((2,))
state = tf_random.global_seed()
after = keras.random.uniform((2,)).numpy()
keras.utils.clear_session()
tf_random.set_global_seed(state)
assert (tf_random.global_seed() == state).all()
assert (keras.random.uniform((2,)).numpy() == after).all()
""",
    "arguments_of_loss": """
assert keras_models.arguments_of_loss(keras.losses.Huber(delta=3.0)) == {"delta": 3.0}
assert keras_models.arguments_of_loss(keras.losses.BinaryCrossentropy(label_smoothing=0.25))["label_smoothing"] == 0.25
assert keras_models.arguments_of_loss("mse") == keras_models.arguments_of_loss(keras.losses.mean_squared_error) == {}
""",
    "compile_metrics_built": """
made = model(metrics=["mae"])
assert not keras_models.compile_metrics_built(made)
made.test_on_batch(x, y)
assert keras_models.compile_metrics_built(made)
assert keras_models.compile_metrics_built(model())
assert keras_models.compile_metrics_built(keras.Sequential([layers.Dense(1)]))
""",
    "FitCall": """
assert keras_fit.FitCall() == keras_fit.FitCall(None, 0, None, None, None)
""",
    "fit_call": """
seen = []
class Look(keras.callbacks.Callback):
    def on_train_begin(self, logs=None): seen.append(keras_fit.fit_call(self))
made, look, other = model(), Look(), keras.callbacks.Callback()
dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
made.fit(dataset.prefetch(1), verbose=0, initial_epoch=1, epochs=2, callbacks=[other, look])
made.fit(x, y, batch_size=4, verbose=0, callbacks=[look])
look.set_model(made)
look.on_train_begin()
of_dataset, of_arrays, of_nothing = seen
assert {type(callback).__name__ for callback in of_dataset.callback_list.callbacks} >= {"Look", "Callback", "History"}
assert (of_dataset.initial_epoch, of_dataset.batch_size, of_arrays.initial_epoch, of_arrays.batch_size) == (1, 2, 0, 4)
assert of_dataset.element_spec[0].shape.as_list() == [None, 4] and of_arrays.element_spec[0].shape.as_list()[1:] == [4]
assert of_dataset.epoch_iterator is not None
assert of_nothing == keras_fit.FitCall()
""",
    "new_iterator": """
seen = []
class Look(keras.callbacks.Callback):
    def on_train_begin(self, logs=None): seen.extend(keras_fit.new_iterator(keras_fit.fit_call(self)))
made = model()
made.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(2), verbose=0, callbacks=[Look()])
assert len(seen) == len(x) // 2 and seen[0][0].shape == (2, 4)
""",
    "variables_reader": """
dense, sparse, none = tf.Variable(tf.zeros((1000, 4))), tf.Variable(tf.zeros((1000, 4))), tf.Variable(7, dtype=tf.int64)
sparse.scatter_update(tf.IndexedSlices(tf.ones((1, 4)), [3]))  # from now on it is updated in place, and copied on reading
read = tf_checkpoint.variables_reader([dense, sparse, none])
values = read()
dense.assign_add(tf.ones((1000, 4)))
sparse.scatter_update(tf.IndexedSlices(tf.ones((1, 4)), [5]))
none.assign(8)
assert [int(tf.reduce_sum(value)) for value in values] == [0, 4, 7] and values[2].dtype == tf.int64
assert [int(tf.reduce_sum(value)) for value in read()] == [4000, 8, 8]
assert tf_checkpoint.variables_reader([])() == []
""",
    "slots_of": """
class Slotted:
    __slots__ = ("a", "__weakref__")
class More(Slotted):
    __slots__ = "b"
assert set(object_attributes.slots_of(More)) == {"a", "b"}
""",
    "keeps_iterator": """
seen = []
class Look(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.call, self.iterators = keras_fit.fit_call(self), []
        original = self.model.train_function
        def train(iterator):
            self.iterators.append(iterator)
            return original(iterator)
        self.model.train_function = train
    def on_epoch_end(self, epoch, logs=None): seen.append(keras_fit.keeps_iterator(self.call, self.iterators[-1]))
endless = tf.data.Dataset.from_tensors((x, y)).repeat()
model().fit(endless, steps_per_epoch=2, epochs=2, verbose=0, callbacks=[Look()])
assert seen == [True, True], seen
""",
    "callbacks_of_coming_fit": """
seen = []
class Look(keras.callbacks.Callback):
    def set_params(self, params):
        super().set_params(params)
        seen.append([type(callback).__name__ for callback in keras_fit.callbacks_of_coming_fit(self)])
made, look = model(), Look()
made.fit(x, y, verbose=0, callbacks=[keras.callbacks.TerminateOnNaN(), look])
assert set(seen[0]) >= {"TerminateOnNaN", "Look"}, seen
made.evaluate(x, y, verbose=0, callbacks=[look])
look.set_params({})
assert seen[1:] == [[], []], seen
""",
    "GraphNode": """
assert tf_checkpoint.GraphNode({}, "", "").children == {}
""",
    "object_graph": """
made = model()
prefix = tf.train.Checkpoint(model=made).write("made")
nodes = tf_checkpoint.object_graph(tf.train.load_checkpoint(prefix).get_tensor(tf_checkpoint.OBJECT_GRAPH))
assert "model" in nodes[0].children and len(nodes) > max(child for node in nodes for child in node.children.values())
keys = {node.key: node.name for node in nodes if node.key}
assert set(keys) < {name for name, _ in tf.train.list_variables(prefix)}
assert {variable.path for variable in made.weights} <= set(keys.values())
""",
    "addresses_in_h5": """
import h5py
made = model(layers.Dense(3), keras.Sequential([layers.Dense(2), layers.BatchNormalization()]), layers.Dense(1))
made.fit(x, y, verbose=0)
made.save_weights("made.weights.h5")
found = keras_saving.addresses_in_h5(made)
with h5py.File("made.weights.h5") as file:
    for variable in made.weights:
        address, name = found[id(variable)]
        assert file[address][()].tobytes() == variable.numpy().tobytes(), address
        assert file[address].parent.attrs["name"] == name.rpartition("/")[0]
""",
    "functions_of": """
a, b = keras.Input((2,), name="zed"), keras.Input((2,), name="alpha")
keras.Model([a, b], layers.Add()([a, b])).export("made", verbose=False)
orders = [[spec.name for spec in tf.nest.flatten(each.structured_input_signature)] for each in tf_functions.functions_of(tf.saved_model.load("made"))]
assert ["zed", "alpha"] in orders, orders
""",
    "signatures_in": """
model().export("made", verbose=False)
found, version = tf_functions.signatures_in(open("made/saved_model.pb", "rb").read())
assert list(found["serving_default"]["inputs"].values()) == [{"shape": [None, 4], "dtype": "float32"}], found
assert version == tf.__version__
for content in (b"", b"no graph"):
    try:
        tf_functions.signatures_in(content)
    except ValueError:
        continue
    raise AssertionError(content)
""",
    "serialized_model": """
shared = layers.Dense(4)
inputs = keras.Input((4,))
made = keras.Model(inputs, layers.Dense(1)(shared(shared(inputs))))
made.compile(keras.optimizers.SGD(0.25), "mse")
config = json.loads(json.dumps(keras_saving.serialized_model(made)))
assert config["class_name"] == "Functional" and config["build_config"] and config["compile_config"]["loss"] == "mse"
""",
    "deserialized_model": """
shared = layers.Dense(4)
inputs = keras.Input((4,))
made = keras.Model(inputs, layers.Dense(1)(shared(shared(inputs))))
made.compile(keras.optimizers.SGD(0.25), "mse")
again = keras_saving.deserialized_model(json.loads(json.dumps(keras_saving.serialized_model(made))), None)
assert again.compiled and again.built and len(again.weights) == len(made.weights) == 4
assert float(again.optimizer.learning_rate) == 0.25
trap = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x)])
try:
    keras_saving.deserialized_model(keras_saving.serialized_model(trap), None)
except ValueError as error:
    assert "lambda" in str(error).lower()
else:
    raise AssertionError("code came out of a configuration")
""",
    "legacy_weights": """
import h5py
made = model(layers.Dense(3), layers.BatchNormalization(), layers.Dense(1))
made.save("made.h5")
with h5py.File("made.h5") as file:
    for layer in made.layers:
        saved = list(file["model_weights"][layer.name].attrs["weight_names"])
        assert saved == [variable.path for variable in keras_saving.legacy_weights(layer)]
""",
    "own_weights": """
class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.gain = self.add_weight(shape=(1,), name="gain")
        self.dense = layers.Dense(1)
    def call(self, inputs): return self.dense(inputs) * self.gain
made = Own()
made(x)
assert keras_saving.own_weights(made) == [made.gain] and len(made.weights) == 3
""",
    "pending_shape": """
seen = []
def make(next_creator, **arguments):
    seen.append(keras_saving.pending_shape(arguments["initial_value"]))
    return next_creator(**arguments)
with tf.variable_creator_scope(make):
    layers.Dense(5).build((None, 7))
    tf.Variable(1.0)
assert seen == [((7, 5), "float32"), ((5,), "float32"), None], seen
""",
    "not_followed": """
made = model(layers.Dense(3), layers.Dropout(0.1), layers.Dense(1))
made.fit(x, y, verbose=0)
checkpoint = tf.train.Checkpoint(a=tf.Variable(1.0))
checkpoint.save("made")
# What is left out is there: where a name has gone, nothing is to be left out under it.
everywhere = {name for layer in (made, *made.layers) for name in vars(layer)}
assert {"_tracker", "_inbound_nodes", "_outbound_nodes", "_lock", "train_function", "test_function", "_compile_config"} <= everywhere
assert object_attributes.not_followed(made) - everywhere <= {"_auto_config", "_distribute_strategy"}
assert "_save_counter" in vars(checkpoint) and "save_counter" in tf.train.TrackableView.children(checkpoint)
assert object_attributes.not_followed(object()) == object_attributes.not_followed(tf.Module()) == frozenset()
""",
    "attributes": """
class Slots:
    __slots__ = ("a", "unset")
class More(Slots):
    def __init__(self): self.b, self.a = 1, 2
assert list(object_attributes.attributes(More())) == [("b", 1), ("a", 2)]
made = model()
assert {"_layers", "optimizer", "_loss_tracker"} <= set(dict(object_attributes.attributes(made))), "where layers, optimizer and metrics are found"
""",
    "write_summaries_if": """
writes = tf.Variable(False)
writer = tf.summary.create_file_writer("points")
def step(number):
    with writer.as_default():
        tf.summary.scalar("own", 1.0, step=number)
        with tf.summary.record_if(number % 2 == 0):
            tf.summary.scalar("even", 1.0, step=number)
        with tf.summary.record_if(False):
            tf.summary.scalar("never", 1.0, step=number)
for run in (tf.function(step), step):
    writes.assign(False)
    with tf_summary.write_summaries_if(writes.read_value):
        run(tf.constant(0, tf.int64))
        writes.assign(True)
        run(tf.constant(2, tf.int64))
    run(tf.constant(3, tf.int64))
    run(tf.constant(4, tf.int64))
writer.close()
import glob
from tensorflow.core.util.event_pb2 import Event
seen = [(value.tag, event.step) for path in glob.glob("points/*") for record in tf.data.TFRecordDataset(path).as_numpy_iterator()
        for event in [Event.FromString(record)] for value in event.summary.value]
assert sorted(seen) == sorted([("own", 2), ("even", 2), ("own", 3), ("own", 4), ("even", 4)] * 2), seen
""",
}


def names() -> set[str]:
    trees = [ast.parse(path.read_text()) for path in (ROOT / "ckptkit" / "compat").glob("*.py")]
    found = {
        node.name
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    return {name for name in found if not name.startswith("_")}


def test_every_name_has_a_check():
    assert names() == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_a_private_name_does_what_is_relied_on(tf_process, name):
    process = tf_process(START + CHECKS[name])
    assert process.wait() == 0, (
        f"{name} in ckptkit/compat/ does not hold in TensorFlow {version('tensorflow')} with "
        f"Keras {version('keras')}: adapt it, or take "
        f"the version out of the ranges in setup.cfg.\n{process.output()}"
    )
