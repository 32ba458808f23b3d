"""From a journal to a folded state: through a snapshot where one fits, through the whole history if not.

A snapshot changes nothing but the time it takes. Writing them is for the one who holds relup's lock.
"""

from typing import Any

import msgspec

from journal.door import History
from journal.store import Store
from projections import facts
from projections.facts import Facts

_encode = msgspec.msgpack.encode
_decoder = msgspec.msgpack.Decoder(Facts)
STATUS_IN_CLEARED = "status"
"""Under which name HistoryCleared carries the facts."""


def current_facts(history: History, *, use_snapshot: bool = True) -> Facts:
    """Where the node's upgrades stand at the journal's head.

    Raises:
        JournalError: The journal cannot be read to its end.
    """
    beginning, entries = history.replay(facts.PROJECTION if use_snapshot else None)
    if beginning.snapshot is not None:
        return facts.fold(entries, _decoder.decode(beginning.snapshot))
    state = beginning.cleared.state if beginning.cleared is not None else {}
    return facts.fold(entries, facts_of_cleared(state))


def facts_of_cleared(state: dict[str, Any]) -> Facts:
    """The facts that a HistoryCleared carries; fresh ones from an empty state."""
    return msgspec.convert(state.get(STATUS_IN_CLEARED, {}), Facts)


def refresh_snapshots(store: Store) -> None:
    """Fold to the head and keep the result, so that the next `status` need not.

    Raises:
        JournalError: The journal cannot be read, or not be written.
    """
    folded = current_facts(store)
    if folded.seq:
        store.save_snapshot(facts.PROJECTION, seq=folded.seq, state=_encode(folded))
