"""`ckptkit run -- CMD...`: starts a training, watches over it, and starts it again where that can
help.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from ckptkit.cli.console import print_table
from ckptkit.cli.error_codes import message
from ckptkit.errors import ConfigError
from ckptkit.exit_codes import ExitCode
from ckptkit.launcher.launcher_settings import FIELDS, Origin, option_of, settings_of, settle
from ckptkit.launcher.supervisor import Supervisor, Watch
from ckptkit.log import show_by_default

_TYPES = {int: click.INT, float: click.FLOAT}


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each setting; None where it is not given, so that a source below it counts."""
    for name, field in reversed(FIELDS.items()):
        kind = _TYPES.get(type(field.default), click.STRING)
        default = f"  [{_shown(field.default)}]" if field.default != "" else ""
        function = click.option(
            option_of(name), name, type=kind, default=None, help=field.metadata["words"] + default
        )(function)
    return function


@click.command(
    "run",
    short_help="Start a training, watch over it, and start it again where that can help.",
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="CKPTKIT_CONFIG",
    help="Settings in a TOML file, such as configs/spot-gpu.toml.",
)
@click.option(
    "--explain",
    is_flag=True,
    help="Print each setting with where it comes from, and start nothing.",
)
@_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- CMD...")
@click.pass_context
def command(
    context: click.Context,
    /,
    config: Path | None,
    explain: bool,
    command: tuple[str, ...],
    **options: Any,
) -> None:
    """Start the training CMD, watch over it, and start it again where that can help.

    Signals are passed on to it; before the machine goes away it is told to save, and how long it
    has. Its own exit codes say whether it is started again: 75 yes; 0, 78 and 93 never. A setting
    is taken from the command line, else from CKPTKIT_<NAME> in the environment, else from the TOML
    file, else it is the default.
    """
    show_by_default()
    try:
        found = settle(config, os.environ, options)
        if explain:
            _explain(found)
            return
        if not command:
            raise click.UsageError(
                "Name the training after --, as in: ckptkit run -- python train.py", context
            )
        settings = settings_of(found)
        supervisor = Supervisor(command, settings, watch=_watch(settings.notices))
        code = supervisor.run()
    except ConfigError as error:
        click.echo(f"ckptkit: {message(error)}", err=True)
        code = ExitCode.CONFIG
    context.exit(code)


def _explain(found: Mapping[str, Origin]) -> None:
    print_table(
        ["setting", "value", "from"],
        [[name, _shown(origin.value), origin.source] for name, origin in found.items()],
    )


def _watch(kind: str) -> Watch | None:
    if kind == "off":
        return None
    from ckptkit.launcher import notices

    return lambda tell, stop: notices.watch(kind, tell, stop)
