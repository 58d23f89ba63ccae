"""The anchor policies that the programs of this campaign can be given."""

from __future__ import annotations

from typing import Any

import ckptkit


def anchors_of(options: dict[str, Any]) -> Any:
    """The policy of the option `anchors`: a number of batches, "none", or the default."""
    given = options.get("anchors")
    if given is None:
        return None
    return ckptkit.NoAnchors() if given == "none" else ckptkit.AnchorEveryNBatches(given)
