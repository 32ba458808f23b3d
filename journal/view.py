"""One generation as a reader sees it, inside the reader's child process.

It is opened again after every `SPAN_BYTES`, because the pages of the map that were read count as the
memory of the process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from journal import codec, generation, place, walk
from journal.door import Beginning
from journal.environment import Environment, Identity, translated
from journal.errors import SALVAGE, JournalDamaged
from journal.events import Head
from journal.head_note import noted, require_whole
from journal.snapshots import beginning
from journal.walk import Batch

SPAN_BYTES = 32 * 1024 * 1024


class View:
    """An open generation; `close` it.

    Attributes:
        position: The sequence number after the last record that `batches` has read.
    """

    def __init__(self, folder: Path, number: int, *, salvage: bool) -> None:
        """Open generation `number`, which the caller holds.

        Args:
            salvage: Read what can be read; do not refuse because of what cannot.

        Raises:
            JournalError: It cannot be opened.
        """
        self.folder = folder
        self.number = number
        self.position = 0
        self._salvage = salvage
        self._inode = (folder / str(number)).stat().st_ino
        self._open()

    def is_in_place(self) -> bool:
        """Whether its generation still lies in the folder, and not another journal's of the same number."""
        try:
            return (self.folder / str(self.number)).stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def _open(self) -> None:
        self.environment = Environment(self.folder / str(self.number), write=False)
        try:
            self.identity = self._found_identity()
        except BaseException:
            self.close()
            raise

    def _found_identity(self) -> Identity:
        try:
            identity = self.environment.identity()
        except JournalDamaged:
            if not self._salvage:
                raise
            identity = None
        if identity is None and self._salvage:
            return Identity(journal_id="", format=codec.FORMAT, node=None, root="")
        if identity is None:
            raise JournalDamaged(f"generation {self.number} of {self.folder} has no identity", next=SALVAGE)
        return identity

    @contextmanager
    def transaction(self) -> Iterator["lmdb.Transaction[bytes]"]:
        """One read of the entries, as they are now."""
        with translated(self.folder), self.environment.lmdb.begin(db=self.environment.entries) as transaction:
            yield transaction

    def require_whole(self, note: Head | None) -> None:
        """Refuse a journal whose end is damaged or missing.

        Raises:
            JournalDamaged: It is.
        """
        with self.transaction() as transaction:
            found = walk.head_of(transaction, self.identity)
            require_whole(transaction, self.identity, found, note, self.folder)

    def batches(self, start: int) -> Iterator[Batch]:
        """The records from `start` on to the end as it is when it is reached; none of them empty.

        Raises:
            JournalDamaged: Reading met damage; everything before it was yielded.
        """
        self.position = max(start, walk.first_kept(self.identity))
        size = 0
        while True:
            with self.transaction() as transaction:
                batch = walk.batch_from(transaction, self.identity, self.position)
            self.position += len(batch.payloads)
            if batch.payloads:
                yield batch
            if batch.damage is not None:
                raise batch.damage
            if not batch.payloads:
                return
            size += sum(map(len, batch.payloads))
            if size > SPAN_BYTES:
                self.close()
                self._open()
                size = 0

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
def opened(folder: Path, *, salvage: bool = False, exactly: int | None = None) -> Iterator[View | None]:
    """A generation, held and open; None when there is no journal.

    Args:
        folder: The journal's.
        salvage: Read what can be read; do not refuse because of what cannot.
        exactly: Which generation; the current one by default.

    Raises:
        JournalError: It cannot be opened or trusted.
    """
    place.refuse_link(folder)
    while True:
        with generation.held(folder, exactly=exactly) as number:
            note = noted(folder)
            if number is None:
                yield None
                return
            if generation.current(folder) != number:
                note = None  # it may already be that of the next generation
                if exactly is None:
                    continue
            view = View(folder, number, salvage=salvage)
            try:
                if not salvage:
                    view.require_whole(note)
                yield view
            finally:
                view.close()
            return
