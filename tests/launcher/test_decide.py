"""What is decided without any process: causes of death, budgets, deadlines."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptkit.launcher.earlier_launches import (
    UnfinishedStart,
    earlier_ends,
    infer_end,
    unfinished_starts,
)
from ckptkit.launcher.escalation import escalation
from ckptkit.launcher.exit_cause import CRASHES, ExitCause, exit_cause_of
from ckptkit.launcher.launcher_settings import Settings, settings_of, settle
from ckptkit.launcher.oom_counter import oom_counter
from ckptkit.launcher.restart_decision import EarlierEnd, StopContext, decide
from ckptkit.ownership.machine_identity import Machine
from ckptkit.run.events import (
    AttemptEnded,
    LaunchDecided,
    LaunchEnded,
    LaunchStarted,
    NoticeReceived,
    SignalReceived,
    TrainingStarted,
)
from ckptkit.run.launcher_channel import ChannelState, Failure
from tests.docs_examples import ROOT

NOW = 1_000_000.0


def ended(**more: Any) -> ExitCause:
    known: dict[str, Any] = {
        "pid": 2,
        "code": None,
        "signal_number": None,
        "state": ChannelState(pid=1, attempt=1, trained=True),
        "hung_secs": None,
        "oom_kills": 0,
        "printed": [],
        "advanced": False,
        "step": 0,
    }
    return exit_cause_of(**(known | more))


def decided(
    ending: ExitCause,
    past: list[EarlierEnd] | None = None,
    told: StopContext | None = None,
    **settings: Any,
):
    return decide(ending, past or [], told or StopContext(), Settings(**settings), NOW)


def crashed(count: int, *, advanced: bool = False, ago: float = 1.0) -> list[EarlierEnd]:
    return [EarlierEnd(NOW - ago, "signal", advanced)] * count


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({"code": 0, "state": None}, "finished"),  # it never opened a run
        ({"code": 0, "state": ChannelState(pid=1)}, "finished"),  # neither
        ({"code": 0}, "killed"),  # below a pipe, with its run open
        ({"code": 0, "state": ChannelState(pid=1, run="/run")}, "killed"),
        ({"code": 0, "oom_kills": 1}, "memory"),
        ({"code": 0, "state": ChannelState(pid=2, attempt=1, trained=True)}, "finished"),
        ({"code": 0, "state": ChannelState(pid=1, outcome="finished")}, "finished"),
        ({"code": 0, "state": ChannelState(pid=1, outcome="stopped")}, "finished"),
        (
            {"code": 0, "state": ChannelState(pid=1, outcome="preempted")},
            "preempted",
        ),  # `python train.py | tee log`
        (
            {"code": 0, "state": ChannelState(pid=2, outcome="preempted")},
            "preempted",
        ),  # a program that lets nobody see its exit code
        (
            {
                "code": 0,
                "state": ChannelState(pid=1, outcome="failed", failure=Failure(error="ValueError")),
            },
            "exception",
        ),
        (
            {
                "code": 0,
                "state": ChannelState(
                    pid=1, outcome="failed", failure=Failure(error="MemoryError")
                ),
            },
            "memory",
        ),
        (
            {
                "code": 0,
                "state": ChannelState(pid=2, outcome="failed", failure=Failure(error="ValueError")),
            },
            "finished",
        ),  # it caught that, and went on
        ({"code": 0, "hung_secs": 9.0, "state": ChannelState(pid=1, outcome="preempted")}, "hang"),
        ({"code": 75}, "preempted"),
        (
            {"code": 42, "state": ChannelState(pid=1, outcome="preempted")},
            "preempted",
        ),  # the user's own exit code
        (
            {"code": 143, "state": ChannelState(pid=1, outcome="preempted")},
            "preempted",
        ),  # a shell around it
        (
            {"signal_number": signal.SIGKILL, "state": ChannelState(pid=1, outcome="preempted")},
            "signal",
        ),
        ({"signal_number": signal.SIGKILL}, "signal"),
        ({"code": 137}, "signal"),
        ({"signal_number": signal.SIGKILL, "oom_kills": 1}, "memory"),
        ({"code": 137, "oom_kills": 1}, "memory"),
        ({"signal_number": signal.SIGSEGV, "oom_kills": 1}, "signal"),
        (
            {
                "signal_number": signal.SIGABRT,
                "printed": ["terminate called after throwing an instance of 'std::bad_alloc'"],
            },
            "memory",
        ),
        (
            {
                "code": 1,
                "state": ChannelState(pid=1, failure=Failure(error="ResourceExhaustedError")),
            },
            "memory",
        ),
        (
            {
                "code": 1,
                "state": ChannelState(pid=1, failure=Failure(error="ValueError", message="bad")),
            },
            "exception",
        ),
        (
            {
                "code": 1,
                "printed": ["Traceback (most recent call last):", '  File "x"', "KeyError: 'a'"],
            },
            "exception",
        ),
        ({"code": 1}, "exit"),
        ({"code": 75, "hung_secs": 9.0}, "hang"),
        ({"signal_number": int(signal.SIGRTMIN) + 3}, "signal"),
    ],
)
def test_causes_of_death_are_told_apart(more, cause):
    assert ended(**more).cause == cause


def test_the_last_traceback_counts_and_what_is_printed_after_it_does_not():
    first = [
        "Traceback (most recent call last):",
        "  File 1",
        "KeyError: 'a'",
        "",
        "During handling of the above exception, another one:",
        "",
    ]
    second = [
        "Traceback (most recent call last):",
        "  File 2",
        "    code",
        "pkg.mod.OwnError: why: it did",
        "ckptkit: goodbye",
    ]
    ending = ended(code=1, printed=[*first, *second])
    assert ending.failure == Failure(error="OwnError", message="why: it did")
    assert list(ending.last_lines) == second[:-1]


def test_the_deaths_of_the_table_lead_to_the_codes_of_the_table():
    never = ChannelState(
        pid=1, trained=True, failure=Failure(error="RunLockedError", restart=False)
    )
    notice = StopContext(notice="gce: preempted")
    for ending, told, code in [
        (ended(code=0, state=None), StopContext(), 0),
        (ended(code=0), notice, 75),  # killed below a pipe, after its grace period
        (ended(code=75, step=5), notice, 75),
        (ended(code=78), StopContext(), 78),
        (ended(code=93), StopContext(), 93),
        (ended(signal_number=signal.SIGINT), StopContext(), 130),
        (ended(code=1), StopContext(interrupted=True), 130),
        (ended(code=1, state=never), StopContext(), 11),
        (ended(signal_number=signal.SIGHUP), StopContext(signals=frozenset({"SIGHUP"})), 129),
        (ended(code=42, state=ChannelState(pid=1, outcome="preempted")), notice, 75),
        (ended(code=1, state=ChannelState(pid=1, outcome="preempted")), notice, 75),
        (ended(code=143, state=ChannelState(pid=1, outcome="preempted")), notice, 75),
        (ended(code=1, state=None), notice, 75),
        (ended(signal_number=signal.SIGKILL), notice, 75),
        (ended(signal_number=signal.SIGTERM, state=None), notice, 75),
        (
            ended(code=1, state=ChannelState(pid=1, outcome="preempted", asked=True)),
            StopContext(),
            75,
        ),
        (
            ended(
                signal_number=signal.SIGSEGV, state=ChannelState(pid=1, trained=True, asked=True)
            ),
            StopContext(),
            75,
        ),
        (ended(code=0, state=ChannelState(pid=1, outcome="preempted")), notice, 75),
        (
            ended(
                code=0,
                state=ChannelState(pid=1, outcome="failed", failure=Failure(error="ValueError")),
            ),
            StopContext(),
            1,
        ),
        (ended(code=0, state=ChannelState(pid=1, outcome="finished")), notice, 0),
        (ended(code=75), StopContext(warned=True, signals=frozenset({"SIGUSR1"})), 75),
    ]:
        decision = decided(ending, told=told)
        assert (decision.restart, decision.exit_code) == (False, code), decision


def test_who_was_asked_to_stop_is_not_put_back_into_a_queue_because_the_machine_goes_away_too():
    decision = decided(
        ended(code=75, state=ChannelState(pid=1, outcome="preempted", asked=True)),
        told=StopContext(notice="SIGTERM: x", warned=True),
    )
    assert (decision.exit_code, decision.elsewhere) == (75, False)


def test_sigusr1_is_a_warning_only_where_the_training_takes_it_for_one():
    warned = StopContext(warned=True, signals=frozenset({"SIGUSR1"}))
    assert decided(ended(code=75), told=warned).elsewhere
    assert decided(ended(signal_number=signal.SIGUSR1), told=warned).elsewhere, (
        "it was still importing"
    )
    assert decided(ended(signal_number=signal.SIGSEGV), told=warned).restart


def test_a_signal_that_was_passed_on_is_an_order_where_the_training_took_it_for_one():
    def saved(reason: str = "") -> ExitCause:
        return ended(
            code=75, state=ChannelState(pid=1, trained=True, outcome="preempted", reason=reason)
        )

    hung_up = StopContext(signals=frozenset({"SIGHUP"}))
    for ending in (saved("SIGHUP"), saved(), ended(code=75, state=None)):
        decision = decided(ending, told=hung_up)
        assert (decision.restart, decision.exit_code, decision.elsewhere) == (False, 75, False), (
            "the machine stays"
        )
    assert decided(saved("no progress"), told=hung_up).restart, "it stopped for something else"
    assert decided(saved(), told=StopContext(signals=frozenset({"SIGCONT"}))).restart


def test_what_would_come_again_is_not_tried_again_though_the_machine_goes_away():
    assert (
        decided(
            ended(
                code=1,
                state=ChannelState(pid=1, failure=Failure(error="ConfigError", restart=False)),
            ),
            told=StopContext(notice="x"),
        ).exit_code
        == 78
    )


@pytest.mark.parametrize("crashes", range(4))
def test_the_wait_doubles_up_to_a_most(crashes):
    decision = decided(
        ended(signal_number=signal.SIGSEGV),
        crashed(crashes),
        no_progress=99,
        backoff_secs=3.0,
        backoff_max_secs=10.0,
    )
    assert decision.restart
    assert decision.most_wait_secs == [3.0, 6.0, 10.0, 10.0][crashes]


def test_crashes_of_long_ago_do_not_count_for_the_budget():
    crash = ended(signal_number=signal.SIGSEGV)
    assert not decided(crash, crashed(2), crashes=2, no_progress=99).restart
    assert decided(crash, crashed(2, ago=3601.0), crashes=2, no_progress=99).restart


def test_a_notice_or_a_lost_machine_is_no_crash_and_no_progress_either():
    crash = ended(signal_number=signal.SIGSEGV)
    others = [
        EarlierEnd(NOW, "preempted", False, stop_ordered=True),
        EarlierEnd(NOW, "machine", False),
        EarlierEnd(NOW, "launcher", False),
    ]
    assert decided(crash, [*others, *crashed(1), *others]).restart
    assert decided(crash, [*others, *crashed(2), *others]).exit_code == 93


def test_being_told_to_go_costs_nothing():
    stray, told = ended(code=75), EarlierEnd(NOW, "preempted", False, stop_ordered=True)
    for cause in (
        "preempted",
        "signal",
        "exception",
        "hang",
    ):  # a signal ends it before it listens, or it fails on its way out
        assert decided(stray, [replace(told, cause=cause)] * 20).restart
        assert decided(
            ended(signal_number=signal.SIGSEGV), [replace(told, cause=cause)] * 20
        ).restart
    assert decided(stray, [replace(told, stop_ordered=False)] * 2).exit_code == 93


def lives(ending: ExitCause, every_secs: float, settings: Settings) -> tuple[int, int]:
    """How often a training that always ends like this is started, and the launcher's exit code."""
    past: list[EarlierEnd] = []
    for number in range(1, 1000):
        now = NOW + number * every_secs
        decision = decide(ending, past, StopContext(), settings, now)
        if not decision.restart:
            return number, decision.exit_code
        past.append(EarlierEnd(now, ending.cause, ending.advanced, ending.trained))
    raise AssertionError("it is started for ever")


@pytest.mark.parametrize(
    "config", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.stem
)
def test_both_budgets_can_be_spent_with_the_shipped_settings(config):
    settings = settings_of(settle(config, {}, {}))
    dies, trains = (
        ended(signal_number=signal.SIGSEGV, state=ChannelState(pid=1, attempt=1)),
        ended(signal_number=signal.SIGSEGV),
    )
    assert lives(dies, 60.0, settings) == (settings.crashes + 1, 1)
    assert lives(trains, 60.0, settings) == (
        (1, 1) if settings.crashes == 0 else (settings.no_progress, 93)
    )  # with 0 the first one is the end
    assert (
        lives(ended(hung_secs=1800.0, code=75, state=None), 1800.0, settings)[0]
        <= settings.no_progress
    )


@given(
    st.floats(0.0, 1e5), st.booleans(), st.integers(0, 20), st.integers(1, 20), st.floats(0.0, 1e5)
)
def test_what_comes_to_nothing_ends_however_slowly_it_does(
    every_secs, trained, crashes, no_progress, window_secs
):
    settings = Settings(crashes=crashes, no_progress=no_progress, window_secs=window_secs)
    starts, code = lives(
        ended(signal_number=signal.SIGABRT, state=ChannelState(pid=1, trained=trained)),
        every_secs,
        settings,
    )
    assert starts <= crashes + 1 + no_progress
    assert code in (1, 93)


causes = st.sampled_from([*sorted(CRASHES), "preempted", "machine", "launcher", "finished"])
pasts = st.lists(st.builds(EarlierEnd, st.just(NOW - 1), causes, st.booleans()), max_size=30)


@given(pasts, st.integers(1, 5), st.integers(0, 5))
def test_whatever_came_before_progress_is_always_followed_by_a_start(past, no_progress, crashes):
    crash = ended(signal_number=signal.SIGSEGV, advanced=True, step=5)
    decision = decided(crash, past, no_progress=no_progress, crashes=crashes)
    assert decision.restart == (crashes >= 1)


@given(pasts, st.integers(1, 5))
def test_without_progress_it_ends_in_as_many_starts_as_were_said(past, no_progress):
    past, starts = list(past), 0
    while True:
        decision = decided(
            ended(signal_number=signal.SIGSEGV), past, no_progress=no_progress, crashes=99
        )
        starts += 1
        if not decision.restart:
            break
        past.append(EarlierEnd(NOW, "signal", False))
    assert decision.exit_code == 93
    assert starts <= no_progress


@given(st.floats(0.05, 7200))
def test_everything_is_over_before_the_machine_is(grace_secs):
    due = escalation(100.0, grace_secs)
    assert 100.0 < due.group_at < due.kill_at < 100.0 + grace_secs
    assert due.due(due.group_at - 1e-3) is None
    assert due.due(due.group_at) == "group"
    assert replace(due, stage="group").due(due.kill_at) == "killed"
    assert due.due(due.kill_at) == "killed", "also where nobody looked in between"
    assert replace(due, stage="killed").due(1e9) is None


def start(launcher: str, number: int, time: float, step: int = 0) -> LaunchStarted:
    return LaunchStarted(
        launcher=launcher,
        number=number,
        host="h",
        boot="b",
        pid=1,
        program="p",
        step=step,
        time=time,
    )


def end(
    launcher: str, number: int, time: float, step: int = 0, cause: str = "signal"
) -> LaunchEnded:
    return LaunchEnded(
        launcher=launcher,
        number=number,
        cause=cause,
        words="",
        exit_code=1,
        signal="",
        step=step,
        time=time,
    )


def test_what_a_journal_tells_of_earlier_ends():
    told = [
        start("a", 1, 1),
        end("a", 1, 2, step=5),
        start("a", 2, 3, step=5),
        end("a", 2, 4, step=5, cause="a word of a later version"),
        start("b", 1, 5, step=5),
        NoticeReceived(source="gce", grace_secs=30, time=6),
        start("c", 1, 7),
    ]
    assert earlier_ends(told) == [EarlierEnd(2, "signal", True), EarlierEnd(4, "exit", False)]
    moved_away = replace(end("a", 1, 2, cause="preempted"), trained=False, told=True)
    assert earlier_ends([start("a", 1, 1), moved_away]) == [
        EarlierEnd(2, "preempted", False, False, True)
    ]
    assert [(each.started.launcher, each.stop_ordered) for each in unfinished_starts(told)] == [
        ("b", True),
        ("c", False),
    ]
    hung_up = SignalReceived(signal="SIGHUP", phase="launching", time=8)
    assert [each.stop_ordered for each in unfinished_starts([*told, hung_up])] == [True, True]
    assert [
        each.stop_ordered
        for each in unfinished_starts(
            [*told, replace(hung_up, signal="SIGCONT"), replace(hung_up, signal="SIGUSR2")]
        )
    ] == [True, False]
    gave_up = LaunchDecided(action="stop", exit_code=93, wait_secs=0, reason="", time=4.5)
    assert (
        earlier_ends([*told[:4], gave_up, *told[4:]]) == []
    )  # whoever starts it again has changed something
    moved = LaunchDecided(action="stop", exit_code=75, wait_secs=0, reason="", time=4.5)
    assert len(earlier_ends([*told[:4], moved, *told[4:]])) == 2


def test_which_attempts_of_a_start_told_of_no_end():
    def trains(attempt: int, time: float) -> TrainingStarted:
        return TrainingStarted(step=0, attempt=attempt, time=time)

    told = [
        trains(1, 0.5),
        start("a", 1, 1),
        trains(2, 1.5),
        AttemptEnded(outcome="preempted", step=5, attempt=2, time=1.6),
        trains(3, 1.7),
        start("b", 1, 2),
        trains(4, 2.5),
        AttemptEnded(outcome="preempted", step=5, attempt=4, time=2.6),
        start("c", 1, 3),
        trains(5, 4),
    ]
    assert [each.trained for each in unfinished_starts(told)] == [
        frozenset({3}),
        frozenset(),
        frozenset({5}),
    ]


HERE = Machine("h", "b")


@pytest.mark.parametrize(
    ("told", "here", "first", "killed", "cause"),
    [
        (True, HERE, True, True, "preempted"),
        (True, None, False, True, "preempted"),
        (False, None, True, True, "machine"),
        (False, None, False, False, "machine"),
        (False, HERE, True, False, "memory"),
        (False, HERE, True, True, "memory"),
        (False, Machine("another pod", "b"), True, True, "killed"),
        (False, HERE, False, True, "killed"),
        (False, HERE, False, False, "launcher"),
    ],
)
def test_what_became_of_a_start_without_an_end(told, here, first, killed, cause):
    lost = UnfinishedStart(start("a", 3, 1), told, frozenset({7}))
    ended = infer_end(lost, here=here, first=first, killed=killed, step=50)
    assert (ended.cause, ended.launcher, ended.number, ended.step, ended.inferred, ended.told) == (
        cause,
        "a",
        3,
        50,
        True,
        told,
    )
    assert ended.trained, "it counts as a start that had its chance"


@pytest.mark.parametrize(
    ("group", "mount", "file", "counts"),
    [
        (
            "0::/a/b",
            "30 20 0:1 / {root} rw - cgroup2 cgroup2 rw",
            "a/b/memory.events",
            "low 0\nhigh 0\noom 2\noom_kill 3\n",
        ),
        (
            "4:memory:/job\n0::/",
            "30 20 0:1 / {root} rw - cgroup cgroup rw,memory",
            "job/memory.oom_control",
            "under_oom 0\noom_kill 3\n",
        ),
        (
            "4:cpu,memory:/docker/5f/x\n",
            "30 20 0:1 /docker/5f {root} rw - cgroup cgroup rw,cpu,memory",
            "x/memory.oom_control",
            "oom_kill 3\n",
        ),
        (
            "4:memory:/of/the/host\n",
            "30 20 0:1 /other {root} rw - cgroup cgroup rw,memory",
            "memory.oom_control",
            "oom_kill 3\n",
        ),
    ],
    ids=["version 2", "version 1", "a mount of a part", "a container"],
)
def test_where_the_kernel_counts(tmp_path, group, mount, file, counts):
    root, proc = tmp_path / "cgroup", tmp_path / "proc"
    (root / file).parent.mkdir(parents=True)
    (root / file).write_text(counts)
    proc.mkdir()
    (proc / "cgroup").write_text(group)
    (proc / "mountinfo").write_text(mount.format(root=root) + "\n")
    assert oom_counter(proc).read() == 3


def test_where_the_kernel_does_not_count(tmp_path):
    assert oom_counter(tmp_path).read() == 0


def test_a_worker_without_the_run_says_that_the_job_has_saved():
    """Its launcher sees no checkpoint, and would give up after a few starts."""
    lost = {"code": 76, "state": ChannelState(pid=1, attempt=1, trained=True)}
    advanced = {**lost, "state": ChannelState(pid=1, attempt=1, trained=True, saved=40)}
    past = [EarlierEnd(NOW - 1e6, "exit", False)] * 10
    assert decided(ended(**lost), past).exit_code == 93
    again = decided(ended(**advanced), past)
    assert again.restart
    assert "advanced to step 40" in again.reason
