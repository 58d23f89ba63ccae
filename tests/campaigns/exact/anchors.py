"""The anchor policies that the programs of this campaign can be given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import ckptkit
from ckptkit.policies.anchor_policies import SMALL_BYTES, PositionCosts, PositionForm


@dataclass(frozen=True)
class LargeBuffers(ckptkit.AdaptiveAnchors):
    """Decides as for large buffers, though those of the campaign are small.

    The bounds are of the size of a few steps, so that the times of this run decide where anchors
    stand: in each process at other batches.
    """

    redraw_secs: float = 0.02
    share: float = 0.5

    def form(self, costs: PositionCosts) -> PositionForm:
        return super().form(replace(costs, buffered_bytes=2 * SMALL_BYTES))


def anchors_of(options: dict[str, Any]) -> Any:
    """The policy of the option `anchors`: a number of batches, "none", "adaptive" as if buffers
    were large, or the default.
    """
    given = options.get("anchors")
    if given is None:
        return None
    known = {"none": ckptkit.NoAnchors, "adaptive": LargeBuffers}
    return known[given]() if given in known else ckptkit.AnchorEveryNBatches(given)
