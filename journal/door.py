"""The journal's door: what a writer and a reader may ask of it, whatever keeps the records."""

from collections.abc import Iterator
from typing import Protocol

from journal.events import AnyEvent, Entry, Head, UpgradeId


class Journal(Protocol):
    """An append-only sequence of entries."""

    def append(self, event: AnyEvent, *, upgrade_id: UpgradeId | None) -> Entry:
        """Write one event durably; it is on disk when this returns.

        Raises:
            JournalError: It could not be written; nothing was.
        """
        ...

    def entries(self, start: int = 1) -> Iterator[Entry]:
        """Every kept entry from sequence number `start` on, its chain checked on the way."""
        ...

    def head(self) -> Head | None:
        """The last record's sequence number and chain hash; None when there is no record yet."""
        ...
