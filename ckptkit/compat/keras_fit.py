"""Private names of `model.fit`: the call under way, its iterator, its epochs."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from types import FrameType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ckptkit.compat.keras_models import _Exactly


def set_initial_epoch(model: Any, epoch: int | None) -> None:
    """Makes the running `fit` begin at an epoch. Reason: `fit` reads it after `on_train_begin`,
    from nowhere else.

    It sticks: set it back to None when `fit` ends.
    """
    model._initial_epoch = None if epoch is None else _Exactly(epoch)


def skip_evaluation(model: Any) -> None:
    """Ends the evaluation that `fit` is making after this call, as if it had not begun.

    Reason: where `validation_steps` is given, the iterator of evaluations counts batches over all
    of them, and none was drawn.
    """
    model.stop_evaluating = True
    iterator = getattr(model, "_eval_epoch_iterator", None)
    if iterator is not None:
        iterator._steps_seen = 0


def leave_out(epoch_iterator: Any, calls: int) -> int:
    """Takes calls out of those that Keras' loop over this iterator of an epoch still makes; no data
    is drawn for them.

    Reason: the loop has its count in local variables, and one turn of it takes as long as a small
    step. The next batch that it begins is numbered, and the epoch ends, as if the calls had been
    made.

    Args:
        epoch_iterator: see `FitCall`; nothing is left out where there is none.
        calls: how many.

    Returns:
        How many there were; fewer than `calls` where the epoch has no more.
    """
    batches = getattr(epoch_iterator, "_epoch_iterator", None) or ()
    return sum(1 for _ in itertools.islice(batches, calls))


@dataclass(frozen=True)
class FitCall:
    """What the `fit` that is calling a callback has in hand.

    Args:
        callback_list: the `CallbackList`, or None where something else calls.
        initial_epoch: as it was given to `fit`.
        batch_size: samples in a batch, or None where they are not known.
        element_spec: the form of the batches, or None; reading it draws nothing from the data.
        epoch_iterator: what makes an iterator for each epoch, or None.
    """

    callback_list: Any = None
    initial_epoch: int = 0
    batch_size: int | None = None
    element_spec: Any = None
    epoch_iterator: Any = None


def new_iterator(call: FitCall) -> Any:
    """An iterator as the `fit` will make one for its first epoch."""
    return iter(call.epoch_iterator._distributed_dataset)


def keeps_iterator(call: FitCall, iterator: Any) -> bool:
    """Whether the next epoch goes on with the iterator of the one that has just ended. Reason:
    Keras makes a new one where the data has ended.
    """
    return (
        iterator is not None and getattr(call.epoch_iterator, "_current_iterator", None) is iterator
    )


def fit_call(callback: Any) -> FitCall:
    """Looks at the `fit` that is calling `callback.on_train_begin`: up the frames, its
    `CallbackList`, and what has called that.

    Reason: a callback in a plain list is not told of the list, and the other callbacks' state
    belongs to the run. On a finished run no step is made that could show the batches' form, and the
    model may have to be built to receive its weights.
    """
    callback_list, caller = _list_of(callback)
    fit = caller.f_locals if caller is not None else {}
    if "epoch_iterator" not in fit:
        return FitCall()
    iterator = fit["epoch_iterator"]
    dataset = getattr(iterator, "_distributed_dataset", None)
    adapter = getattr(iterator, "data_adapter", None)
    return FitCall(
        callback_list,
        fit.get("initial_epoch") or 0,
        getattr(adapter, "batch_size", None) or _batch_size(dataset),
        getattr(dataset, "element_spec", None),
        iterator,
    )


def evaluation_iterator() -> Any:
    """What makes the iterator of the evaluation that is calling a callback's `on_test_begin`, seen
    from there; None where that does not show.

    Reason: it is in the loop only, and a model's own `evaluate` need not use the one that `fit`
    keeps.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "fit":
        if "epoch_iterator" in frame.f_locals:
            return frame.f_locals["epoch_iterator"]
        frame = frame.f_back
    return None


def callbacks_of_coming_fit(callback: Any) -> list[Any]:
    """The callbacks of the `fit` that is making its `CallbackList` now, seen from
    `callback.set_params`; empty where it is no `fit`.

    Reason: `CSVLogger` empties its file in `on_train_begin`, and a callback hears of the others no
    earlier.
    """
    callback_list, caller = _list_of(callback)
    return (
        list(callback_list.callbacks)
        if caller is not None and caller.f_code.co_name == "fit"
        else []
    )


def rows_in_memory(call: FitCall, most: int = 32) -> Any:
    """The end of the last batch of the inputs that were given to `fit` as arrays, `most` rows of
    it, or None.

    Reason: the adapter keeps them to itself, and drawing from the data would change its state.
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


def _list_of(callback: Any) -> tuple[Any, Any]:
    """The `CallbackList` that is calling a callback, whichever methods of subclasses lie between,
    and the frame that has called the list.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not _holds(frame.f_locals.get("self"), callback):
        frame = frame.f_back
    callback_list = frame.f_locals["self"] if frame is not None else None
    while frame is not None and frame.f_locals.get("self") is callback_list:
        frame = frame.f_back
    return callback_list, frame


def _holds(value: Any, callback: Any) -> bool:
    return isinstance(value, keras.callbacks.CallbackList) and any(
        each is callback for each in value.callbacks
    )


def _batch_size(dataset: Any) -> int | None:
    """The batch size of a tf.data pipeline, where a `batch` is among its last stages. Reason:
    `element_spec` shows only fixed sizes.
    """
    for _ in range(20):
        size = getattr(dataset, "_batch_size", None)
        if size is not None:
            return int(size)
        dataset = getattr(dataset, "_input_dataset", None)
    return None
