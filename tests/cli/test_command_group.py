"""The table of commands and the files that it names."""

from __future__ import annotations

from pathlib import Path

import click

from ckptkit import cli
from ckptkit.cli.command_group import COMMANDS, group


def test_each_command_has_a_file_of_its_own():
    """So that a further command needs its name in the table and one file, and nothing else."""
    files = Path(cli.__file__).parent.glob("*_command.py")
    assert sorted(file.stem.removesuffix("_command") for file in files) == sorted(COMMANDS)
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        assert command.name == name


def test_a_name_that_is_no_command_imports_nothing():
    assert group.get_command(click.Context(group), "frob") is None
