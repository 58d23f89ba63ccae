"""The keep policy that keeps a checkpoint which is some time older than the newest. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ckptkit.errors import ConfigError
from ckptkit.policies.keep_policies import Candidate, KeepPolicy, Reasons


@dataclass(frozen=True)
class KeepOlder(KeepPolicy):
    """Keep a checkpoint that is at least `secs` older than the newest, for a rollback.

    Saves may be only seconds apart. If training diverges, the newest few are then all too late. A
    second checkpoint stays beside it: the one that takes its place when it is old enough. So the
    older one is at most about twice as old as `secs`, while training runs without a break.

    Args:
        secs: the least difference in age, in seconds.

    Raises:
        ConfigError: If secs is not larger than 0.

    Example:
        >>> import ckptkit
        >>> ckptkit.KeepLatest(2) | ckptkit.KeepOlder(1800)
        KeepLatest(n=2) | KeepOlder(secs=1800)
    """

    secs: float = 600

    def __post_init__(self) -> None:
        if not 0 < self.secs < math.inf:
            raise ConfigError(
                "KeepOlder: secs is a duration in seconds, more than 0. Received: "
                f"secs={self.secs!r}."
            )

    def keep(self, candidates: Sequence[Candidate]) -> Reasons:
        reasons: Reasons = {}
        if not candidates:
            return reasons
        latest = candidates[-1].saved_at
        old = [each for each in candidates if latest - each.saved_at >= self.secs]
        young = [each for each in candidates if latest - each.saved_at < self.secs]
        if old:
            reasons[old[-1].name] = f"at least {self.secs:g} s older than the newest"
        reasons[young[0].name] = f"until it is {self.secs:g} s older than the newest"
        return reasons

    def lasting(self, candidates: Sequence[Candidate]) -> Reasons:
        return {}

    def gives_up(self, candidate: Candidate) -> str:
        return f"not needed as a checkpoint that is {self.secs:g} s older"

    def most(self) -> int | None:
        return 2
