"""What reading the statistics of a checkpoint takes: called in a process of its own."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

TENSORS, ELEMENTS = 60, 1_000_000


def taken_by_statistics(directory: str) -> tuple[int, int]:
    """Bytes of memory that `tensors --stats` and `diff --values` take at the most, and bytes of the
    whole checkpoint.
    """
    import tensorflow as tf

    from ckptkit.cli import main

    with tf.device("CPU"):
        values = tf.random.normal((ELEMENTS,))
        prefix = tf.train.Checkpoint(
            **{f"x{number}": tf.Variable(values) for number in range(TENSORS)}
        ).write(str(Path(directory) / "large"))
        del values
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["tensors", prefix, "--stats"]) == 0
        assert main(["diff", prefix, prefix, "--values"]) == 0
    return _status("VmHWM") - before, 4 * TENSORS * ELEMENTS


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])
