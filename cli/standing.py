"""Where the node stands: the answer of `relup status`. No command-line library is imported here."""

from typing import TYPE_CHECKING

from cli.context import Context, shown_versions

if TYPE_CHECKING:
    from projections.facts import Attempt


def show(context: Context) -> None:
    """The official line, the three versions, and what is wrong with them; or all that as one JSON object."""
    from engine.release.hashing import hashing_of_likely

    with hashing_of_likely(context.place) as ahead:
        from engine.incarnation import is_alive, observation
        from projections.replay import current_facts
        from projections.status import Seen, status_line

        facts = current_facts(context.own_history())
        found, unasked = context.asked_versions(ahead=ahead)
    seen = Seen(
        lock_held=context.lock_is_held(),
        marker=found.marker,
        node=observation(found.node) if found.node else None,
        vm_ended=facts.observed is not None and not is_alive(facts.observed),
    )
    stands = status_line(facts, seen)
    output = context.output
    shown = shown_versions(found)
    output.line(stands.text)
    if stands.place is not None:
        output.line(f"at {stands.place}")
    output.line(f"base {shown.base}, live {shown.live or 'unknown'}, next boot {shown.next_boot}")
    if unasked is not None:
        output.line(f"not asked: the live version ({unasked.happened})")
    for trouble in found.troubles:
        output.line(f"trouble: {trouble}")
    if stands.next is not None:
        output.line(f"next: {stands.next}")
    output.answer(
        {
            "status": stands.text,
            "kind": stands.kind,
            "marker": found.marker,
            "booted": found.booted,
            "says": found.live.says if found.live else None,
            "troubles": found.troubles,
            "open_upgrade": facts.open.upgrade_id if facts.open else None,
            "step": _step(facts.open) if facts.open else None,
            "not_asked": unasked.happened if unasked else None,
            "next": stands.next,
        },
        node=shown,
    )


def _step(attempt: "Attempt") -> dict[str, object] | None:
    """The step that an open upgrade has begun last; `of` how many is known with its plan."""
    if attempt.step is None:
        return None
    return {
        "number": attempt.step,
        "of": attempt.steps,
        "name": attempt.step_name,
        "direction": attempt.direction,
    }
