"""The journal's door: what a writer and a reader may ask of it, whatever keeps the records."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from journal.events import AnyEvent, Entry, Head, HistoryCleared, UpgradeId


class Entries(Protocol):
    """What can be read of any journal: written, read only or exported."""

    def entries(self, start: int = 1) -> Iterator[Entry]:
        """Every kept entry from sequence number `start` on, its chain checked on the way."""
        ...

    def head(self) -> Head | None:
        """The last record's sequence number and chain hash; None when there is no record yet."""
        ...


class Journal(Entries, Protocol):
    """An append-only sequence of entries."""

    def append(self, event: AnyEvent, *, upgrade_id: UpgradeId | None) -> Entry:
        """Write one event durably; it is on disk when this returns.

        Raises:
            JournalError: It could not be written; nothing was.
        """
        ...

    def reserve(self, size_bytes: int) -> None:
        """Put disk space aside, so that a full disk cannot stop the record of the work ahead.

        Raises:
            JournalFull: There is not that much left.
        """
        ...

    def release(self) -> None:
        """Give the reserved space back; nothing to do when there is none."""
        ...


class Beginning(NamedTuple):
    """Where a replay begins: with the entry after `seq`, on top of what is known of those up to it."""

    seq: int
    snapshot: bytes | None
    """The projection's own folded state; None when there is none that fits."""
    cleared: HistoryCleared | None
    """Holds the folded state in its `state` when the records up to `seq` were dropped."""


class History(Entries, Protocol):
    """What a projection needs of a journal, whether it is being written, read or was exported."""

    def replay(self, projection: str | None = None) -> tuple[Beginning, Iterator[Entry]]:
        """Where the replay of a projection begins, and the entries from there on.

        Args:
            projection: Name and version under which its snapshots are kept; None for every kept entry.
        """
        ...
