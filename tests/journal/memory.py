"""A journal in memory that stands at the same door as the store; the contract tests run on both."""

from collections.abc import Callable, Iterator

from journal import codec
from journal.door import Beginning
from journal.events import AnyEvent, Entry, Head, Sequence, UpgradeId


class MemoryJournal:
    """Keeps entries in a list, chained like the real one."""

    def __init__(self, clock: Callable[[], int] = lambda: 0) -> None:
        self._clock = clock
        self._kept: list[Entry] = []
        self._hash = codec.GENESIS

    def append(self, event: AnyEvent, *, upgrade_id: UpgradeId | None) -> Entry:
        entry = Entry(seq=Sequence(len(self._kept) + 1), at=self._clock(), upgrade_id=upgrade_id, event=event)
        _, value = codec.record(entry, previous=self._hash)
        self._hash = value[: codec.HASH_SIZE]
        self._kept.append(codec.decode(value[codec.HASH_SIZE :]))
        return entry

    def entries(self, start: int = 1) -> Iterator[Entry]:
        return iter(self._kept[max(start, 1) - 1 :])

    def replay(self, projection: str | None = None) -> tuple[Beginning, Iterator[Entry]]:
        return Beginning(0, None, None), self.entries()

    def head(self) -> Head | None:
        return Head(seq=len(self._kept), hash=self._hash.hex()) if self._kept else None

    def reserve(self, size_bytes: int) -> None:
        """Memory has room."""

    def release(self) -> None:
        """Nothing was reserved."""
