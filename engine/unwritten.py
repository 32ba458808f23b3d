"""A journal that is only thought: for `plan` and `--dry-run`, which walk the preparation and write nothing."""

from collections.abc import Iterator

from engine.clock import Clock
from journal.events import AnyEvent, Entry, Head, Sequence, UpgradeId


class Unwritten:
    """Keeps entries in memory, behind the journal's door, and forgets them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: list[Entry] = []

    def append(self, event: AnyEvent, *, upgrade_id: UpgradeId | None) -> Entry:
        """Think an event."""
        entry = Entry(
            seq=Sequence(len(self._entries) + 1),
            at=self._clock.now_ns(),
            upgrade_id=upgrade_id,
            event=event,
        )
        self._entries.append(entry)
        return entry

    def entries(self, start: int = 1) -> Iterator[Entry]:
        """What was thought so far."""
        return iter(self._entries[start - 1 :])

    def head(self) -> Head | None:
        """None: what is not written has no chain."""
        return None

    def reserve(self, size_bytes: int) -> None:
        """Thoughts need no space."""

    def release(self) -> None:
        """Nothing was reserved."""
