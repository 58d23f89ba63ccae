"""Two streams on one terminal: a line that one leaves open is ended before the other prints."""

from __future__ import annotations

import pytest

from ckptkit.launcher.shared_screen import SharedScreen


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ([("out", "5/9"), ("err", "saved\n"), ("out", "\r6/9")], "5/9\nsaved\n\r6/9"),
        ([("out", "done\n"), ("err", "saved\n")], "done\nsaved\n"),
        ([("out", "a"), ("out", "b\n"), ("err", "c\n")], "ab\nc\n"),
        ([("out", "5/9"), ("err", "\rother bar"), ("err", "\n")], "5/9\rother bar\n"),
        ([("err", "a"), ("out", "\n5/9"), ("err", "b\n")], "a\n5/9\nb\n"),
    ],
)
def test_an_open_line_is_ended_before_another_stream_prints(written, shown):
    screen, parts = SharedScreen(), []
    for stream, text in written:
        screen.show(stream, text.encode(), parts.append)
    assert b"".join(parts).decode() == shown


def test_each_open_line_is_another_one():
    screen = SharedScreen()
    assert screen.open_line() is None
    screen.show("out", b"5/9", lambda _: None)
    first = screen.open_line()
    screen.show("out", b"\r6/9", lambda _: None)
    assert None is not first != screen.open_line()
    screen.show("out", b"\n", lambda _: None)
    assert screen.open_line() is None
