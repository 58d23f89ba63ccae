"""Records that a run has finished, and remembers which objects of this process trained it.

A run is one training of one model. So a loop over folds in one directory, or a repeated notebook
cell, must not load the finished training of another model.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from ckptkit.errors import ConfigError
from ckptkit.layout import RunLayout
from ckptkit.position import RunPosition
from ckptkit.run import events
from ckptkit.run.fresh_start import this_life
from ckptkit.run.journal import Journal
from ckptkit.run.journal_reader import read_journal
from ckptkit.session.process_registry import run_key
from ckptkit.session.process_registry import state as process_state


def record_finished(
    layout: RunLayout, journal: Journal, position: RunPosition, stopped_by: str = ""
) -> None:
    """Record in the journal that training has reached its end, once for each position.

    A finished run that is started again adds no second line.

    Args:
        layout: the layout of the run.
        journal: the journal of the attempt.
        position: the end.
        stopped_by: the callback that ended training before its last epoch; by default none did.
    """
    life = this_life(read_journal(layout).events)
    if not any(
        isinstance(event, events.Finished) and event.step == position.step for event in life
    ):
        journal.record(
            events.Finished(step=position.step, epoch=position.epoch, stopped_by=stopped_by)
        )


def note_finished(layout: RunLayout, state: Mapping[str, Any]) -> None:
    """Remember the models with which this process has finished the run."""
    # Weak references do not keep a model alive. A deleted model differs from every present one.
    process_state.finished[run_key(layout)] = [weakref.ref(value) for value in _trained(state)]


def note_trained_to_end(layout: RunLayout, step: int) -> None:
    """Remember that this process has finished the run at a step."""
    process_state.trained_to[run_key(layout), ""] = step


def note_found_finished(layout: RunLayout, step: int, total: str) -> None:
    """Remember that this process has asked for a total that the run had reached before.

    Args:
        layout: the layout of the run.
        step: its end.
        total: what was asked for, such as `epochs=3`.
    """
    process_state.trained_to[run_key(layout), total] = step


def is_trained_to_end_here(layout: RunLayout, step: int, total: str) -> bool:
    """Return whether this process has reached the end of the run, so that it would train nothing.

    That is so if it has finished the run at its current step, or has found the run finished with
    the same total. See `note_found_finished` for the arguments.
    """
    key = run_key(layout)
    return any(process_state.trained_to.get((key, each)) == step for each in ("", total))


def is_finished_by_others(layout: RunLayout, state: Mapping[str, Any]) -> bool:
    """Return whether this process has finished the run with objects that `state` lacks."""
    then, now = process_state.finished.get(run_key(layout), []), _trained(state)
    return bool(then and now) and not any(
        reference() is value for reference in then for value in now
    )


def check_finished_by(layout: RunLayout, state: Mapping[str, Any]) -> None:
    """Check that this process has not already finished the run with other objects.

    Raises:
        ConfigError: If it has.
    """
    if is_finished_by_others(layout, state):
        raise ConfigError(
            f"This process has already finished the run in {layout.root} with other objects in "
            "state, and a run is one training of "
            f"one model. Give each training its own directory, such as f'{layout.root}-{{fold}}'; "
            "or pass fresh='a label' to set the "
            f"finished run aside; in another directory, init_from={str(layout.root)!r} begins a "
            "run with its weights; or, to look at its state or to continue it with these objects, "
            "call manager.restore() first."
        )


def _trained(state: Mapping[str, Any]) -> list[Any]:
    """Return the models of a state, or its other objects with variables if it has no models."""
    objects = list(_objects(state))
    models = [value for value in objects if isinstance(value, keras.Layer)]
    return models or [
        value
        for value in objects
        if isinstance(value, tf.Variable | keras.Variable | tf.Module | tf.train.Checkpoint)
    ]


def _objects(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _objects(item)
    else:
        yield value
