"""Data with an exact position: `ckptkit.data.shuffled`, iterators, and the passes of a loop."""

from ckptkit.data.shuffled_data import shuffled

__all__ = ["shuffled"]
