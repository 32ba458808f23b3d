"""`relup rollback`: undo a finished hop before the restart, or give up its marker alone."""

from typing import Annotated

import typer

from cli.context import Context, shown_versions
from engine.errors import RelupError


def command(
    context: typer.Context,
    boot_only: Annotated[
        bool, typer.Option("--boot-only", help="Only let the next restart boot the base release.")
    ] = False,
) -> None:
    """Undo the finished hop that the running node carries: its live code, its marker, its tree.

    Possible until the node is restarted, and only when no function or callback of the hop has run: what
    those did cannot be undone. --boot-only removes relup/current alone, as EMQX's manual describes; the
    live code stays as it is until the restart.
    """
    _roll_back(context.obj, boot_only=boot_only)


def _roll_back(context: Context, *, boot_only: bool) -> None:
    from engine.finished import give_up_marker, roll_back_finished
    from journal.errors import JournalError

    try:
        with context.house(command="rollback") as house:
            if boot_only:
                named = give_up_marker(house)
            else:
                state = roll_back_finished(house)
    except (RelupError, JournalError) as error:
        context.fail(error)
    versions = shown_versions(context.versions())
    if boot_only:
        context.output.line(f"removed relup/current, which named {named or 'no version'}")
    else:
        assert state.plan is not None, "only a planned upgrade is rolled back"
        context.output.line(f"rolled back: {state.plan.target_version} -> {state.plan.from_version}")
    context.output.line(f"  live {versions.live or 'unknown'}, next boot {versions.next_boot}")
    context.output.answer({"boot_only": boot_only}, node=versions)
