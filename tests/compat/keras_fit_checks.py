"""Checks of `ckptkit/compat/keras_fit.py`: one function for each name."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from ckptkit.compat import keras_fit
from tests.compat.small_model import model, x, y


def rows_in_memory():
    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.seen = keras_fit.rows_in_memory(keras_fit.fit_call(self))

    look, made = Look(), model()
    rows = np.random.default_rng(3).normal(size=(10, 4)).astype("float32")
    for data, size, expected in (
        ((rows, rows[:, :2]), 4, 2),
        ((rows, rows[:, :2]), 5, 5),
        ((rows, rows[:, :2]), 64, 10),
    ):
        made.fit(*data, batch_size=size, verbose=0, callbacks=[look])
        assert look.seen.tolist() == rows[10 - expected :].tolist(), (size, look.seen)
    made.fit(
        tf.data.Dataset.from_tensor_slices((rows, rows[:, :2])).batch(5),
        verbose=0,
        callbacks=[look],
    )
    assert look.seen is None


def arrays_in_memory():
    class Look(keras.callbacks.Callback):
        def set_params(self, params):
            if params:
                self.early = keras_fit.arrays_in_memory(keras_fit.fit_call(self))

        def on_train_begin(self, logs=None):
            self.seen = keras_fit.arrays_in_memory(keras_fit.fit_call(self))

    look, made = Look(), model()
    rows = np.random.default_rng(3).normal(size=(10, 4)).astype("float32")
    made.fit(rows, rows[:, :1], verbose=0, callbacks=[look])
    for found in (look.seen, look.early):
        assert [np.asarray(each).tolist() for each in found] == [
            rows.tolist(),
            rows[:, :1].tolist(),
        ]
    data = tf.data.Dataset.from_tensor_slices((rows, rows[:, :1])).batch(5)
    made.fit(data, verbose=0, callbacks=[look])
    assert look.seen is None


def set_initial_epoch():
    seen = []

    class Begin(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            keras_fit.set_initial_epoch(self.model, at)

        def on_epoch_begin(self, epoch, logs=None):
            seen.append(epoch)

    made = model()
    for at, given in ((2, 0), (0, 3), (None, 3), (4, 0)):
        seen.clear()
        made.fit(x, y, epochs=4, initial_epoch=given, verbose=0, callbacks=[Begin()])
        assert seen == list(range(given if at is None else at, 4)), (at, given, seen)
        keras_fit.set_initial_epoch(made, None)


def reads_before_training():
    drawn = []

    def rows():
        drawn.append(1)
        yield tf.ones((2, 4)), tf.ones((2, 1))

    spec = (tf.TensorSpec((None, 4)), tf.TensorSpec((None, 1)))
    data = tf.data.Dataset.from_generator(rows, output_signature=spec)
    for strategy, passes in (
        (tf.distribute.get_strategy(), 1),
        (tf.distribute.OneDeviceStrategy("CPU:0"), 2),
    ):
        with strategy.scope():
            made = model()
            made.compile("sgd", "mse")
        drawn.clear()
        made.fit(data, verbose=0)
        assert len(drawn) == passes
        assert keras_fit.reads_before_training(made) == (passes == 2)


def skip_evaluation():
    made, calls = model(), []

    class Skip(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_test_begin(self, logs=None):
            original = self.model.test_function

            def test(iterator):
                if self.epoch:
                    return original(iterator)
                keras_fit.skip_evaluation(self.model)
                return {}

            self.model.test_function, self.original = test, original

        def on_test_batch_end(self, batch, logs=None):
            calls.append((self.epoch, batch))

        def on_test_end(self, logs=None):
            self.model.test_function = self.original

    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    for validation in (rows, rows.filter(lambda a, b: True)):
        for steps in ({}, {"validation_steps": 2}):
            calls.clear()
            made.fit(
                x, y, epochs=2, verbose=0, validation_data=validation, callbacks=[Skip()], **steps
            )
            assert calls == [(0, 0), (1, 0), (1, 1)], (calls, steps)


def skip_calls():
    class Jump(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.iterator = keras_fit.fit_call(self).epoch_iterator

        def on_epoch_begin(self, epoch, logs=None):
            self.seen.append([])

        def on_train_batch_end(self, batch, logs=None):
            self.seen[-1].append(batch)
            if batch < each:
                self.left.append(keras_fit.skip_calls(self.iterator, calls))

    jump = Jump()
    rows = tf.data.Dataset.from_tensor_slices(
        (np.ones((18, 4), "float32"), np.ones((18, 1), "float32"))
    ).batch(2, True)
    for each in (1, 2):
        for data, steps in ((rows, None), (rows.repeat(), 9)):
            for calls in (3, 0, 50):  # the last is more than there are
                jump.seen, jump.left = [], []
                model(steps_per_execution=each).fit(
                    data, epochs=2, steps_per_epoch=steps, verbose=0, callbacks=[jump]
                )
                ends = [each - 1, *range(each * (calls + 2) - 1, 9 + each - 1, each)]
                assert jump.seen == [ends, ends], (each, calls)
                assert jump.left == [min(calls, -(-9 // each) - 1)] * 2, (each, calls)
    jump.seen, jump.left, each, calls = [], [], 1, 3
    # Of unknown length: no batch is drawn for the calls that are left out.
    model().fit(rows.filter(lambda a, b: True), verbose=0, callbacks=[jump])
    assert jump.seen == [[0, *range(4, 12)]]
    assert jump.left == [3]


def evaluation_iterator():
    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            assert keras_fit.evaluation_iterator() is None

        def on_test_begin(self, logs=None):
            made.append(keras_fit.evaluation_iterator())

        def on_test_batch_end(self, batch, logs=None):
            batches.append(batch)
            if batch == 0:
                assert keras_fit.skip_calls(made[-1], 2) == 2

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
        own.fit(
            x,
            y,
            epochs=2,
            batch_size=2,
            verbose=0,
            validation_data=(x, y),
            validation_batch_size=2,
            callbacks=[Look()],
        )
        assert batches == [0, 3] * seen, batches
        assert [each is not None for each in made] == [bool(seen)] * 2, made
    assert keras_fit.skip_calls(None, 3) == 0


def FitCall():
    assert keras_fit.FitCall() == keras_fit.FitCall(None, 0, None, None, None)


def fit_call():
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append(keras_fit.fit_call(self))

    made, look, other = model(), Look(), keras.callbacks.Callback()
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    made.fit(dataset.prefetch(1), verbose=0, initial_epoch=1, epochs=2, callbacks=[other, look])
    made.fit(x, y, batch_size=4, verbose=0, callbacks=[look])
    look.set_model(made)
    look.on_train_begin()
    of_dataset, of_arrays, of_nothing = seen
    assert {type(callback).__name__ for callback in of_dataset.callback_list.callbacks} >= {
        "Look",
        "Callback",
        "History",
    }
    assert (
        of_dataset.initial_epoch,
        of_dataset.batch_size,
        of_arrays.initial_epoch,
        of_arrays.batch_size,
    ) == (1, 2, 0, 4)
    assert of_dataset.element_spec[0].shape.as_list() == [None, 4]
    assert of_arrays.element_spec[0].shape.as_list()[1:] == [4]
    assert of_dataset.epoch_iterator is not None
    assert of_nothing == keras_fit.FitCall()


def new_iterator():
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.extend(keras_fit.new_iterator(keras_fit.fit_call(self)))

    made = model()
    made.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(2), verbose=0, callbacks=[Look()])
    assert len(seen) == len(x) // 2
    assert seen[0][0].shape == (2, 4)


def keeps_iterator():
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.call, self.iterators = keras_fit.fit_call(self), []
            original = self.model.train_function

            def train(iterator):
                self.iterators.append(iterator)
                return original(iterator)

            self.model.train_function = train

        def on_epoch_end(self, epoch, logs=None):
            seen.append(keras_fit.keeps_iterator(self.call, self.iterators[-1]))

    endless = tf.data.Dataset.from_tensors((x, y)).repeat()
    model().fit(endless, steps_per_epoch=2, epochs=2, verbose=0, callbacks=[Look()])
    assert seen == [True, True], seen


def may_keep_iterators():
    """Where it says no, each epoch has an iterator of its own, also if the length is known."""
    calls, iterators = [], []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            calls.append(keras_fit.fit_call(self))
            original = self.model.train_function

            def train(iterator):
                iterators.append(iterator)
                return original(iterator)

            self.model.train_function = train

    batches = tf.data.Dataset.from_tensors((x, y))
    unknown = batches.repeat(2).filter(lambda a, b: True)
    for data in (batches.repeat(2), unknown):
        model().fit(data, epochs=3, verbose=0, callbacks=[Look()])
        assert not keras_fit.may_keep_iterators(calls.pop())
        assert len(set(map(id, iterators))) == 3
        iterators.clear()
    model().fit(batches.repeat(), steps_per_epoch=2, epochs=3, verbose=0, callbacks=[Look()])
    assert keras_fit.may_keep_iterators(calls.pop())
    assert len(set(map(id, iterators))) == 1


def makes_same_iterators():
    found = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            found.append(keras_fit.makes_same_iterators(keras_fit.fit_call(self)))

    batches = tf.data.Dataset.from_tensors((x, y)).repeat(2)
    model().fit(batches, verbose=0, callbacks=[Look()])
    model().fit(batches, steps_per_epoch=1, verbose=0, callbacks=[Look()])
    model().fit(batches.filter(lambda a, b: True), verbose=0, callbacks=[Look()])
    assert found == [True, False, False], found


def dataset_of_epochs():
    found = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            found.append(keras_fit.dataset_of_epochs(keras_fit.fit_call(self)))

    batches = tf.data.Dataset.from_tensors((x, y))
    model().fit(batches, verbose=0, callbacks=[Look()])
    assert found == [batches]
    assert keras_fit.dataset_of_epochs(keras_fit.FitCall()) is None


def callbacks_of_coming_fit():
    seen = []

    class Look(keras.callbacks.Callback):
        def set_params(self, params):
            super().set_params(params)
            seen.append(
                [type(callback).__name__ for callback in keras_fit.callbacks_of_coming_fit(self)]
            )

    made, look = model(), Look()
    made.fit(x, y, verbose=0, callbacks=[keras.callbacks.TerminateOnNaN(), look])
    assert set(seen[0]) >= {"TerminateOnNaN", "Look"}, seen
    made.evaluate(x, y, verbose=0, callbacks=[look])
    look.set_params({})
    assert seen[1:] == [[], []], seen


def iterate_over():
    """The epochs after the change use the other object, and those after the way back do not."""

    class Other:
        made = 0

        def __iter__(self):
            Other.made += 1
            return iter(rows)

    class Exchange(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            made.append(Other.made)
            iterator = keras_fit.fit_call(self).epoch_iterator
            if epoch == 1:
                self.before = keras_fit.iterate_over(iterator, Other())
            elif epoch == 3:
                assert isinstance(keras_fit.iterate_over(iterator, self.before), Other)

    made = []
    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    model().fit(rows, epochs=5, verbose=0, callbacks=[Exchange()])
    assert made[:2] == [0, 0], made
    assert made[1] < made[2] < made[3] == made[4], made


def set_steps_per_epoch():
    class Lengthen(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append(0)
            keras_fit.set_steps_per_epoch(keras_fit.fit_call(self).epoch_iterator, epoch + 1)

        def on_train_batch_end(self, batch, logs=None):
            seen[-1] += 1

    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    for data, steps, expected in ((rows.repeat(), 3, [1, 2, 3]), (rows, None, [4, 4, 4])):
        seen = []
        model().fit(data, epochs=3, steps_per_epoch=steps, verbose=0, callbacks=[Lengthen()])
        assert seen == expected, (steps, seen)


class _Passes(keras.callbacks.Callback):
    """Records the iterator of each call of the train function, in `fit` or in two replays."""

    def __init__(self, *, replays):
        super().__init__()
        self.replays, self.iterators = replays, []

    def on_train_begin(self, logs=None):
        original, used = self.model.train_function, self.iterators

        def train(iterator):
            logs = original(iterator)
            used.append(iterator)
            return logs

        if not self.replays:
            self.model.train_function = train
            return
        for _ in range(2):
            keras_fit.run_pass(keras_fit.fit_call(self).epoch_iterator, train)


def run_pass():
    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    unknown = rows.filter(lambda a, b: True)
    for data, steps, expected in (
        (rows, None, [0] * 4 + [4] * 4),
        (unknown, None, [0] * 4 + [4] * 4),
        (rows.repeat(), 3, [0] * 6),
    ):
        for replays in (False, True):
            passes = _Passes(replays=replays)
            model().fit(data, epochs=2, steps_per_epoch=steps, verbose=0, callbacks=[passes])
            first_uses = [passes.iterators.index(each) for each in passes.iterators]
            assert first_uses == expected, (replays, steps, first_uses)


def new_evaluation_iterator():
    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.own = keras_fit.new_evaluation_iterator(keras_fit.fit_call(self))

        def on_test_begin(self, logs=None):
            self.of_keras = keras_fit.evaluation_iterator()

    def calls(iterator):
        return [
            (first, last, [next(data)[0].numpy().tolist() for _ in range(first, last + 1)])
            for first, last, data in iterator
        ]

    rows, look = tf.data.Dataset.from_tensor_slices((np.arange(32.0).reshape(8, 4), y)), Look()
    for data, steps in ((rows.batch(2), None), (rows.batch(1), 6)):
        options = {"validation_data": data, "validation_steps": steps, "callbacks": [look]}
        model(steps_per_execution=2).fit(x, y, verbose=0, **options)
        assert type(look.own) is type(look.of_keras)
        assert len(calls(look.own)) == (steps or 4) // 2
        # `fit` has made its first evaluation, so these are the second ones.
        assert calls(look.own) == calls(look.of_keras), steps
    model().fit(x, y, validation_data=(x, y), verbose=0, callbacks=[look])
    assert look.own is None
