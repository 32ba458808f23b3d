"""One generation as a reader sees it, inside the reader's child process.

What is asked of it is answered from one or more short read transactions. It is opened again after every
`SPAN_BYTES`, because the pages of the map that were read count as the memory of the process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from journal import generation, place, walk
from journal.door import Beginning
from journal.environment import Environment, Identity, translated
from journal.errors import SALVAGE, JournalDamaged
from journal.events import Head
from journal.head_note import noted, require_whole
from journal.snapshots import beginning

SPAN_BYTES = 32 * 1024 * 1024


class View:
    """An open generation; `close` it."""

    def __init__(self, folder: Path, number: int) -> None:
        """Open generation `number`, which the caller holds.

        Raises:
            JournalError: It cannot be opened or trusted.
        """
        self.folder = folder
        self.number = number
        note = noted(folder)
        self._open()
        try:
            with self.transaction() as transaction:
                self.first_head = walk.head_of(transaction, self.identity)
                require_whole(transaction, self.identity, self.first_head, note, folder)
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self.environment = Environment(self.folder / str(self.number), write=False)
        identity = self.environment.identity()
        if identity is None:
            self.close()
            raise JournalDamaged(f"generation {self.number} of {self.folder} has no identity", next=SALVAGE)
        self.identity: Identity = identity

    @contextmanager
    def transaction(self) -> Iterator["lmdb.Transaction[bytes]"]:
        """One read of the entries, as they are now."""
        with translated(self.folder), self.environment.lmdb.begin(db=self.environment.entries) as transaction:
            yield transaction

    def batches(self, start: int) -> Iterator[list[bytes]]:
        """The payloads from record `start` on to the end as it is when it is reached, checked.

        Raises:
            JournalDamaged: Reading met damage; everything before it was yielded.
        """
        following = max(start, walk.first_kept(self.identity))
        while True:
            size = 0
            with self.transaction() as transaction:
                for batch in walk.checked_batches(transaction, self.identity, following):
                    following += len(batch)
                    size += sum(map(len, batch))
                    yield batch
                    if size > SPAN_BYTES:
                        break
                else:
                    return
            self.close()
            self._open()

    def beginning(self, projection: str | None) -> Beginning:
        """Where the replay of a projection begins."""
        with self.transaction() as transaction:
            return beginning(self.environment, transaction, self.identity, projection)

    def head(self) -> Head | None:
        """The last record as it is now."""
        with self.transaction() as transaction:
            return walk.head_of(transaction, self.identity)

    def close(self) -> None:
        """Close it."""
        self.environment.close()


@contextmanager
def opened(folder: Path) -> Iterator[View | None]:
    """The current generation, held and open; None when there is no journal.

    Raises:
        JournalError: It cannot be opened or trusted.
    """
    with generation.held(folder) as number:
        if number is None:
            yield None
            return
        place.refuse_link(folder)
        view = View(folder, number)
        try:
            yield view
        finally:
            view.close()
