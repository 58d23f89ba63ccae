"""One list of options, for the manager, the callback and the session."""

from __future__ import annotations

import inspect

import pytest

import ckptkit
from ckptkit.session.options import (
    CallbackOptions,
    ManagerOptions,
    RunOptions,
    make_options,
    takes_options,
)

NAMES = ManagerOptions.__annotations__.keys()


def test_each_option_is_a_field_of_the_run_and_is_described():
    fields = set(RunOptions.__annotations__) - {"layout", "state", "check_objects"}
    assert fields == NAMES
    described = inspect.getdoc(CallbackOptions) + inspect.getdoc(ManagerOptions)
    assert [name for name in NAMES if f"    {name}: " not in described] == []


def test_none_is_the_default(tmp_path):
    given = make_options(tmp_path, {}, **dict.fromkeys(NAMES))
    omitted = make_options(tmp_path, {})
    for name in NAMES - {"clock", "files"}:
        assert getattr(given, name) == getattr(omitted, name)


@pytest.mark.parametrize("name", ["save", "keep", "preemption", "background", "exact", "verify"])
def test_what_cannot_be_right_is_named(tmp_path, name):
    with pytest.raises(ckptkit.ConfigError, match=f"Received: {name}='never'"):
        make_options(tmp_path, {}, **{name: "never"})


def test_the_manager_shows_its_options():
    parameters = inspect.signature(ckptkit.CheckpointManager).parameters
    assert list(parameters) == ["directory", "state", *NAMES]
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in NAMES)
    text = inspect.getdoc(ckptkit.CheckpointManager)
    assert [name for name in NAMES if f"\n    {name}: " not in text] == []
    assert "{options}" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_callback_takes_what_they_share():
    parameters = inspect.signature(ckptkit.CheckpointCallback).parameters
    assert CallbackOptions.__annotations__.keys() <= parameters.keys()


def test_a_misspelled_option_is_pythons_own_error(tmp_path):
    with pytest.raises(TypeError, match="unexpected keyword argument 'kep'"):
        ckptkit.CheckpointManager(tmp_path, {}, kep=None)


def test_an_option_that_is_added_to_the_list_is_taken_and_described():
    class Extended(CallbackOptions, total=False):
        """More.

        Args:
            colour: of the curves.
        """

        colour: str | None

    @takes_options(Extended)
    class Takes:
        """Takes options.

        Args:
            own: its own.
            {options}
        """

        def __init__(self, own, **options):
            self.options = options

    assert Takes(1, colour="red").options == {"colour": "red"}
    assert "\n    colour: of the curves." in inspect.getdoc(Takes)
    assert "colour" in inspect.signature(Takes).parameters
