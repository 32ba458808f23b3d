"""`relup logs`: the node's upgrade history, from the journal alone. Works with the node down."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import Context
from cli.moments import MOMENT, moment_option

if TYPE_CHECKING:
    from cli.output import Output
    from journal.door import History
    from journal.events import Entry
    from projections.facts import Facts
    from projections.logs import LogRow


def command(
    context: typer.Context,
    upgrade: Annotated[
        str | None, typer.Argument(help="With --steps: the id of the upgrade; else the newest one.")
    ] = None,
    steps: Annotated[
        bool, typer.Option("--steps", help="Every step of one upgrade; with --json its evidence too.")
    ] = False,
    at: Annotated[
        str | None,
        typer.Option(metavar="SEQ|TIME", help=f"The node as the journal knew it then. {MOMENT}"),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with each new entry until Ctrl-C.")] = False,
    last: Annotated[int | None, typer.Option(min=1, help="Only this many of the newest attempts.")] = None,
    since: Annotated[str | None, typer.Option(help=f"Requested at or after this time. {MOMENT}")] = None,
    until: Annotated[str | None, typer.Option(help=f"Requested at or before this time. {MOMENT}")] = None,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Of a damaged journal, show what stands before the damage.")
    ] = False,
) -> None:
    """Show every attempt to upgrade this node, the oldest first: when, from where to where, how it ended.

    With --json each row is one JSON object on a line of its own.
    """
    shown: Context = context.obj
    _refuse_two_views(
        {"--steps": steps, "--at": at is not None, "--follow": follow},
        rows={"--last": last is not None, "--since": since is not None, "--until": until is not None},
    )
    if upgrade is not None and not steps:
        raise typer.BadParameter(f"an id goes with --steps: relup logs --steps {upgrade}")
    if salvage and follow:
        raise typer.BadParameter("--follow goes on with a sound journal; --salvage reads a damaged one")
    history = shown.history(salvage=salvage)
    if steps:
        _show_steps(shown, history, upgrade)
    elif at is not None:
        _show_as_of(shown, history, at)
    elif follow:
        _follow(shown)
    else:
        since_ns, until_ns = moment_option(since, option="--since"), moment_option(until, option="--until")
        _show_rows(shown, history, last=last, since_ns=since_ns, until_ns=until_ns)
    _tell_damage(shown, history)


def _refuse_two_views(views: dict[str, bool], *, rows: dict[str, bool]) -> None:
    """One question has one answer: no option that was given is passed over in silence.

    Raises:
        typer.BadParameter: Two views were asked for, or one together with an option that chooses rows.
    """
    asked = [name for name, given in views.items() if given]
    chosen = [name for name, given in rows.items() if given]
    if len(asked) > 1 or (asked and chosen):
        raise typer.BadParameter(f"{' and '.join([*asked, *chosen])} do not go together")


def _show_rows(
    context: Context, history: "History", *, last: int | None, since_ns: int | None, until_ns: int | None
) -> None:
    from projections.logs import NO_HISTORY, all_rows, last_rows, official_text, started_between

    lock_held = context.lock_is_held()
    rows: list[LogRow] = (
        all_rows(history.entries(), lock_held=lock_held)
        if last is None
        else last_rows(history, last, lock_held=lock_held)
    )
    chosen = started_between(rows, since_ns=since_ns, until_ns=until_ns)
    for row in chosen:
        context.output.line(official_text(row))
        context.output.record(fields_of(row))
    if not chosen:
        context.output.line("no upgrade was requested in that time" if rows else NO_HISTORY)


def fields_of(row: object) -> dict[str, object]:
    """A row of a projection as the fields of a JSON line."""
    import msgspec

    fields: dict[str, object] = msgspec.to_builtins(row)
    return fields


def _show_steps(context: Context, history: "History", upgrade: str | None) -> None:
    from projections.logs import NO_HISTORY, last_rows
    from projections.timeline import StepRow, step_text, timeline

    if upgrade is None:
        newest = last_rows(history, 1)
        if not newest:
            context.output.line(NO_HISTORY)
            return
        upgrade = newest[0].upgrade_id
    found = timeline(history.entries(), upgrade)
    if not (found.steps or found.moments):
        raise typer.BadParameter(f"no upgrade is called {upgrade}; 'relup --json logs' shows their ids")
    context.output.line(f"upgrade {upgrade}")
    for each in found.in_order():
        words = step_text(each) if isinstance(each, StepRow) else f"{each.at} {_words(each.event)}"
        context.output.line(f"  {words}")
        if isinstance(each, StepRow) and each.evidence is not None:
            for note in each.evidence.notes:
                context.output.line(f"    note: {note}")
        context.output.record(fields_of(each))


_TOLD = (
    "tarball",
    "package_sha256",
    "hop_sha256",
    "why",
    "connections",
    "connections_before",
    "connections_after",
    "worst_suspend_us",
    "worst_stall_us",
)
"""What an event may have that people want to read beside its name."""


def _words(event: object) -> str:
    """What an event that is no step says, for people: its name, who, and why."""
    parts = [type(event).__name__]
    by = getattr(event, "by", None)
    if by is not None:
        parts.append(f"by {by.user}@{by.host} (pid {by.pid}, relup {by.tool_version})")
    told = {name: getattr(event, name, None) for name in _TOLD}
    parts += [f"{name.replace('_', ' ')} {value}" for name, value in told.items() if value is not None]
    failure = getattr(event, "failure", None) or getattr(event, "cause", None)
    if failure is not None:
        parts.append(f"{failure.name}: {failure.happened}")
    return ", ".join(parts)


def _show_as_of(context: Context, history: "History", at: str) -> None:
    from projections.as_of import as_of
    from projections.moment import shown
    from projections.status import Seen, as_it_stood, status_line

    seq = int(at) if at.isdecimal() else None
    at_ns = None if seq is not None else moment_option(at, option="--at", other="no sequence number and ")
    found = as_of(history, seq=seq, at_ns=at_ns)
    facts = found.facts
    stood = status_line(facts, Seen(marker=facts.marker))
    output = context.output
    if facts.seq == 0:
        output.line("nothing was written down by then")
    else:
        _tell_distance(output, facts, seq=seq, at_ns=at_ns)
        output.line(f"after entry {facts.seq} of {shown(facts.at)}: {as_it_stood(facts, stood)}")
        output.line(f"marker {facts.marker or 'absent'}; upgrades so far {facts.attempts}")
    for name, state in sorted(found.modules.items()):
        output.line(f"  {name} {state.md5 or 'not loaded'} {state.known} (entry {state.seq})")
    output.record({"seq": facts.seq, "status": stood.text, "kind": stood.kind, **fields_of(found)})


def _tell_distance(output: "Output", facts: "Facts", *, seq: int | None, at_ns: int | None) -> None:
    """Where what is shown is not what was asked for: it was cleared, or is not written yet."""
    if (seq is not None and seq < facts.seq) or (at_ns is not None and at_ns < facts.at):
        output.line("what was so then was cleared; the oldest that is known:")
    elif seq is not None and seq > facts.seq:
        output.line(f"there is no entry {seq} yet; the newest:")


def _follow(context: Context) -> None:
    from projections.moment import shown

    for entry in _new_entries(context):
        context.output.line(f"{shown(entry.at)} {entry.seq} {_step_words(entry.event)}")
        context.output.record(fields_of(entry))
        if not context.output.flush():
            return


def _step_words(event: object) -> str:
    """An event as one line, the number, name and direction of its step where it is of one."""
    parts = (str(getattr(event, name, "")) for name in ("step", "name", "direction"))
    return " ".join([_words(event), *filter(None, parts)])


def _new_entries(context: Context) -> "Iterator[Entry]":
    from journal.reader import read

    reader = read(context.place.journal)
    head = reader.head()
    try:
        yield from reader.follow(head.seq + 1 if head else 1)
    except KeyboardInterrupt:
        return


def _tell_damage(context: Context, history: "History") -> None:
    """After a salvage, say what ended it: a history that looks whole and is not would be a lie."""
    damage = getattr(history, "damage", None)
    if damage is not None:
        context.fail(damage)
