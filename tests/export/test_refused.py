"""What is not what the live model is, is not published; and what is said then."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.xdist_group("exporting")

SAID = {
    "nan": (
        "ExportError",
        r"signature 'serve': output 'output_0' is nan at \[0, 0\], but the live model gives "
        r"-?\d.* \(12 of 12 values\)",
    ),
    "one nan of many signatures": (
        "ExportError",
        r"signature 'odd': .* is nan at .* \(1 of 12 values\)",
    ),
    "other values": (
        "ExportError",
        r"is -?\d\S* at \[.*\], but the live model gives -?\d.* \(allowed: 0.001 of it",
    ),
    "another shape": ("ExportError", r"is float32\[1, 4\]; the live model's is float32\[3, 4\]"),
    "another type": ("ExportError", r"is float64\[3, 4\]; the live model's is float32"),
    "changed weight": (
        "ExportError",
        r"the variable variables/\d in it \(float32\[4, 3\]\) differs from every variable of the "
        r"live model",
    ),
    "missing asset": ("ExportError", r"a fresh process cannot load it: .*words.txt"),
    "broken graph": ("ExportError", r"a fresh process cannot load it: "),
    "code of this process": (
        "ExportError",
        r"signature 'serve': it fails in a fresh process: .*pyfunc",
    ),
    "a link": ("ExportError", r"link is not a regular file"),
    "interrupted": ("KeyboardInterrupt", r""),
    "never built": (
        "ExportError",
        r"has no variables yet, .* Call it once on a batch, or pass sample=batch",
    ),
    "unknown inputs": ("ExportError", r"the form of its inputs is unknown. Pass sample="),
    "another sample": (
        "ExportError",
        r"the sample's inputs is float32\(3, 3\). Expected float32\(None, 4\)",
    ),
    "ragged": ("ExportError", r"dense tensors, but it is a RaggedTensor"),
    "no such table": (
        "ExportError",
        r"neither in the model nor in the function's closure. Make it an attribute of a tf.Module",
    ),
    "no time": (
        "ExportError",
        r"did not finish loading and running it within 0.3 s. Give it more time \(limit_secs\)",
    ),
    "to stop": (
        "ExportError",
        r"this process is about to stop, and the remaining time is too short for the check",
    ),
    "no Python": ("ExportError", r"ended with code 1 and no answer"),
    "unknown Python": ("ExportError", r"does not know its own interpreter"),
}


@pytest.fixture(scope="module")
def refused(fork_server, tmp_path_factory):
    directory = tmp_path_factory.mktemp("refused")
    seed = id(directory) % 10_000
    return (
        fork_server.call(
            "tests.export.poison:refusals", str(directory), seed, env={"CUDA_VISIBLE_DEVICES": ""}
        )
        .check()
        .result
    )


@pytest.mark.parametrize("name", SAID)
def test_it_is_refused_with_the_reason(refused, name):
    kind, text = refused["said"][name]
    assert kind == SAID[name][0], text
    assert re.search(SAID[name][1], text, re.DOTALL), text


def test_nothing_is_left_behind(refused):
    assert set(refused["said"]) == set(SAID)
    assert refused["left"] == [refused["good"]], "the version that was there, and no half one"
    assert refused["unchanged"]
