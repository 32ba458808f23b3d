"""Finding the last upgrade in the journal without reading all of it: backwards from the head, in leaps."""

from collections.abc import Iterator

from engine.state import UpgradeState, folded
from journal.door import Entries
from journal.events import Entry, UpgradeRequested

FIRST_LEAP = 256


def last_upgrade(journal: Entries) -> UpgradeState | None:
    """The upgrade requested last, folded; None when the journal knows none."""
    return next(upgrades_backwards(journal), None)


def upgrades_backwards(journal: Entries) -> Iterator[UpgradeState]:
    """Every kept upgrade, the newest first."""
    end = _next_seq(journal)
    leap = FIRST_LEAP
    later: list[Entry] = []
    while end > 1:
        start = max(1, end - leap)
        window = [entry for entry in journal.entries(start) if entry.seq < end]
        if not window:
            return
        entries = window + later
        begins = [index for index, entry in enumerate(entries) if isinstance(entry.event, UpgradeRequested)]
        for begin in reversed(begins):
            state = folded(entries[begin:])
            assert state is not None, "a request begins an upgrade"
            yield state
            entries = entries[:begin]
        later = entries
        end = window[0].seq
        leap *= 4


def _next_seq(journal: Entries) -> int:
    head = journal.head()
    return head.seq + 1 if head else 1
