"""For tests of what must survive: disks that refuse, tear and lose, and a clock that stands still. Also for tests of your own.

Pass `files=FaultyFiles()` and `clock=FakeClock()` to a `ckptkit.CheckpointManager`.
"""

from ckptkit.store.steps import Step
from ckptkit.testing.clock import FakeClock
from ckptkit.testing.faults import FaultyFiles
from ckptkit.testing.power import PowerLoss, all_lost, nothing_lost, write_tree

__all__ = ["FakeClock", "FaultyFiles", "PowerLoss", "Step", "all_lost", "nothing_lost", "write_tree"]
