"""The command line as typer reads it: global options, and the commands that the words can mean.

Only the module of the command that was asked for is imported; for `--help`, or when no known command is
named, all are.
"""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

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
50-59 node unreachable, 60 another relup is at work, 130 interrupted and rolled back,
1 a bug of relup, or its answer could not be written."""


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"relup {VERSION}")
        raise typer.Exit


# `readable=False`: what a path leads to is looked at by the command, which names what is wrong with it.
def _global_options(
    context: typer.Context,
    root: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            help="Install root of the node. Default: that of the one running node.",
            envvar="RELUP_ROOT",
            show_envvar=True,
        ),
    ] = None,
    node: Annotated[
        str | None, typer.Option(help="Name of the node, such as emqx@10.0.0.7, where several run.")
    ] = None,
    cookie_file: Annotated[
        Path | None,
        typer.Option(readable=False, help="File with the node's cookie. Default: the running node's own."),
    ] = None,
    catalog: Annotated[
        Path | None, typer.Option(readable=False, help="A folder of .relup files to look in too.")
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(readable=False, help="Read this exported journal instead of the node's own."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show a traceback with every error.")
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


SHORT_HELP = {
    "upgrade": "Upgrade the running node, without stopping it.",
    "plan": "Show what an upgrade would do; change nothing.",
    "list-supported-paths": "List the hops of the catalog.",
    "status": "Show where the node stands, and its versions.",
    "logs": "Show every attempt to upgrade this node.",
    "logs-clear": "Clear the upgrade history, and free its space.",
    "recover": "Finish or undo an upgrade that was interrupted.",
    "rollback": "Undo the finished hop that the node carries.",
    "verify": "Read the last finished hop back.",
    "clean": "Remove release trees that nothing needs any more.",
    "explain": "Explain an error or a finding.",
    "hop": "Draft, check or add a hop.",
    "journal": "Prove, export or begin anew the journal.",
}
"""One line of a narrow terminal for each."""


class Commands(TyperGroup):
    """The commands; who puts a global option behind one is told where it stands."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the words name."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            told: Any = error
            option = getattr(told, "option_name", None)  # the error of an unknown option is not exported
            if option in {name for parameter in self.params for name in parameter.opts}:
                told.message = (
                    f"{option} stands before the command: relup {option} ... {ctx.invoked_subcommand}"
                )
            raise


def app_for(arguments: list[str]) -> typer.Typer:
    """The command line with the commands that `arguments` can mean."""
    app = typer.Typer(
        help=HELP,
        epilog=EXIT_CODES,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        cls=Commands,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_global_options)
    named = [name for name in (*COMMANDS, *GROUPS) if name in arguments]
    for name in named or (*COMMANDS, *GROUPS):
        if name in COMMANDS:
            app.command(name, short_help=SHORT_HELP[name])(import_module(COMMANDS[name]).command)
        else:
            app.add_typer(import_module(GROUPS[name]).commands, name=name, short_help=SHORT_HELP[name])
    return app
