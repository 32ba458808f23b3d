"""`relup logs-clear`: drop ended history by compaction. Works with the node down."""

from typing import Annotated

import typer

from cli.context import Context
from cli.moments import MOMENT, moment_option
from engine.errors import RelupError


def command(
    context: typer.Context,
    keep: Annotated[int | None, typer.Option(min=0, help="Keep this many of the newest attempts.")] = None,
    before: Annotated[
        str | None, typer.Option(help=f"Drop only what was requested before this time. {MOMENT}")
    ] = None,
) -> None:
    """Clear the upgrade history, and free its space.

    An upgrade that has not ended is kept, and so is a finished hop that still lives in the VM: its rollback
    and its verification read it. That history was cleared, when and by whom, stays written.
    """
    _clear(context.obj, keep=keep, before=before)


def _clear(context: Context, *, keep: int | None, before: str | None) -> None:
    from journal.compaction import clear_history
    from journal.errors import JournalError
    from journal.store import Store
    from projections.logs import all_rows
    from projections.retention import clearing

    before_ns = moment_option(before, option="--before")
    over = _standing_is_over(context)
    try:
        with context.house(command="logs-clear") as house:
            assert isinstance(house.journal, Store), "only a written journal is cleared"
            answer = clearing(context.own_history(), keep=keep, before_ns=before_ns, standing_is_over=over)
            if answer is not None:
                clear_history(
                    house.journal,
                    until=answer.until,
                    dropped_upgrades=answer.dropped_upgrades,
                    state=answer.state,
                    by=house.by,
                )
            kept = answer.kept_upgrades if answer else len(all_rows(house.journal.entries()))
    except (RelupError, JournalError) as error:
        context.fail(error)
    dropped = answer.dropped_upgrades if answer else 0
    output = context.output
    if kept == 0:
        output.line("cleared all upgrade logs")
    elif dropped:
        output.line(f"cleared the logs of {dropped} upgrades, kept {kept} that are asked for or still needed")
    else:
        output.line(f"cleared nothing: the {kept} upgrades in the log are asked for or still needed")
    output.answer({"dropped_upgrades": dropped, "kept_upgrades": kept}, node=None)


def _standing_is_over(context: Context) -> bool:
    """The VM that carried the last hop is gone: nothing of it can be rolled back any more."""
    from engine.finished import last_success
    from engine.incarnation import is_alive

    state = last_success(context.own_history())
    return state is not None and state.node is not None and not is_alive(state.node)
