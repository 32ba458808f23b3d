"""`relup status` as typer knows it."""

import typer

from cli.standing import show


def command(context: typer.Context) -> None:
    """Show whether an upgrade is running, finished or unfinished, and which versions are where.

    The first line is EMQX's own: idle, in-progress, or hot-upgraded; where that would be untrue it says
    what is. Below it: base (the installed release), live (what the VM runs), next boot (what a restart
    starts). Works with the node down and says what could not be asked.
    """
    show(context.obj)
