"""How long a save will take to write, if saves write different amounts."""

from __future__ import annotations

import pytest

from ckptkit.writing.write_times import WriteTime, WriteTimes


def test_an_estimate_follows_the_bytes_that_have_to_be_written():
    times = WriteTimes()
    assert (times.secs_for(10), times.whole_secs) == (None, None)
    times.add(10.0, 1000)
    for _ in range(3):
        times.add(0.1, 10)
    assert times.secs_for(10) == pytest.approx(0.1)
    assert times.secs_for(510) == pytest.approx(5.1)
    assert times.whole_secs == pytest.approx(10.0)


def test_of_saves_of_one_size_the_fastest_counts():
    times = WriteTimes()
    for secs in (1.0, 3.0, 2.0, 4.0):
        times.add(secs, 100)
    assert times.secs_for(100) == times.whole_secs == 2.0


def test_the_writer_may_add_a_save_during_an_estimate():
    times = WriteTimes()

    class Adds(WriteTime):
        def scaled(self, new_bytes, secs_per_byte):
            times.add(3.0, 100)
            return super().scaled(new_bytes, secs_per_byte)

    times.add(2.0, 100)
    times._last.extend([Adds(1.0, 100), Adds(2.0, 100)])
    assert times.secs_for(100) == 1.0
