"""What `data_position.py` trains: pipelines, a small model, and the same training in `fit` and in a
loop, with ckptkit, with `tf.train.Checkpoint` or with neither.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH = 32
clock = time.perf_counter
"""The clock of all figures; `data_position.py --clock cpu` sets another one."""
WEIGHTS = 1 << 18
"""The weights of the model, whatever a row has: 1 MB, and 3 MB with Adam."""


class End(Exception):
    """Ends a training, as a crash does."""


# -- pipelines


@dataclass(frozen=True)
class Rows:
    """A pipeline that shuffles rows.

    Args:
        buffer: the rows in its shuffle buffer.
        kilobytes: the size of a row.
    """

    buffer: int
    kilobytes: int

    @property
    def features(self) -> int:
        return self.kilobytes * 256

    @property
    def buffer_bytes(self) -> int:
        return self.buffer * self.features * 4

    @property
    def most(self) -> int:
        """Rows that fill the buffer, and a few hundred batches."""
        return self.buffer + 300 * BATCH

    def dataset(self, rows: int | None = None, batches: int = -1) -> Any:
        made = rows_from(rows or self.most, self.features)
        if self.buffer:
            made = made.shuffle(self.buffer, seed=1)
        return batched(made).take(batches)


def rows_of(name: str) -> Rows:
    """The pipeline of a name such as `100000x1`."""
    buffer, _, kilobytes = name.partition("x")
    return Rows(int(buffer), int(kilobytes))


def rows_from(rows: int, features: int = 256, first: int = 0) -> Any:
    import tensorflow as tf

    def row(number: Any) -> Any:
        return tf.fill([features], tf.cast(number, tf.float32) / 1e6)

    return tf.data.Dataset.range(first, first + rows).map(row)


def batched(rows: Any) -> Any:
    """Batches with what the model is to learn of them."""
    return rows.map(lambda row: (row, row[:1])).batch(BATCH, drop_remainder=True).prefetch(2)


def _mixed(rows: int, to_the_last: bool = False) -> Any:
    import tensorflow as tf

    # The second one is longer, so that the first one ends the epoch if that is asked for.
    halves = [
        rows_from(rows // 2).shuffle(1000, seed=1),
        rows_from(rows // 2 + 64, first=10**6).shuffle(1000, seed=2),
    ]
    return tf.data.Dataset.sample_from_datasets(
        halves, [0.5, 0.5], seed=3, stop_on_empty_dataset=not to_the_last
    )


def _zipped(rows: int) -> Any:
    import tensorflow as tf

    both = tf.data.Dataset.zip(rows_from(rows).shuffle(1000, seed=1), tf.data.Dataset.range(rows))
    return both.map(lambda row, number: row)


def _by_global_seed(rows: int) -> Any:
    import keras

    keras.utils.set_random_seed(1)  # an unseeded shuffle takes its seed when it is made
    return rows_from(rows).shuffle(1000)


def _interleaved(rows: int) -> Any:
    import tensorflow as tf

    files = tf.data.Dataset.range(16).shuffle(16, seed=1)
    return files.interleave(
        lambda number: rows_from(rows // 16, first=number * rows), num_parallel_calls=2
    )


Make = Callable[[int], Any]

NO_DRAW: dict[str, Make] = {
    "one shuffle": lambda rows: batched(_shuffled(rows)),
    "take": lambda rows: batched(_shuffled(rows)).take(rows // BATCH),
    "zip": lambda rows: batched(_zipped(rows)),
    "map": lambda rows: batched(_shuffled(rows).map(lambda row: row * 2)),
    "global seed": lambda rows: batched(_by_global_seed(rows)),
    "cache before": lambda rows: batched(rows_from(rows).cache().shuffle(1000, seed=1)),
    "sample_from_datasets": lambda rows: batched(_mixed(rows)),
}
"""Pipelines of which past epochs need no batch, by name, as functions of the number of rows."""

OTHERS: dict[str, Make] = {
    "shuffle below shuffle": lambda rows: batched(_shuffled(rows).shuffle(100, seed=2)),
    "shuffle below interleave": lambda rows: batched(_interleaved(rows).shuffle(1000, seed=2)),
    "repeat in an epoch": lambda rows: batched(_shuffled(rows // 2).repeat(2)),
    "repeat of two shuffles": lambda rows: batched(
        _shuffled(rows // 2).shuffle(100, seed=2).repeat(2)
    ),
    "concatenate": lambda rows: batched(
        _shuffled(rows // 2).concatenate(rows_from(rows // 2, first=10**6))
    ),
    "concatenate a shuffle": lambda rows: batched(
        rows_from(rows // 2, first=10**6).concatenate(_shuffled(rows // 2))
    ),
    "cache after": lambda rows: batched(_shuffled(rows).cache()),
    "a mixture to the last": lambda rows: batched(_mixed(rows, to_the_last=True)),
}
"""Pipelines in which a shuffle takes an order late, or several in an epoch."""

STAGES = NO_DRAW | OTHERS


def _shuffled(rows: int) -> Any:
    return rows_from(rows).shuffle(1000, seed=1)


# -- the model


def make_model(features: int) -> Any:
    import keras

    keras.utils.set_random_seed(1)
    width = WEIGHTS // features
    model = keras.Sequential(
        [keras.Input((features,)), keras.layers.Dense(width), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


# -- training


@dataclass
class PlainSaves:
    """Saves with `tf.train.Checkpoint` every so many steps, and notes how long each takes."""

    directory: Path
    every: int
    found: list[float]

    def save(self, step: int, model: Any, iterator: Any) -> None:
        import tensorflow as tf

        if step % self.every == self.every // 2:
            began = clock()
            state = tf.train.Checkpoint(model=model, iterator=iterator)
            state.write(str(self.directory / f"ckpt-{step}"))
            self.found.append(clock() - began)


def fit(
    dataset: Any,
    steps: int,
    *,
    run: Path | None = None,
    plain: tuple[Path, int, list[float]] | None = None,
    epochs: int = 1,
    features: int | None = None,
    first: bool = False,
    end: bool = False,
    wait: bool = False,
    **options: Any,
) -> float:
    """Train in `fit`.

    Args:
        dataset: the pipeline.
        steps: the steps to time; the first one, which builds and traces, is not among them.
        run: the run of ckptkit, or None.
        plain: the arguments of `PlainSaves`, or None.
        epochs: the epochs of the whole training.
        features: the numbers in a row; None to ask the pipeline.
        first: whether to time from the call of `fit` to the first step that counts, instead.
        end: whether to end with `End` after these steps, as a crash does.
        wait: whether to wait for each save.
        options: those of ckptkit's callback.

    Returns:
        Seconds.
    """
    import keras

    import ckptkit

    model = make_model(features or _features(dataset))
    saves = PlainSaves(*plain) if plain else None
    if saves is not None:
        # Only then: to ckptkit, an iterator in an attribute is state of the model.
        model = _with_iterator(model)
    times: list[float] = []

    class Timer(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if len(times) < 2 or len(times) == steps:
                times.append(clock())
            else:
                times.append(0.0)
            if saves is not None:
                saves.save(len(times), model, model.iterator)
            if first or len(times) > steps:
                raise End

    callbacks: list[Any] = []
    if run is not None:
        callbacks.append(
            ckptkit.CheckpointCallback(run, export=False, background=not wait, **options)
        )
    callbacks.append(Timer())
    gc.collect()  # iterators of earlier trainings, whose end may wait for TensorFlow's threads
    began = clock()
    try:
        model.fit(dataset, epochs=epochs, verbose=0, callbacks=callbacks)
    except End:
        if end:
            raise
    return times[0] - began if first else times[-1] - times[0]


def loop(
    dataset: Any,
    steps: int,
    *,
    run: Path | None = None,
    plain: tuple[Path, int, list[float]] | None = None,
    epochs: int = 1,
    features: int | None = None,
    first: bool = False,
    end: bool = False,
    wait: bool = False,
    **options: Any,
) -> float:
    """Train in a loop; see `fit`. `first` is the time from opening the run to a batch."""
    import ckptkit

    model = make_model(features or _features(dataset))
    step = _step_of(model)
    saves = PlainSaves(*plain) if plain else None
    gc.collect()
    began = clock()
    done, timed_from = 0, 0.0
    loss: Any = 0.0
    with ExitStack() as stack:
        manager = None
        if run is not None:
            manager = ckptkit.CheckpointManager(
                run, {"model": model}, background=not wait, **options
            )
            stack.enter_context(manager)
        try:
            for _ in manager.epochs(epochs) if manager is not None else range(epochs):
                iterator = iter(dataset) if manager is None else manager.data(dataset)
                for batch in iterator:
                    if first:
                        timed_from = clock() - began
                        raise End
                    loss = step(batch)
                    done += 1
                    if done == 1:
                        float(loss)
                        timed_from = clock()
                    if saves is not None:
                        saves.save(done, model, iterator)
                    if done > steps:
                        float(loss)
                        timed_from = clock() - timed_from
                        raise End
        except End:
            if end:
                raise
    return timed_from


def _features(dataset: Any) -> int:
    return int(dataset.element_spec[0].shape[1])


def _step_of(model: Any) -> Callable[[Any], Any]:
    import tensorflow as tf

    @tf.function  # type: ignore[untyped-decorator]
    def step(batch: Any) -> Any:
        x, y = batch
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply(gradients, model.trainable_variables)
        return loss

    made: Callable[[Any], Any] = step
    return made


def _with_iterator(model: Any) -> Any:
    """Let a model note the iterator that `fit` reads from, which Keras gives to nobody."""
    make = model.make_train_function

    def make_train_function(force: bool = False) -> Any:
        made = make(force)
        real = model.train_function

        def noting(iterator: Any) -> Any:
            model.iterator = iterator
            return real(iterator)

        model.train_function = noting
        return made

    model.make_train_function = make_train_function
    return model
