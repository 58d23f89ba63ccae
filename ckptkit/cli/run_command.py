"""`ckptkit run -- CMD...`: start a training, supervise it, and restart it if that can help."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from ckptkit.cli.console import examples, print_json, print_table
from ckptkit.cli.error_codes import message
from ckptkit.errors import ConfigError
from ckptkit.exit_codes import ExitCode
from ckptkit.launcher.job_command import command_of, environment_of
from ckptkit.launcher.launcher_settings import FIELDS, Origin, option_of, settings_of, settle
from ckptkit.launcher.supervisor import Supervisor, Watch
from ckptkit.log import show_by_default

_TYPES = {int: click.INT, float: click.FLOAT}


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each setting.

    An option that is not given is None, so that the environment or the TOML file counts.
    """
    for name, field in reversed(FIELDS.items()):
        kind = _TYPES.get(type(field.default), click.STRING)
        default = f"  [{_shown(field.default)}]" if field.default != "" else ""
        function = click.option(
            option_of(name), name, type=kind, default=None, help=field.metadata["words"] + default
        )(function)
    return function


@click.command(
    "run",
    epilog=examples(
        "ckptkit run -- python train.py",
        "ckptkit run --config spot-gpu -- python train.py",
        "ckptkit run --explain",
    ),
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.option(
    "--config",
    metavar="FILE|NAME",
    type=click.Path(path_type=Path),
    envvar="CKPTKIT_CONFIG",
    help="Settings in a TOML file; or those of the package for a situation: debug, default, slurm, "
    "spot-gpu.",
)
@click.option(
    "--explain",
    is_flag=True,
    help="Print each setting and its source, and start nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="With --explain: print JSON for programs.")
@_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- CMD...")
@click.pass_context
def command(
    context: click.Context,
    /,
    config: Path | None,
    explain: bool,
    as_json: bool,
    command: tuple[str, ...],
    **options: Any,
) -> None:
    """Start the training CMD, supervise it, and restart it if that can help.

    Signals are passed on to the training. Before the machine goes away, the training is told to
    save and how much time it has. It is not restarted after exit code 0, 78 or 93, nor after an
    order to stop. Otherwise it is restarted after 75 and after a crash, as long as the budgets
    last. A setting comes from the command line, else from CKPTKIT_<NAME> in the environment, else
    from the TOML file, else it has its default.
    """
    if as_json and not explain:
        raise click.UsageError(
            "Expected --json together with --explain. Received --json alone: the training prints "
            "what it likes. `ckptkit list RUN --json` shows the state of its run.",
            context,
        )
    show_by_default()
    try:
        found = settle(config, os.environ, options)
        if explain:
            _explain(found, as_json=as_json)
            return
        if not command:
            raise click.UsageError(
                "Expected the training command after --, as in: ckptkit run -- python train.py. "
                "Received none.",
                context,
            )
        settings = settings_of(found)
        supervisor = Supervisor(
            command_of(settings.workers, command),
            settings,
            environment_of(settings.workers, os.environ),
            watch=_watch(settings.notices),
        )
        code = supervisor.run()
    except ConfigError as error:
        # Not the usual code for a usage error: schedulers must not restart this.
        click.echo(f"ckptkit: {message(error)}", err=True)
        code = ExitCode.CONFIG
    context.exit(code)


def _explain(found: Mapping[str, Origin], *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "settings": {
                    name: {"value": origin.value, "source": origin.source}
                    for name, origin in found.items()
                }
            }
        )
        return
    print_table(
        ["setting", "value", "from"],
        [[name, _shown(origin.value), origin.source] for name, origin in found.items()],
    )


def _watch(kind: str) -> Watch | None:
    if kind == "off":
        return None
    from ckptkit.launcher import notices

    return lambda tell, stop: notices.watch(kind, tell, stop)
