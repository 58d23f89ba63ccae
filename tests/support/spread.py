"""A spread of many cases for the normal suite; the long one takes all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def spread(cases: Sequence[Any], every: int = 2, start: int = 0) -> list[Any]:
    """Return every n-th case as it is, and the others marked `long`."""
    return [
        case
        if number % every == start
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long)
        for number, case in enumerate(cases)
    ]
