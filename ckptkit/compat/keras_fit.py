"""Private names of `model.fit`: the call under way, its iterators, its epochs.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class _TruthyInt(int):
    """A number that is true if it is 0, too: `fit` takes `_initial_epoch or initial_epoch`."""

    def __bool__(self) -> bool:
        return True


def set_initial_epoch(model: Any, epoch: int | None) -> None:
    """Makes the running `fit` begin at an epoch.

    The value stays on the model: set it back to None when `fit` ends.

    Reason: `fit` reads this attribute after `on_train_begin`, and nothing else.

    Args:
        model: the model that is trained.
        epoch: the epoch, from 0; None for the one that was given to `fit`.
    """
    model._initial_epoch = None if epoch is None else _TruthyInt(epoch)


def skip_evaluation(model: Any) -> None:
    """Ends the evaluation of `fit` after the present call, as if it had not begun.

    Reason: Keras ends an evaluation early only by this attribute. If `validation_steps` is given,
    the iterator of evaluations counts batches over all of them, and none was drawn here.
    """
    # Keras clears this flag itself when the next evaluation begins.
    model.stop_evaluating = True
    iterator = getattr(model, "_eval_epoch_iterator", None)
    if iterator is not None:
        iterator._steps_seen = 0


def skip_calls(epoch_iterator: Any, calls: int) -> int:
    """Takes calls out of those that Keras' loop over an epoch still makes, without drawing data.

    The next batch is numbered, and the epoch ends, as if the calls had been made.

    Reason: the loop has its count in local variables, and one turn of it takes as long as a small
    step.

    Args:
        epoch_iterator: see `FitCall`; None if there is none, and then nothing is taken out.
        calls: how many.

    Returns:
        How many there were; fewer than `calls` if the epoch has no more.
    """
    # A generator that the loop iterates over: what is taken from it here, the loop never sees.
    batches = getattr(epoch_iterator, "_epoch_iterator", None) or ()
    return sum(1 for _ in itertools.islice(batches, calls))


def set_steps_per_epoch(epoch_iterator: Any, steps: int) -> None:
    """Sets how many batches Keras' loop draws in the epoch that begins next.

    It does nothing if `steps_per_epoch` was not given to `fit`: the data then ends the epoch.

    Reason: the loop reads this attribute at the beginning of each epoch.

    Args:
        epoch_iterator: see `FitCall`.
        steps: batches of the epoch.
    """
    if getattr(epoch_iterator, "steps_per_epoch", None) is not None:
        epoch_iterator.steps_per_epoch = steps


def run_pass(epoch_iterator: Any, call: Callable[[Any], object]) -> None:
    """Makes one pass over data as the loop of `fit` or `evaluate` does.

    Reason: how many iterators Keras makes of a dataset, and when, is inside this loop.

    Args:
        epoch_iterator: see `FitCall`.
        call: is given the iterator for each call of the train or test function.
    """
    with epoch_iterator.catch_stop_iteration():
        for _, _, iterator in epoch_iterator:
            call(iterator)


def new_evaluation_iterator(call: FitCall) -> Any:
    """Return an object that makes an iterator for each evaluation, as `fit` would make it.

    Reason: Keras makes it at the first evaluation.

    Returns:
        None if the data of evaluations is no dataset.
    """
    if not isinstance(call.evaluation_data, tf.data.Dataset):
        return None
    return type(call.epoch_iterator)(
        x=call.evaluation_data,
        steps_per_epoch=call.evaluation_steps,
        steps_per_execution=call.epoch_iterator.steps_per_execution,
        shuffle=False,
    )


@dataclass(frozen=True)
class FitCall:
    """What the `fit` that is calling a callback was called with.

    Args:
        callback_list: the `CallbackList`, or None if something else calls.
        initial_epoch: as it was given to `fit`.
        batch_size: samples in a batch, or None if that is not known.
        element_spec: the form of the batches, or None; reading it draws nothing from the data.
        epoch_iterator: the object that makes an iterator for each epoch, or None.
        validates: whether epochs, or some of them, end with an evaluation.
        data: the dataset or the object that the batches of training are drawn from, or None.
        evaluation_data: the same of evaluations.
        evaluation_steps: the batches of an evaluation, as given to `fit`, or None.
    """

    callback_list: Any = None
    initial_epoch: int = 0
    batch_size: int | None = None
    element_spec: Any = None
    epoch_iterator: Any = None
    validates: bool = False
    data: Any = None
    evaluation_data: Any = None
    evaluation_steps: int | None = None

    @property
    def sources(self) -> list[Any]:
        """What batches are drawn from: datasets of tf.data, and objects of the user's own."""
        return [each for each in (self.data, self.evaluation_data) if each is not None]


def new_iterator(call: FitCall) -> Any:
    """Return an iterator like the one that the `fit` will make for its first epoch.

    Reason: Keras keeps the dataset that it has made of the user's data to itself.
    """
    return iter(call.epoch_iterator._distributed_dataset)


def keeps_iterator(call: FitCall, iterator: Any) -> bool:
    """Whether the next epoch continues with the iterator of the one that has just ended.

    Reason: Keras makes a new one if the data has ended, and no event says so.
    """
    return (
        iterator is not None and getattr(call.epoch_iterator, "_current_iterator", None) is iterator
    )


def fit_call(callback: Any) -> FitCall:
    """Return what the `fit` that is calling `callback.on_train_begin` was called with.

    Reason: a callback in a plain list gets no reference to the list, and the other callbacks' state
    belongs to the run. On a finished run no step shows the form of the batches, and the model may
    have to be built to receive its weights. All of that is in the frames up the stack.

    Returns:
        An empty `FitCall` if something else than `fit` calls.
    """
    callback_list, caller = _calling_list(callback)
    fit = caller.f_locals if caller is not None else {}
    # Another function than `fit` may use a CallbackList, such as a loop of the user's own.
    if "epoch_iterator" not in fit:
        return FitCall()
    iterator = fit["epoch_iterator"]
    dataset = getattr(iterator, "_distributed_dataset", None)
    adapter = getattr(iterator, "data_adapter", None)
    return FitCall(
        callback_list,
        # Keras takes None for 0 as well.
        fit.get("initial_epoch") or 0,
        getattr(adapter, "batch_size", None) or _batch_size_of_pipeline(dataset),
        getattr(dataset, "element_spec", None),
        iterator,
        # A split of the training data is under this name as well by now.
        fit.get("validation_data") is not None,
        _drawable(getattr(adapter, "py_dataset", dataset)),
        _drawable(fit.get("validation_data")),
        fit.get("validation_steps"),
    )


def _drawable(value: Any) -> Any:
    return value if isinstance(value, tf.data.Dataset | keras.utils.PyDataset) else None


def evaluation_iterator() -> Any:
    """Return what makes the iterator of the evaluation that is calling `on_test_begin`.

    Reason: it is a local variable of the loop, and a model's own `evaluate` need not use the one
    that `fit` keeps.

    Returns:
        None if no frame up to `fit` has one.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "fit":
        if "epoch_iterator" in frame.f_locals:
            return frame.f_locals["epoch_iterator"]
        frame = frame.f_back
    return None


def callbacks_of_coming_fit(callback: Any) -> list[Any]:
    """Return the callbacks of the `fit` that is making its `CallbackList` now.

    It is called in `callback.set_params`.

    Reason: `CSVLogger` empties its file in `on_train_begin`, and no earlier event names the others.

    Returns:
        An empty list if something else than `fit` makes the `CallbackList`.
    """
    callback_list, caller = _calling_list(callback)
    return (
        list(callback_list.callbacks)
        if caller is not None and caller.f_code.co_name == "fit"
        else []
    )


def rows_in_memory(call: FitCall, most: int = 32) -> Any:
    """Return the last rows of the last batch of arrays that were given to `fit`, or None.

    Reason: the adapter keeps the arrays to itself, and drawing from the data would change its
    state.

    Args:
        call: what the `fit` was called with.
        most: how many rows at most; by default 32.
    """
    given = getattr(getattr(call.epoch_iterator, "data_adapter", None), "_inputs", None)
    if given is None or not call.batch_size:
        return None
    inputs = keras.utils.unpack_x_y_sample_weight(given)[0]
    arrays = tf.nest.flatten(inputs)
    if not all(isinstance(array, np.ndarray | tf.Tensor) for array in arrays):
        return None
    rows = min(len(arrays[0]) % call.batch_size or call.batch_size, len(arrays[0]), most)
    return tf.nest.map_structure(lambda array: array[len(array) - rows :], inputs)


def _calling_list(callback: Any) -> tuple[Any, Any]:
    """Return the `CallbackList` that is calling a callback, and the frame that has called the list.

    Methods of subclasses may be on the stack between them.
    """
    # 0 is this function, 1 is the one in this file, and 2 is the callback's method.
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not _is_list_with(frame.f_locals.get("self"), callback):
        frame = frame.f_back
    callback_list = frame.f_locals["self"] if frame is not None else None
    # `CallbackList` calls its own methods through others of it.
    while frame is not None and frame.f_locals.get("self") is callback_list:
        frame = frame.f_back
    return callback_list, frame


def _is_list_with(value: Any, callback: Any) -> bool:
    return isinstance(value, keras.callbacks.CallbackList) and any(
        each is callback for each in value.callbacks
    )


def _batch_size_of_pipeline(dataset: Any) -> int | None:
    """Return the batch size of a tf.data pipeline, if a `batch` is among its last 20 stages.

    Reason: `element_spec` shows only sizes that are fixed, which those of `batch` are not.
    """
    # Stages that keep the batch size (prefetch, options, repeat) may come after `batch`.
    for _ in range(20):
        size = getattr(dataset, "_batch_size", None)
        if size is not None:
            return int(size)
        dataset = getattr(dataset, "_input_dataset", None)
    return None
