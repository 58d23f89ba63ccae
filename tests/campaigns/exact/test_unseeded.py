"""Without any seed no two runs are alike, and an interrupted one still sees every row once in each
epoch.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns.exact.unseeded import BATCH, ROWS
from tests.support.journals import events_of

PROGRAM = Path(__file__).with_name("unseeded.py")
BATCHES = ROWS // BATCH


def rows(directory: Path) -> list[list[int]]:
    file = directory / "rows.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.parametrize(
    ("kind", "anchors"),
    [
        ("shuffle", "none"),
        *(
            pytest.param(kind, anchors, marks=pytest.mark.long)
            for kind in ("shuffle", "two_shuffles", "numpy")
            for anchors in (None, 1, 3, "none")
        ),
    ],
)
def test_each_row_once_in_an_epoch(
    kind: str, anchors: Any, fresh_process: Any, tmp_path: Path
) -> None:
    """In processes of their own: those that are forked from one have the same unseeded draws.

    Where batches are counted, only the state before the first one knows the order.
    """
    kept: list[list[int]] = []
    for after, code in ((4, -signal.SIGKILL), (BATCHES, -signal.SIGKILL), (0, 0)):
        before = len(rows(tmp_path))
        assert (
            fresh_process(
                PROGRAM, tmp_path / "run", kind, after, json.dumps(anchors), cwd=tmp_path
            ).wait()
            == code
        )
        restored = [event.step for event in events_of(tmp_path / "run", "restored")]
        at = restored[-1] if before else 0
        # The first batch that a resumed process trains with is the throw-away step that builds
        # everything.
        kept = kept[:at] + rows(tmp_path)[before + bool(before) :]
    assert len(kept) == 3 * BATCHES
    for epoch in range(3):
        seen = [row for batch in kept[epoch * BATCHES : (epoch + 1) * BATCHES] for row in batch]
        assert sorted(seen) == list(range(ROWS)), f"epoch {epoch}"
    orders = [
        tuple(map(tuple, kept[epoch * BATCHES : (epoch + 1) * BATCHES])) for epoch in range(3)
    ]
    assert len(set(orders)) == 3
