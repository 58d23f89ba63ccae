"""Wraps private names of Keras' progress bar.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import keras


def shown_line(logger: Any) -> Hashable | None:
    """Return what identifies the last line of a progress bar; None if it has drawn no line.

    Reason: no public name tells whether a bar has been drawn, nor when.

    Args:
        logger: a `ProgbarLogger`.
    """
    bar = getattr(logger, "progbar", None)
    if getattr(bar, "verbose", 0) != 1 or not keras.config.is_interactive_logging_enabled():
        return None
    return (id(bar), bar._last_update) if bar and bar._prev_total_width else None
