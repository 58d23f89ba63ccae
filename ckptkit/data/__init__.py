"""Training data whose position can be saved: iterators, passes of a loop, and shuffled data."""

from ckptkit.data.shuffled_data import shuffled

__all__ = ["shuffled"]
