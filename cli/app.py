"""The command line as typer reads it: global options, and the commands that the words can mean.

Only the module of the command that was asked for is imported; for `--help`, or when no known command is
named, all are.
"""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from cli.context import Context
from cli.output import Output
from cli.version import VERSION

COMMANDS = {
    "upgrade": "cli.upgrade",
    "plan": "cli.plan",
    "list-supported-paths": "cli.paths",
    "status": "cli.status",
    "logs": "cli.logs",
    "logs-clear": "cli.logs_clear",
    "recover": "cli.recover",
    "rollback": "cli.rollback",
    "verify": "cli.verify",
    "clean": "cli.clean",
    "explain": "cli.explain",
}
"""Every command and the module that holds it, in the order of `--help`."""

GROUPS = {"hop": "cli.hop", "journal": "cli.journal"}
"""Commands with commands of their own: the module has `commands`, a typer app."""

HELP = """Hot-upgrade a running EMQX node to a patch release, without dropping its connections.

Every step is written down before it is taken, so that a crash can be resumed, undone or explained.

A first upgrade: 'relup plan TARBALL' (changes nothing), 'relup upgrade TARBALL', 'relup status',
then restart the node when it suits you.
"""

EXIT_CODES = """Exit codes say what the node runs now: 0 done, 2 usage, 10-19 refused and untouched,
20-29 failed and rolled back, 30-39 between releases, 40-49 the journal cannot be trusted,
50-59 node unreachable, 60 another relup is at work, 130 interrupted and rolled back."""


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"relup {VERSION}")
        raise typer.Exit


def _global_options(
    context: typer.Context,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Install root of the node. Default: that of the one running node.",
            envvar="RELUP_ROOT",
            show_envvar=True,
        ),
    ] = None,
    node: Annotated[
        str | None, typer.Option(help="Name of the node, such as emqx@10.0.0.7, where several run.")
    ] = None,
    cookie_file: Annotated[
        Path | None, typer.Option(help="File with the node's cookie. Default: the running node's own.")
    ] = None,
    catalog: Annotated[Path | None, typer.Option(help="A folder of .relup files to look in first.")] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Read this exported journal instead of the node's own.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show a traceback with unexpected errors.")
    ] = False,
    _version: Annotated[
        bool | None,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = None,
) -> None:
    context.obj = Context(
        root=root,
        node=node,
        cookie_file=cookie_file,
        catalog=catalog,
        journal=journal,
        output=Output(json=json),
        verbose=verbose,
        tool_version=VERSION,
    )


def app_for(arguments: list[str]) -> typer.Typer:
    """The command line with the commands that `arguments` can mean."""
    app = typer.Typer(
        help=HELP,
        epilog=EXIT_CODES,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_global_options)
    named = [name for name in (*COMMANDS, *GROUPS) if name in arguments]
    for name in named or (*COMMANDS, *GROUPS):
        if name in COMMANDS:
            app.command(name)(import_module(COMMANDS[name]).command)
        else:
            app.add_typer(import_module(GROUPS[name]).commands, name=name)
    return app
