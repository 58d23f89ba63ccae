"""Another backend of Keras than TensorFlow's ends in one clear line, at the first use."""

from __future__ import annotations

import json

import pytest

USE = """
    import json
    import ckptkit

    said = {}
    for name in (
        "CheckpointCallback",
        "CheckpointManager",
        "export_saved_model",
        "load_model",
        "load_weights",
    ):
        try:
            getattr(ckptkit, name)
        except ckptkit.ConfigError as error:
            said[name] = str(error)
    # These compute nothing.
    said["others"] = [ckptkit.open_run.__name__, repr(ckptkit.EveryNSteps(5))]
    print(json.dumps(said))
"""


IMPORTED = (
    "import os, sys, types; os.environ['KERAS_BACKEND'] = 'tensorflow'; "
    "sys.modules['keras'] = types.SimpleNamespace("
    "config=types.SimpleNamespace(backend=lambda: 'openvino'))"
)


@pytest.mark.parametrize(
    ("asked_for", "before"),
    [
        # Not installed: the import of Keras itself would fail.
        ("jax", ""),
        ("torch", ""),
        # Imported (a stand-in, because no other one is installed): what the variable says
        # afterwards does not count.
        ("openvino", IMPORTED),
    ],
)
def test_another_backend_is_refused(fresh_process, asked_for, before):
    process = fresh_process(f"\n    {before}{USE}", env={"KERAS_BACKEND": asked_for})
    said = json.loads(process.check().stdout)
    assert said.pop("others") == ["open_run", "EveryNSteps(n=5)"]
    assert len(said) == 5
    for message in said.values():
        assert f"Received: {asked_for!r}. Set KERAS_BACKEND=tensorflow before" in message
        assert "\n" not in message
