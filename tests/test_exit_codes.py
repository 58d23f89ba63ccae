"""One table says which outcomes are never restarted; training and launcher both follow it."""

from __future__ import annotations

import pytest

from ckptkit import errors
from ckptkit.exit_codes import PERMANENT_CODES, PERMANENT_ERRORS, ExitCode
from ckptkit.launcher.exit_cause import ExitCause
from ckptkit.launcher.launcher_settings import Settings
from ckptkit.launcher.restart_decision import StopContext, decide
from ckptkit.preemption.policy import Preemption
from ckptkit.run.launcher_channel import Failure
from ckptkit.session.launcher_failure_report import may_restart

ERRORS = {
    name: cls
    for name, cls in vars(errors).items()
    if isinstance(cls, type) and issubclass(cls, errors.CheckpointError)
}


def decided(**ending):
    cause = ExitCause(cause="exception", words="failed", trained=True, advanced=True, **ending)
    return decide(cause, [], StopContext(), Settings(), now=0.0)


def test_the_table_names_errors_that_exist():
    assert PERMANENT_ERRORS.keys() < ERRORS.keys()


@pytest.mark.parametrize("name", ERRORS)
def test_training_and_launcher_agree_about_each_error(name):
    subclass = type("Subclass", (ERRORS[name],), {})
    expected = name not in PERMANENT_ERRORS
    assert may_restart(ERRORS[name]("x")) is may_restart(subclass("x")) is expected
    decision = decided(code=1, failure=Failure(error=name, restart=True))
    assert decision.restart is expected
    if not expected:
        assert decision.exit_code == PERMANENT_ERRORS[name]
    reported = decided(
        code=1, failure=Failure(error="Subclass", restart=may_restart(subclass("x")))
    )
    assert reported.restart is expected


def test_an_error_of_the_same_name_from_another_library_may_be_restarted():
    assert may_restart(type("ConfigError", (Exception,), {})())


@pytest.mark.parametrize("code", range(1, 256))
def test_only_permanent_exit_codes_and_interruption_prevent_a_restart(code):
    decision = decided(code=code)
    assert decision.restart is (code not in PERMANENT_CODES)
    assert decision.restart or decision.exit_code == code


def test_a_preempted_training_ends_with_75_by_default():
    assert Preemption().exit_code == errors.Preempted().code == ExitCode.PREEMPTED == 75
