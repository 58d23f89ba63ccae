"""Which objects of this process have come to the end of which run: a run is one training of one
model.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from ckptkit.errors import ConfigError
from ckptkit.layout import RunLayout
from ckptkit.session.process import run_key
from ckptkit.session.process import state as state_of_process


def note_finished(layout: RunLayout, state: Mapping[str, Any]) -> None:
    """This process has trained the models of `state` to the end of the run."""
    state_of_process.finished[run_key(layout)] = [weakref.ref(value) for value in _trained(state)]


def check_finished_by(layout: RunLayout, state: Mapping[str, Any]) -> None:
    """Checks that the run was not finished by other objects of this process.

    Raises:
        ConfigError: where it was: a fold loop over one directory, a cell that is run again.
    """
    then, now = state_of_process.finished.get(run_key(layout), []), _trained(state)
    if then and now and not any(reference() is value for reference in then for value in now):
        raise ConfigError(
            f"This process has already finished the run in {layout.root} with other objects in "
            "state, and a run is one training of "
            f"one model. Give each training its own directory, such as f'{layout.root}-{{fold}}'; "
            "or pass fresh='a label' to set the "
            f"finished run aside; or, to look at its state only, call manager.restore()."
        )


def _trained(state: Mapping[str, Any]) -> list[Any]:
    """The models of a state; where it names none, what else of it holds variables."""
    things = list(_things(state))
    models = [thing for thing in things if isinstance(thing, keras.Layer)]
    return models or [
        thing
        for thing in things
        if isinstance(thing, tf.Variable | keras.Variable | tf.Module | tf.train.Checkpoint)
    ]


def _things(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _things(item)
    else:
        yield value
