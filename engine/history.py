"""Finding upgrades in the journal without reading all of it: backwards from the head, in leaps.

The entries of two upgrades may interleave: a finished hop is rolled back after later attempts were refused.
"""

from collections.abc import Iterator

from engine.state import UpgradeState, folded
from journal.door import Entries
from journal.events import Entry, UpgradeId, UpgradeRequested

FIRST_LEAP = 256


def last_upgrade(journal: Entries) -> UpgradeState | None:
    """The upgrade of the newest entry, folded: when one is open, it is this one. None when there is none."""
    found: list[Entry] = []
    for entry in _entries_backwards(journal):
        if entry.upgrade_id is None or (found and entry.upgrade_id != found[0].upgrade_id):
            continue
        found.append(entry)
        if isinstance(entry.event, UpgradeRequested):
            return folded(reversed(found))
    return None


def upgrades_backwards(journal: Entries) -> Iterator[UpgradeState]:
    """Every kept upgrade, the one requested last first."""
    unclaimed: dict[UpgradeId, list[Entry]] = {}
    for entry in _entries_backwards(journal):
        if entry.upgrade_id is None:
            continue
        unclaimed.setdefault(entry.upgrade_id, []).append(entry)
        if isinstance(entry.event, UpgradeRequested):
            state = folded(reversed(unclaimed.pop(entry.upgrade_id)))
            assert state is not None, "a request begins an upgrade"
            yield state


def _entries_backwards(journal: Entries) -> Iterator[Entry]:
    head = journal.head()
    end = head.seq + 1 if head else 1
    leap = FIRST_LEAP
    while end > 1:
        start = max(1, end - leap)
        window = [entry for entry in journal.entries(start) if entry.seq < end]
        if not window:
            return
        yield from reversed(window)
        end = window[0].seq
        leap *= 4
