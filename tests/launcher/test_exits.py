"""How a training ends, and what the launcher does then: real processes, which speak to it as
docs/format.md says.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ckptkit.run.events import LaunchDecided, LaunchEnded, LaunchStarted
from tests.launcher.conftest import CHILD


def ends(launched, code: int, starts: int, *causes: str) -> None:
    """What came of it: the exit code, how often it was started, and the causes of death in the
    journal.
    """
    assert launched.wait() == code, launched.stderr
    assert len(launched.pids) == starts, launched.stderr
    assert [event.cause for event in launched.told(LaunchEnded)] == list(causes)
    assert len(launched.told(LaunchStarted)) == starts
    decided = launched.told(LaunchDecided)
    assert [event.action for event in decided] == ["restart"] * (starts - 1) + ["stop"]
    assert decided[-1].exit_code == code
    assert all(event.reason in launched.stderr for event in decided)


@pytest.mark.parametrize("named", [True, False], ids=["--run", "announced"])
def test_exit_0_is_the_end(launch, named):
    ends(launch("open", "step", "print:hello", "exit:0", named=named), 0, 1, "finished")


def test_what_it_prints_passes_through_and_is_in_the_log(launch):
    launched = launch("open", "print:to stdout", "complain:to stderr, without an end", "exit:0")
    ends(launched, 0, 1, "finished")
    assert launched.stdout == "to stdout\n"
    assert "to stderr, without an end" in launched.stderr
    log = (launched.run / "log" / "training.log").read_text()
    # What is written to two streams may meet in the middle of a line.
    assert log.replace("\n", "") in (
        "to stdoutto stderr, without an end",
        "to stderr, without an endto stdout",
    )


def test_each_start_begins_a_line_of_its_own(launch):
    launched = launch("open", "step", "write:cut", "next:signal:SIGKILL/exit:0")
    ends(launched, 0, 2, "signal", "finished")
    assert launched.stdout == "cut\ncut"


def test_output_appears_at_once(launch):
    launched = launch("print:first", "wait:go")
    launched.waits()
    launched.until(lambda: launched.stdout == "first\n")
    launched.go_on()
    ends(launched, 0, 1, "finished")


def test_the_log_is_begun_anew_at_a_size(launch):
    words = [f"print:{'x' * 998}"] * 12
    launched = launch(
        "open",
        *[word for line in words for word in (line, "pause")],
        options=["--log-bytes", "4000", "--log-files", "2"],
    )
    ends(launched, 0, 1, "finished")
    logs = {path.name: path.stat().st_size for path in (launched.run / "log").iterdir()}
    assert set(logs) == {"training.log", "training.log.1", "training.log.2"}
    assert all(size <= 4000 for size in logs.values())
    assert launched.stdout == f"{'x' * 998}\n" * 12


def test_exit_75_without_a_notice_starts_again(launch):
    ends(
        launch("open", "step", "commit", "next:exit:75/exit:75/exit:75/exit:75/exit:0"),
        0,
        5,
        "preempted",
        "preempted",
        "preempted",
        "preempted",
        "finished",
    )


def test_exit_75_that_leads_nowhere_is_no_progress(launch):
    ends(launch("open", "step", "exit:75"), 93, 3, "preempted", "preempted", "preempted")


@pytest.mark.parametrize("code", [78, 93])
def test_codes_that_say_never_again(launch, code):
    ends(launch("open", "step", "commit", f"exit:{code}"), code, 1, "exit")


@pytest.mark.parametrize(
    ("error", "code"), [("ConfigError", 78), ("IncompatibleStateError", 78), ("RunLockedError", 11)]
)
@pytest.mark.parametrize("told", ["fail", "raise"])
def test_errors_that_would_come_again(launch, error, code, told):
    words = ["open", "step", f"fail:{error}:no"] if told == "fail" else ["step", f"failed:{error}"]
    launched = launch(*words)
    ends(launched, code, 1, "exception")


def test_an_error_that_says_so_itself_is_not_tried_again(launch):
    ends(launch("open", "step", "fail:SomeError:no"), 78, 1, "exception")


@pytest.mark.parametrize(
    "words", [["failed:ValueError"], ["open", "failed:ValueError"], ["exit:3"]], ids=str
)
def test_an_exception_before_the_first_step_is_a_bug(launch, words):
    launched = launch(*words)
    code = 3 if words == ["exit:3"] else 1
    ends(launched, code, 1, "exit" if code == 3 else "exception")
    (ended,) = launched.told(LaunchEnded)
    if code == 1:
        assert ended.last_lines[0] == "Traceback (most recent call last):"
        assert ended.last_lines[-1] == "some.module.ValueError: as it was told to"


def test_a_crash_loop_without_progress(launch):
    ends(launch("open", "step", "failed:ValueError"), 93, 3, "exception", "exception", "exception")


def test_a_crash_loop_that_spends_its_budget(launch):
    ends(
        launch("open", "step", "signal:SIGSEGV", options=["--crashes", "1"]),
        1,
        2,
        "signal",
        "signal",
    )


def test_what_dies_before_its_first_step_spends_the_budget_of_crashes(launch):
    """With the settings that nobody has changed: three starts without progress are not what ends
    this.
    """
    ends(
        launch("open", "signal:SIGSEGV", options=["--backoff-max-secs", "0.05"]),
        1,
        6,
        *["signal"] * 6,
    )


def test_no_crash_is_forgiven_where_none_may_be(launch):
    ends(launch("open", "step", "commit", "exit:1", options=["--crashes", "0"]), 1, 1, "exit")


def test_progress_between_crashes_begins_the_count_anew(launch):
    crash, advance = "signal:SIGSEGV", "commit+signal:SIGSEGV"
    kinds = [crash, crash, advance, crash, crash, advance, advance, advance, crash, "exit:0"]
    ends(launch("open", "step", "next:" + "/".join(kinds)), 0, 10, *["signal"] * 9, "finished")


def test_a_launcher_that_follows_counts_what_one_before_it_saw(launch):
    first = launch("open", "step", "next:exit:1/wait:go").waits()
    first.process.kill()
    first.process.wait()
    first.go_on()
    second = launch("open", "step", "exit:1")
    assert second.wait() == 93
    assert len(second.pids) == 4
    assert [(event.cause, event.inferred) for event in second.told(LaunchEnded)] == [
        ("exit", False),
        ("launcher", True),
        ("exit", False),
        ("exit", False),
    ]


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGTERM"])
def test_a_signal_that_was_not_ours_is_a_crash(launch, name):
    launched = launch("open", "step", f"next:signal:{name}/exit:0")
    ends(launched, 0, 2, "signal", "finished")
    assert launched.told(LaunchEnded)[0].signal == name


def test_out_of_memory_as_an_exception(launch):
    launched = launch("open", "step", "next:limit:200+allocate:400/exit:0")
    ends(launched, 0, 2, "memory", "finished")
    assert launched.told(LaunchEnded)[0].last_lines[-1] == "MemoryError"


def test_out_of_memory_by_the_kernel(launch, memory_group):
    launched = launch(
        "open", "step", "next:allocate:400/exit:0", preexec_fn=memory_group(200_000_000)
    )
    ends(launched, 0, 2, "memory", "finished")
    assert launched.told(LaunchEnded)[0].signal == "SIGKILL"


@pytest.fixture
def memory_group():
    """`memory_group(most_bytes)`: for `preexec_fn`; the process and what it starts are in a control
    group of this size.
    """
    made: list[Path] = []

    def memory_group(most_bytes: int):
        root = Path("/sys/fs/cgroup")
        one = (root / "memory").is_dir()
        group = (root / "memory" if one else root) / f"ckptkit-test-{os.getpid()}"
        try:
            group.mkdir()
            made.append(group)
            (group / ("memory.limit_in_bytes" if one else "memory.max")).write_text(str(most_bytes))
        except OSError as error:
            pytest.skip(f"no control group may be made here: {error}")
        return lambda: (group / "cgroup.procs").write_text(str(os.getpid()))

    yield memory_group
    for group in made:
        group.rmdir()


def test_a_program_that_is_not_there(launch):
    launched = launch(command=["no-such-program"])
    assert launched.wait() == 127
    assert "No such file" in launched.stderr


def test_a_program_that_may_not_be_run(launch, tmp_path):
    (tmp_path / "plain").write_text("text")
    assert launch(command=[str(tmp_path / "plain")]).wait() == 126


@pytest.mark.parametrize(
    ("word", "cause"), [("exit:75", "preempted"), ("fail:SomeError:yes", "exception")]
)
def test_a_pipeline_that_swallows_the_exit_code(launch, word, cause):
    """`python train.py | tee log`, in a shell without pipefail."""
    words = f"run open step commit next:{'stopped+' if cause == 'preempted' else ''}{word}/finish"
    launched = launch(command=["sh", "-c", f"{sys.executable} -S {CHILD} {words} | cat"])
    ends(launched, 0, 2, cause, "finished")


def test_an_exception_before_the_first_step_is_a_bug_below_a_pipeline_too(launch):
    ends(
        launch(
            command=["sh", "-c", f"{sys.executable} -S {CHILD} run open fail:SomeError:yes | cat"]
        ),
        1,
        1,
        "exception",
    )


def test_a_training_below_a_shell(launch):
    script = f"{sys.executable} -S {CHILD} run open step next:signal:SIGSEGV/finish; exit $?"
    ends(launch(command=["sh", "-c", script]), 0, 2, "signal", "finished")


@pytest.mark.parametrize("after", ["signal:SIGKILL", "step+signal:SIGKILL"])
def test_a_training_that_is_killed_below_a_pipeline_is_started_again(launch, after):
    """The shell ends with the code of `cat`, and only the missing report shows the kill."""
    words = f"run open step commit next:{after}/finish"
    launched = launch(command=["sh", "-c", f"{sys.executable} -S {CHILD} {words} | cat"])
    ends(launched, 0, 2, "killed", "finished")
    assert "reported no end" in launched.told(LaunchEnded)[0].words


def test_a_training_that_is_killed_below_a_wrapper_is_started_again(launch):
    words = "run open step commit next:signal:SIGKILL/finish"
    launched = launch(command=["sh", "-c", f"{sys.executable} -S {CHILD} {words}; true"])
    ends(launched, 0, 2, "killed", "finished")


def test_a_program_without_a_run_finishes_by_its_exit_code_below_a_pipeline_too(launch):
    launched = launch(command=["sh", "-c", f"{sys.executable} -S {CHILD} run print:hello | cat"])
    assert launched.wait() == 0
    assert len(launched.pids) == 1
