"""A model that runs only on a GPU is reported as unproven, and published."""

from __future__ import annotations

import pytest
import tensorflow as tf

import ckptkit
from ckptkit.exports.export_record import read_export


def recurrent(x):
    """Return a model that is traced like an LSTM trained on a GPU, and can be called here."""
    if tf.executing_eagerly():
        return x
    state = tf.zeros([1, 3, 4])
    return tf.raw_ops.CudnnRNN(
        input=x, input_h=state, input_c=state, params=tf.zeros([160]), is_training=False
    )[0]


def test_an_operation_for_gpus_is_unproven_where_there_is_one(trainings, tmp_path, monkeypatch):
    sample = tf.zeros([2, 3, 4])
    with pytest.raises(ckptkit.ExportError, match=r"it fails in a fresh process: .*CudnnRNN"):
        ckptkit.export_saved_model(recurrent, tmp_path / "cpu", sample=sample)
    monkeypatch.setattr("ckptkit.export.proof._has_gpu", lambda: True)
    (proof,) = (
        each.proof
        for each in read_export(
            ckptkit.export_saved_model(recurrent, tmp_path / "gpu", sample=sample)
        ).signatures.values()
    )
    assert proof.how == "unproven"
    assert "runs on a GPU only" in proof.note
    assert "CudnnRNN" in proof.note
