"""Tools for tests, also your own: disks that refuse and lose writes, and a clock that is set.

Pass `files=FaultyFiles()` and `clock=FakeClock()` to a `ckptkit.CheckpointManager`.
"""

from ckptkit.storage.operations import Operation
from ckptkit.testing.fake_clock import FakeClock
from ckptkit.testing.faulty_files import FaultyFiles
from ckptkit.testing.power_loss import PowerLoss, all_lost, nothing_lost, write_tree

__all__ = [
    "FakeClock",
    "FaultyFiles",
    "Operation",
    "PowerLoss",
    "all_lost",
    "nothing_lost",
    "write_tree",
]

Step = Operation
"""The name that `Operation` had in the first version."""
