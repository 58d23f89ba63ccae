"""Files that other versions of Keras wrote give the outputs that the model had there."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest

import ckptkit
from tests.load.golden_keras import zoo

GOLDEN = Path(zoo.__file__).parent


@pytest.fixture(scope="module", params=sorted(GOLDEN.glob("*.tar.xz")), ids=lambda path: path.name)
def written(request, tmp_path_factory):
    """The unpacked files of one version."""
    directory = tmp_path_factory.mktemp("written")
    with tarfile.open(request.param) as packed:
        packed.extractall(directory, filter="data")
    return directory


def test_weights_give_the_outputs_of_then(written):
    expected = np.array(json.loads((written / "outputs.json").read_text()))
    files = sorted(set(written.iterdir()) - {written / "outputs.json"})
    assert len(files) >= 2
    # Once made in the order of use, and once, as then, in the reverse.
    for reverse in (False, True):
        model = zoo.zoo(keras, reverse=reverse)
        for file in files:
            zoo.randomize(model, seed=2)
            report = ckptkit.load_weights(model, file)
            outputs = np.asarray(model(zoo.inputs()))
            assert np.allclose(outputs, expected, atol=2e-5), (file.name, reverse)
            assert {each.by for each in report.matched} == {"structure"}, (file.name, reverse)
            assert len(report.matched) == len(model.weights)
