"""`relup status`: where the node stands, in one official line, and the facts behind it."""

import typer

from cli.context import Context, shown_versions


def command(context: typer.Context) -> None:
    """Show whether an upgrade is running, finished or unfinished, and which versions are where.

    The first line is EMQX's own: idle, in-progress, or hot-upgraded; where that would be untrue it says
    what is. Below it: base (the installed release), live (what the VM runs), next boot (what a restart
    starts). Works with the node down and says what could not be asked.
    """
    _show(context.obj)


def _show(context: Context) -> None:
    from engine.incarnation import observation
    from engine.truth import versions
    from projections.replay import current_facts
    from projections.status import Seen, status_line

    place = context.place
    facts = current_facts(context.history())
    node, unasked = context.asked_node()
    found = versions(place, node)
    seen = Seen(
        lock_held=context.lock_is_held(),
        marker=found.marker,
        node=observation(node.observe()) if node else None,
    )
    stands = status_line(facts, seen)
    output = context.output
    shown = shown_versions(found)
    output.line(stands.text)
    output.line(f"base {shown.base}, live {shown.live or 'unknown'}, next boot {shown.next_boot}")
    if unasked is not None:
        output.line(f"not asked: the live version ({unasked.happened})")
    for trouble in found.troubles:
        output.line(f"trouble: {trouble}")
    output.answer(
        {
            "status": stands.text,
            "kind": stands.kind,
            "marker": found.marker,
            "booted": found.booted,
            "says": found.live.says if found.live else None,
            "troubles": found.troubles,
            "open_upgrade": facts.open.upgrade_id if facts.open else None,
            "not_asked": unasked.happened if unasked else None,
        },
        node=shown,
    )
