"""Writes the help of each command into docs/cli.md, behind its mark.

A reader on GitHub sees it there, and a test compares it with the program.
"""

import re
from pathlib import Path

import click

from ckptkit.cli.command_group import group

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
_HELP = re.compile(r"^<!-- help: ckptkit ?(\w*) -->$(?:\n\n```text\n.*?^```$)?", re.M | re.S)
_WIDTH = 100


def with_help(page: str) -> str:
    """Return the page with the present help of each command."""
    return _HELP.sub(
        lambda found: (
            f"<!-- help: {f'ckptkit {found[1]}'.strip()} -->\n\n```text\n{help_of(found[1])}\n```"
        ),
        page,
    )


def help_of(name: str) -> str:
    """Return the help of a command, or of `ckptkit` if the name is empty."""
    context = click.Context(
        group,
        info_name="ckptkit",
        terminal_width=_WIDTH,
        help_option_names=group.context_settings["help_option_names"],
    )
    if not name:
        return group.get_help(context)
    command = group.get_command(context, name)
    assert command is not None, name
    settings = {**command.context_settings, "terminal_width": _WIDTH}
    return command.get_help(command.context_class(command, context, name, **settings))


if __name__ == "__main__":
    PAGE.write_text(with_help(PAGE.read_text()))
