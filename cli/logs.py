"""`relup logs`: the node's upgrade history, from the journal alone. Works with the node down."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import Context

if TYPE_CHECKING:
    from projections.logs import LogRow

MOMENT = "Such as 2026-07-14, 2026-07-14T03:15 or 2026-07-14T03:15:02Z; UTC when nothing else is said."


def command(
    context: typer.Context,
    steps: Annotated[
        bool, typer.Option("--steps", help="Every step of an upgrade: UPGRADE, or the newest one.")
    ] = False,
    upgrade: Annotated[str | None, typer.Argument(help="With --steps: the upgrade's id.")] = None,
    last: Annotated[int | None, typer.Option(min=1, help="Only this many of the newest attempts.")] = None,
    since: Annotated[str | None, typer.Option(help=f"Requested at or after this time. {MOMENT}")] = None,
    until: Annotated[str | None, typer.Option(help=f"Requested at or before this time. {MOMENT}")] = None,
) -> None:
    """Show every attempt to upgrade this node, the oldest first: when, from where to where, how it ended."""
    if steps:
        _show_steps(context.obj, upgrade)
    else:
        _show_rows(context.obj, last=last, since=since, until=until)


def _show_rows(context: Context, *, last: int | None, since: str | None, until: str | None) -> None:
    from projections.logs import NO_HISTORY, all_rows, last_rows, official_text, started_between
    from projections.moment import read_moment

    history = context.history()
    lock_held = context.lock_is_held()
    rows: Iterable[LogRow] = (
        all_rows(history.entries(), lock_held=lock_held)
        if last is None
        else last_rows(history, last, lock_held=lock_held)
    )
    chosen = started_between(
        rows,
        since_ns=read_moment(since) if since else None,
        until_ns=read_moment(until) if until else None,
    )
    for row in chosen:
        context.output.line(official_text(row))
        context.output.record(fields_of(row))
    if not chosen:
        context.output.line(NO_HISTORY)


def fields_of(row: object) -> dict[str, object]:
    """A row of a projection as the fields of a JSON line."""
    import msgspec

    fields: dict[str, object] = msgspec.to_builtins(row)
    return fields


def _show_steps(context: Context, upgrade: str | None) -> None:
    from projections.logs import NO_HISTORY, last_rows
    from projections.timeline import step_text, timeline

    history = context.history()
    if upgrade is None:
        newest = last_rows(history, 1)
        if not newest:
            context.output.line(NO_HISTORY)
            return
        upgrade = newest[0].upgrade_id
    found = timeline(history.entries(), upgrade)
    context.output.line(f"upgrade {upgrade}")
    for row in found.steps:
        context.output.line(f"  {step_text(row)}")
        context.output.record(fields_of(row))
