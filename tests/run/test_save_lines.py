"""Which saves are worth a line of the log."""

from __future__ import annotations

import logging

from ckptkit.run.save_lines import SaveLines

ADAPTIVE = "adaptive: every 10 s, as a save costs 0.01 s of training"


def logged(lines: SaveLines, times: list[float], trigger: str = ADAPTIVE, size: int = 1) -> list:
    """The saves with a line, each with its time and the end of its line."""
    found = [(time, lines.line(trigger, size, time)) for time in times]
    return [(time, line.rest) for time, line in found if line.level == logging.INFO]


def test_a_day_of_adaptive_saves_has_one_line_in_ten_minutes():
    lines = SaveLines()
    shown = logged(lines, [10.0 * number for number in range(8640)])
    assert shown[:3] == [
        (0.0, ""),
        (10.0, ""),
        (610.0, "; 60 saves in the last 600 s"),
    ]
    assert len(shown) == 2 + 8640 // 60 - 1


def test_each_change_of_the_interval_by_more_than_half_has_a_line():
    shown = logged(SaveLines(), [0.0, 10.0, 20.0, 34.0, 50.0, 66.0, 73.0, 80.0])
    assert [time for time, _ in shown] == [0.0, 10.0, 50.0, 73.0]


def test_what_was_asked_for_always_has_a_line():
    lines = SaveLines()
    logged(lines, [0.0, 10.0])
    for trigger in ("every 5 steps", f"{ADAPTIVE}; every epoch", "end of training", "asked"):
        assert logged(lines, [20.0, 21.0], trigger) == [(20.0, ""), (21.0, "")]


def test_a_run_that_writes_much_says_so_once():
    lines = SaveLines()
    warnings = [lines.line(ADAPTIVE, 80_000_000, 10.0 * number).warning for number in range(9)]
    assert [bool(each) for each in warnings] == [False, True] + 7 * [False]
    assert "691" in warnings[1]
    assert "a day" in warnings[1]
    assert not any(SaveLines().line(ADAPTIVE, 1000, 10.0 * number).warning for number in range(9))
