"""Errors that other callbacks raise end `fit` as what they are."""

from __future__ import annotations

import pytest

PROGRAM = "tests.keras.callback_programs:stop_iteration"


@pytest.mark.parametrize(
    "event", ["on_train_batch_begin", "on_train_batch_end", "on_test_batch_end"]
)
def test_a_stop_iteration_of_a_callback_is_no_end_of_the_data(tf_call, tmp_path, event):
    """Keras would end the epoch, and the next step would meet a run that is closed."""
    name, text = tf_call(PROGRAM, str(tmp_path / "run"), event).check().result
    assert name == "RuntimeError"
    assert f"raised StopIteration in {event} (" in text
    assert "callback_programs.py, line" in text
    assert "stop_training = True" in text
