"""Puts the help of each command into the page of commands; a hook of mkdocs.

So there is no copy of the help that could differ from the program.
"""

import re

import click

from ckptkit.cli.command_group import group

_MARK = re.compile(r"^<!-- help: ckptkit ?(\w*) -->$", re.MULTILINE)
_WIDTH = 100


def on_page_markdown(markdown: str, **_: object) -> str:
    return _MARK.sub(lambda found: f"```text\n{help_of(found[1])}\n```", markdown)


def help_of(name: str) -> str:
    """Return the help of a command, or of `ckptkit` if the name is empty."""
    context = click.Context(group, info_name="ckptkit", terminal_width=_WIDTH)
    if not name:
        return group.get_help(context)
    command = group.get_command(context, name)
    assert command is not None, name
    settings = {**command.context_settings, "terminal_width": _WIDTH}
    return command.get_help(command.context_class(command, context, name, **settings))
