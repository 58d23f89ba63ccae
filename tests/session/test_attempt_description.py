"""The start time of a process in `attempt_started`: by the clock of now, not of the boot."""

from __future__ import annotations

import json
import subprocess
import sys
import time

PROGRAM = """
import json, time
began = time.time()
from ckptkit.session.attempt_description import attempt_started
print(json.dumps([attempt_started().process_started, began]))
"""


def test_a_process_starts_after_it_was_started_and_before_its_first_line(tmp_path):
    """The kernel's time of the boot has whole seconds only, so it was up to a second off before."""
    script = tmp_path / "train.py"
    script.write_text(PROGRAM)
    for _ in range(3):
        before = time.time()
        done = subprocess.run(
            [sys.executable, str(script)], check=True, capture_output=True, text=True
        )
        started, began = json.loads(done.stdout)
        # The kernel counts in ticks of a hundredth of a second.
        assert before - 0.05 <= started <= began + 0.05
