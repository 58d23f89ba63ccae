"""Wraps private names of `model.fit`: the current call, its iterators, its epochs.

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
    """A number that is true even if 0, because `fit` uses `_initial_epoch or initial_epoch`."""

    def __bool__(self) -> bool:
        return True


def set_initial_epoch(model: Any, epoch: int | None) -> None:
    """Make the running `fit` begin at an epoch.

    The value stays on the model, so set it back to None when `fit` ends.

    Reason: `fit` reads this attribute after `on_train_begin`, and nothing else.

    Args:
        model: the model that is trained.
        epoch: the epoch, from 0; None for the argument of `fit`.
    """
    model._initial_epoch = None if epoch is None else _TruthyInt(epoch)


def reads_before_training(model: Any) -> bool:
    """Return whether `fit` and `evaluate` read a batch of their data before they begin.

    Reason: Keras does so to build a model that was made under a strategy. The batch moves the
    counters of shuffles, and no event reports it.

    Args:
        model: the model.
    """
    return getattr(model, "_distribute_strategy", None) is not None


def skip_evaluation(model: Any) -> None:
    """End the evaluation of `fit` after the current call, as if it had not begun.

    Reason: only this attribute ends an evaluation early. If `validation_steps` is given, the
    iterator of evaluations counts batches over all evaluations, but no batch was read here.
    """
    # Keras clears this flag itself when the next evaluation begins.
    model.stop_evaluating = True
    iterator = getattr(model, "_eval_epoch_iterator", None)
    if iterator is not None:
        iterator._steps_seen = 0


def skip_calls(epoch_iterator: Any, calls: int) -> int:
    """Skip calls of Keras' loop over an epoch, without reading data.

    The next batch gets its number, and the epoch ends, as if the calls had been made.

    Reason: the loop counts in local variables, and one turn of it takes as long as a small step.

    Args:
        epoch_iterator: see `FitCall`; nothing is skipped if it is None.
        calls: the number of calls to skip.

    Returns:
        The number of skipped calls; fewer than `calls` if the epoch has no more.
    """
    # The loop iterates over this generator, so it does not see items that are read here.
    batches = getattr(epoch_iterator, "_epoch_iterator", None) or ()
    return sum(1 for _ in itertools.islice(batches, calls))


def iterate_over(epoch_iterator: Any, dataset: Any) -> Any:
    """Let the iterators that Keras' loop makes from now on iterate over another object.

    Reason: the loop makes an iterator for each epoch that it runs through again, and most of a
    pipeline has no part in that. Only a private attribute has the dataset.

    Args:
        epoch_iterator: see `FitCall`.
        dataset: the object.

    Returns:
        The object until now.
    """
    before = epoch_iterator._distributed_dataset
    epoch_iterator._distributed_dataset = dataset
    return before


def set_steps_per_epoch(epoch_iterator: Any, steps: int) -> None:
    """Set the number of batches that Keras' loop reads in the next epoch.

    It does nothing if `fit` has no `steps_per_epoch`, because then the data ends the epoch.

    Reason: the loop reads this attribute at the beginning of each epoch.

    Args:
        epoch_iterator: see `FitCall`.
        steps: the number of batches of the epoch.
    """
    if getattr(epoch_iterator, "steps_per_epoch", None) is not None:
        epoch_iterator.steps_per_epoch = steps


def run_pass(epoch_iterator: Any, call: Callable[[Any], object]) -> None:
    """Make one pass over data in the same way as the loop of `fit` or `evaluate`.

    Reason: only this loop decides how many iterators Keras makes of a dataset, and when.

    Args:
        epoch_iterator: see `FitCall`.
        call: is called with the iterator for each call of the train or test function.
    """
    with epoch_iterator.catch_stop_iteration():
        for _, _, iterator in epoch_iterator:
            call(iterator)


def new_evaluation_iterator(call: FitCall) -> Any:
    """Return an object that makes an iterator for each evaluation in the same way as `fit`.

    Reason: Keras makes it at the first evaluation.

    Returns:
        The object, or None if the data of evaluations is not a dataset.
    """
    if not isinstance(call.evaluation_data, tf.data.Dataset):
        return None
    return type(call.epoch_iterator)(
        x=call.evaluation_data,
        distribute_strategy=call.epoch_iterator._distribute_strategy,
        steps_per_epoch=call.evaluation_steps,
        steps_per_execution=call.epoch_iterator.steps_per_execution,
        shuffle=False,
    )


@dataclass(frozen=True)
class FitCall:
    """The arguments and internals of the `fit` that is calling a callback.

    Args:
        callback_list: the `CallbackList`, or None if the caller is not `fit`.
        initial_epoch: the argument of `fit`.
        batch_size: the number of samples in a batch, or None if unknown.
        element_spec: the form of the batches, or None; to get it reads no data.
        epoch_iterator: the object that makes an iterator for each epoch, or None.
        validates: whether epochs, or some of them, end with an evaluation.
        data: the dataset or object with the batches of training, or None.
        evaluation_data: the same for evaluations.
        evaluation_steps: the batches of an evaluation, as given to `fit`, or None.
        validation_freq: the epochs with an evaluation, as given to `fit`.
        is_split: whether a strategy splits the batches for several devices.
        reads_before: whether Keras has read a batch of the data before; see
            `reads_before_training`.
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
    validation_freq: Any = 1
    is_split: bool = False
    reads_before: bool = False

    @property
    def sources(self) -> list[Any]:
        """The sources of batches: tf.data datasets and the user's objects."""
        return [each for each in (self.data, self.evaluation_data) if each is not None]


def new_iterator(call: FitCall) -> Any:
    """Return an iterator like the one that `fit` will make for its first epoch.

    Reason: Keras converts the user's data to a dataset without a public name.
    """
    return iter(call.epoch_iterator._distributed_dataset)


def keeps_iterator(call: FitCall, iterator: Any) -> bool:
    """Return whether the next epoch continues with the iterator of the previous one.

    Reason: Keras makes a new iterator if the data has ended, but no event reports that.
    """
    return (
        iterator is not None and getattr(call.epoch_iterator, "_current_iterator", None) is iterator
    )


def may_keep_iterators(call: FitCall) -> bool:
    """Return whether an iterator may serve several epochs.

    Without `steps_per_epoch`, Keras makes a new one for each epoch. In the middle of an epoch,
    `keeps_iterator` cannot tell.

    Reason: the argument of `fit` is a local variable; Keras keeps it in a private object.
    """
    return getattr(call.epoch_iterator, "steps_per_epoch", None) is not None


def makes_same_iterators(call: FitCall) -> bool:
    """Return whether an epoch makes as many iterators of the data as every other one.

    With data of unknown length, the first epoch finds the end, and later ones do not look for it.

    Reason: see `may_keep_iterators`.
    """
    known = getattr(call.epoch_iterator, "_num_batches", None) is not None
    return known and not may_keep_iterators(call)


def dataset_of_epochs(call: FitCall) -> Any:
    """Return the dataset of which the loop of `fit` makes an iterator for each epoch, or None.

    Reason: see `new_iterator`.
    """
    return getattr(call.epoch_iterator, "_distributed_dataset", None)


def fit_call(callback: Any) -> FitCall:
    """Return the arguments of the `fit` that is calling `callback.on_train_begin`.

    Reason: a callback in a plain list gets no reference to the list, but has to save the state of
    the other callbacks. On a finished run no step shows the form of the batches, which may be
    needed to build the model. All of that is in the frames of the callers.

    Returns:
        The call; an empty `FitCall` if the caller is not `fit`.
    """
    callback_list, caller = _calling_list(callback)
    fit = caller.f_locals if caller is not None else {}
    # Other functions may use a CallbackList too, such as a user's loop.
    if "epoch_iterator" not in fit:
        return FitCall()
    iterator = fit["epoch_iterator"]
    split = getattr(iterator, "_distributed_dataset", None)
    # Under a strategy, the data before it was split.
    dataset = getattr(split, "_original_dataset", split)
    adapter = getattr(iterator, "data_adapter", None)
    return FitCall(
        callback_list,
        # Keras treats None as 0.
        fit.get("initial_epoch") or 0,
        getattr(adapter, "batch_size", None) or _batch_size_of_pipeline(dataset),
        getattr(dataset, "element_spec", None),
        iterator,
        # By now this name also has a split of the training data.
        fit.get("validation_data") is not None,
        _drawable(getattr(adapter, "py_dataset", dataset)),
        _drawable(fit.get("validation_data")),
        fit.get("validation_steps"),
        fit.get("validation_freq", 1),
        isinstance(split, tf.distribute.DistributedDataset),
        reads_before_training(callback.model),
    )


def _drawable(value: Any) -> Any:
    return value if isinstance(value, tf.data.Dataset | keras.utils.PyDataset) else None


def evaluation_iterator() -> Any:
    """Return the object that makes the iterator of the evaluation that calls `on_test_begin`.

    Reason: it is a local variable of the loop, and a custom `evaluate` may not use the object that
    `fit` keeps.

    Returns:
        The object, or None if no frame up to `fit` has it.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "fit":
        if "epoch_iterator" in frame.f_locals:
            return frame.f_locals["epoch_iterator"]
        frame = frame.f_back
    return None


def callbacks_of_coming_fit(callback: Any) -> list[Any]:
    """Return the callbacks of the `fit` that is making its `CallbackList` now.

    Call it in `callback.set_params`.

    Reason: `CSVLogger` empties its file in `on_train_begin`, and no earlier event gives access to
    the other callbacks.

    Returns:
        The callbacks; an empty list if the caller is not `fit`.
    """
    callback_list, caller = _calling_list(callback)
    return (
        list(callback_list.callbacks)
        if caller is not None and caller.f_code.co_name == "fit"
        else []
    )


def arrays_in_memory(call: FitCall) -> list[Any] | None:
    """Return the arrays that were passed to `fit`, or None for other data.

    Reason: the adapter keeps the arrays to itself.

    Args:
        call: what the `fit` was called with.
    """
    given = getattr(getattr(call.epoch_iterator, "data_adapter", None), "_inputs", None)
    arrays = [each for each in tf.nest.flatten(given) if each is not None]
    if not arrays or not all(isinstance(each, np.ndarray | tf.Tensor) for each in arrays):
        return None
    # NumPy arrays of Python strings contain only references.
    return None if any(np.asarray(each).dtype.hasobject for each in arrays) else arrays


def rows_in_memory(call: FitCall, most: int = 32) -> Any:
    """Return the last rows of the last batch of arrays that were passed to `fit`, or None.

    Reason: the arrays are private attributes of Keras' adapter, and to read from the data would
    change its state.

    Args:
        call: the call of `fit`.
        most: the largest number of rows; by default 32.
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
    """Return the `CallbackList` that is calling a callback, and the frame that called the list.

    Methods of subclasses may be on the stack between them.
    """
    # 0 is this function, 1 is the one in this file, and 2 is the callback's method.
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not _is_list_with(frame.f_locals.get("self"), callback):
        frame = frame.f_back
    callback_list = frame.f_locals["self"] if frame is not None else None
    # Methods of `CallbackList` may call each other.
    while frame is not None and frame.f_locals.get("self") is callback_list:
        frame = frame.f_back
    return callback_list, frame


def _is_list_with(value: Any, callback: Any) -> bool:
    return isinstance(value, keras.callbacks.CallbackList) and any(
        each is callback for each in value.callbacks
    )


def _batch_size_of_pipeline(dataset: Any) -> int | None:
    """Return the batch size of a tf.data pipeline, if one of its last 20 stages is `batch`.

    Reason: `element_spec` shows only fixed sizes, and the size of `batch` is not fixed.
    """
    # Stages that keep the batch size (prefetch, options, repeat) may come after `batch`.
    for _ in range(20):
        size = getattr(dataset, "_batch_size", None)
        if size is not None:
            return int(size)
        dataset = getattr(dataset, "_input_dataset", None)
    return None
