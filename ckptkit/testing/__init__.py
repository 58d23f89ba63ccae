"""Tools for tests, also for yours: a file system with faults, a power-loss model, a fake clock.

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
"""The former name of `Operation`."""
