"""`relup clean`: remove deployed trees and leftovers that nothing needs any more."""

from typing import Annotated

import typer

from cli.asking import agreed
from cli.context import Context
from engine.errors import RelupError

MIB = 1024 * 1024


def command(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is shown, without asking.")] = False,
) -> None:
    """Remove release trees and staging folders that are neither live, nor booted next, nor the fallback.

    Shows each with its size first, and asks. With the node down it cannot know what is live, so only
    leftovers of ended upgrades are offered.
    """
    _clean(context.obj, yes=yes)


def _clean(context: Context, *, yes: bool) -> None:
    from engine.cleaning import removable, remove
    from journal.errors import JournalError

    try:
        items = removable(context.place, context.versions(), context.own_history())
        output = context.output
        for item in items:
            output.line(f"{item.bytes / MIB:8.1f} MiB  {item.path}  ({item.why})")
        wanted = bool(items) and (yes or agreed("Remove these?"))
        if wanted:
            with context.house(command="clean") as house:
                still = removable(context.place, context.versions(), house.journal)
                remove(house, [item for item in items if item.path in {each.path for each in still}])
    except (RelupError, JournalError) as error:
        context.fail(error)
    if not items:
        output.line("nothing to remove")
    elif wanted:
        output.line(f"removed {len(items)}, freed {sum(item.bytes for item in items) / MIB:.1f} MiB")
    else:
        output.line("removed nothing")
    output.answer({"removable": items, "removed": wanted}, node=None)
