"""Logs after the first save how much room the checkpoints of a run take."""

from __future__ import annotations

from ckptkit.log import logger, size
from ckptkit.policies import KeepPolicy
from ckptkit.run.data_anchor_entry import anchor_file
from ckptkit.run.manifest import Manifest


def log_size(keep: KeepPolicy, written: Manifest) -> None:
    """Log what one checkpoint takes, and what all of them will take.

    Args:
        keep: the keep policy of the run.
        written: the manifest of the first checkpoint.
    """
    most = keep.most()
    anchors = sum(file.size_bytes for file in written.files if anchor_file(file.name))
    rest = written.size_bytes - anchors
    total = "more and more over the run" if most is None else f"at most {size(rest * (most + 1))}"
    if anchors:
        total += ", and the states of the data from which they count"
    logger.info(
        "one checkpoint takes %s; with %r all of them take %s",
        size(written.size_bytes),
        keep,
        total,
    )
    values = sum(entry.size_bytes for entry in written.tensors)
    if written.size_bytes > 2 * values + 1_000_000:
        logger.info(
            "most of it (%s) is the state of the data pipeline, not the model: a smaller "
            "shuffle buffer, or ckptkit.data.shuffled, makes it smaller",
            size(written.size_bytes - values),
        )
