"""Anchor policies: pure functions that decide how a save stores the position in the data.

The state of a tf.data iterator contains everything that the pipeline has buffered. With a large
shuffle buffer it takes seconds to read, and more room than the model. An anchor is one such state,
to which later saves only count batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ckptkit.errors import ConfigError
from ckptkit.policies.metric_order import check_count

PositionForm = Literal["state", "anchor", "count"]
"""`state` saves the iterator's state in the checkpoint, and `anchor` saves it for later ones too;
`count` saves only the number of batches since the newest anchor, or since the iterator's start.
"""

SMALL_SECS, SMALL_BYTES, SMALL_ROWS = 0.003, 1_000_000, 500
"""A state that takes less time, memory and elements than this is in every checkpoint."""

_SLOW_SECS = 0.05
_ENOUGH_READINGS = 3
"""After so many readings, the shortest counts; before, a busy machine may have delayed them."""

_ROW_SECS, _BYTES_PER_SEC = 100e-6, 1e9
"""How long TensorFlow takes to read a row, and its bytes.

100,000 rows of 1 kB took 1.5 s, 50,000 rows of 4 kB 7 to 8 s, and 4,000 rows of 50 kB up to 0.5 s.
"""


@dataclass(frozen=True, kw_only=True)
class PositionCosts:
    """What it costs to save the position of an iterator, as measured in this run.

    Args:
        buffered_rows: how many elements its pipeline buffers by its description; None if unknown.
        buffered_bytes: how many bytes these have; None if unknown.
        serialize_secs: how long training stopped to read its state, in seconds: the shortest of
            the last three times; None before the first one.
        longest_secs: the longest of the last ten times; None before the first one. A buffer that is
            nearly empty, at the end of an epoch, is read faster than a full one.
        readings: the number of these times, at most three.
        batches: the number of batches since the newest anchor, or since its start.
        secs: the seconds of training since then.
        draw_secs: the seconds to draw one batch again. It is measured if that has happened;
            otherwise it is the time of a step, which includes the draw.
    """

    buffered_rows: int | None = None
    buffered_bytes: int | None
    serialize_secs: float | None
    longest_secs: float | None = None
    readings: int = _ENOUGH_READINGS
    batches: int
    secs: float
    draw_secs: float

    @property
    def is_small(self) -> bool:
        """Whether the state can be in every checkpoint. To know that, it is read a few times."""
        if (self.buffered_bytes or 0) > SMALL_BYTES or (self.buffered_rows or 0) > SMALL_ROWS:
            return False
        if self.serialize_secs is None or self.serialize_secs <= SMALL_SECS:
            return True
        return self.readings < _ENOUGH_READINGS and self.serialize_secs <= _SLOW_SECS

    @property
    def expected_secs(self) -> float:
        """How long training would stop to read the state with full buffers, in seconds."""
        known = max(self.longest_secs or 0.0, self.serialize_secs or 0.0)
        if known and self.readings >= _ENOUGH_READINGS:
            return known
        rows, size_bytes = self.buffered_rows or 0, self.buffered_bytes or 0
        return max(known, rows * _ROW_SECS + size_bytes / _BYTES_PER_SEC)


class AnchorPolicy:
    """The base class of all anchor policies."""

    def form(self, costs: PositionCosts) -> PositionForm:
        """Return how a save stores the position of an iterator.

        Args:
            costs: what each form costs.

        Raises:
            NotImplementedError: From this base class; each policy overrides it.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class AdaptiveAnchors(AnchorPolicy):
    """Saves an anchor if drawing the data again from the newest one would take too long.

    A small state is in every checkpoint. For a large one, a resume draws the batches since the
    newest anchor again, without training. The start of an iterator counts as an anchor.

    Args:
        redraw_secs: the longest time that a resume may draw, in seconds; by default 60. A resume
            may draw longer if that is at most 1 % of the training time since the newest anchor.
        share: the share of the training time that reading anchors may take, by default 0.01. This
            limit comes first: a resume may then draw longer than `redraw_secs`.

    Raises:
        ConfigError: If `redraw_secs` is negative, or `share` is not between 0 and 1.

    Example:
        >>> import ckptkit
        >>> ckptkit.AdaptiveAnchors(redraw_secs=10)
        AdaptiveAnchors(redraw_secs=10, share=0.01)
    """

    redraw_secs: float = 60.0
    share: float = 0.01

    def __post_init__(self) -> None:
        if not self.redraw_secs >= 0 or not 0 <= self.share <= 1:
            raise ConfigError(
                "redraw_secs is a duration in seconds, 0 or more, and share a number from 0 to 1. "
                f"Received: {self!r}."
            )

    def form(self, costs: PositionCosts) -> PositionForm:
        """Return how a save stores the position; see `AnchorPolicy`."""
        if costs.is_small:
            return "state"
        redraw_secs = costs.batches * costs.draw_secs
        allowed = max(self.redraw_secs, _SHARE_OF_REDRAW * costs.secs)
        affordable = _RESERVE * costs.expected_secs <= self.share * costs.secs
        return "anchor" if redraw_secs > allowed and affordable else "count"


_SHARE_OF_REDRAW = 0.01

_RESERVE = 2.0
"""A busy machine may take longer to read a state than before, and the share is to hold."""


@dataclass(frozen=True)
class AnchorEveryNBatches(AnchorPolicy):
    """Saves an anchor at the first save that is at least `n` batches after the newest one.

    Args:
        n: the number of batches, at least 1.

    Raises:
        ConfigError: If `n` is no positive whole number.

    Example:
        >>> import ckptkit
        >>> ckptkit.AnchorEveryNBatches(1000)
        AnchorEveryNBatches(n=1000)
    """

    n: int

    def __post_init__(self) -> None:
        check_count(self, "n")

    def form(self, costs: PositionCosts) -> PositionForm:
        """Return how a save stores the position; see `AnchorPolicy`."""
        return "anchor" if costs.batches >= self.n else "count"


@dataclass(frozen=True)
class NoAnchors(AnchorPolicy):
    """Saves no state of iterators: a resume draws each pass again from its start.

    Example:
        >>> import ckptkit
        >>> ckptkit.NoAnchors()
        NoAnchors()
    """

    def form(self, costs: PositionCosts) -> PositionForm:
        """Return how a save stores the position; see `AnchorPolicy`."""
        return "count"
