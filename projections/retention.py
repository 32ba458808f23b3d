"""What `logs-clear` may drop: ended history, and never what an open or a standing upgrade still needs.

Only a prefix can go, and no attempt is cut in two. A hop that still lives in the VM is kept, because its
rollback and its verification read it; once the node has restarted, nobody does. Pure: the command hands
the answer to `journal.compaction`.
"""

from typing import Any

import msgspec

from journal.door import History
from journal.events import Entry
from projections.as_of import MODULES_IN_CLEARED, as_of
from projections.facts import Facts
from projections.replay import STATUS_IN_CLEARED


class Clearing(msgspec.Struct, frozen=True, kw_only=True):
    """What can be dropped.

    Attributes:
        until: The last sequence number that goes.
        dropped_upgrades: How many attempts go.
        kept_upgrades: How many stay.
        state: The fold of what goes, for HistoryCleared.
    """

    until: int
    dropped_upgrades: int
    kept_upgrades: int
    state: dict[str, Any]


class _Span(msgspec.Struct):
    """Where one attempt lies in the journal."""

    first: int
    last: int
    started_ns: int


def clearing(
    history: History,
    *,
    keep: int | None = None,
    before_ns: int | None = None,
    standing_is_over: bool = False,
) -> Clearing | None:
    """What may be dropped now; None when nothing may.

    Args:
        keep: Keep at least this many of the newest attempts.
        before_ns: Keep every attempt that was requested then or later.
        standing_is_over: The node has restarted since its last hop, or was asked and runs its base: hops
            that were live need not be kept.

    Raises:
        JournalError: The journal cannot be read to its end.
    """
    spans = _Spans()
    now = as_of(history, watch=spans.add)
    kept = _kept(spans.found, now.facts, keep, before_ns, standing_is_over=standing_is_over)
    until = _before_kept(spans.found, spans.last, kept)
    dropped = sum(span.last <= until for span in spans.found.values())
    if until < spans.first or not dropped:
        return None
    at_cut = now if until == spans.last else as_of(history, seq=until)
    return Clearing(
        until=until,
        dropped_upgrades=dropped,
        kept_upgrades=len(spans.found) - dropped,
        state={
            STATUS_IN_CLEARED: msgspec.to_builtins(at_cut.facts),
            MODULES_IN_CLEARED: msgspec.to_builtins(at_cut.modules),
        },
    )


class _Spans:
    """Every attempt's place, and the first and last sequence number of all."""

    def __init__(self) -> None:
        self.found: dict[str, _Span] = {}
        self.first = self.last = 0

    def add(self, entry: Entry) -> None:
        self.first, self.last = self.first or entry.seq, entry.seq
        if entry.upgrade_id is None:
            return
        span = self.found.get(entry.upgrade_id)
        if span is None:
            self.found[entry.upgrade_id] = _Span(entry.seq, entry.seq, entry.at)
        else:
            span.last = entry.seq


def _kept(
    spans: dict[str, _Span], facts: Facts, keep: int | None, before_ns: int | None, *, standing_is_over: bool
) -> set[str]:
    """The attempts that must stay."""
    kept = {facts.open.upgrade_id} if facts.open is not None else set()
    if not standing_is_over:
        kept |= {hop.upgrade_id for hop in facts.standing}
    if keep:
        kept |= set(list(spans)[-keep:])
    if before_ns is not None:
        kept |= {upgrade_id for upgrade_id, span in spans.items() if span.started_ns >= before_ns}
    return kept


def _before_kept(spans: dict[str, _Span], last: int, kept: set[str]) -> int:
    """The largest cut that drops no kept attempt and splits none."""
    until = min((spans[upgrade_id].first - 1 for upgrade_id in kept if upgrade_id in spans), default=last)
    while True:
        split = [span.first - 1 for span in spans.values() if span.first <= until < span.last]
        if not split:
            return until
        until = min(split)
