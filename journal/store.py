"""The writer's journal: durable appends into the current generation, one record per transaction.

Its caller holds relup's lock: there is never a second writer. What is acknowledged is on disk. A full disk
is met with the ballast, once; anything else that goes wrong leaves the journal as it was and is an error.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from journal import codec, place, walk
from journal.ballast import Ballast
from journal.door import Beginning
from journal.environment import Environment, translated
from journal.errors import SALVAGE, JournalDamaged, JournalFull, JournalPlace
from journal.events import AnyEvent, Entry, Head, Sequence, UpgradeId
from journal.head_note import HeadNote, noted, require_whole
from journal.snapshots import beginning, put

Clock = Callable[[], int]
"""Nanoseconds since the epoch, UTC; only told, never trusted for order."""


class Store:
    """An open journal that can be written. Made by `journal.opening.create_or_open`."""

    def __init__(self, folder: Path, generation: int, *, clock: Clock, sync: bool = True) -> None:
        """Open a generation that is known to be fit (see `journal.opening`).

        Raises:
            JournalError: It cannot be opened, or lacks an acknowledged record.
        """
        self.folder = folder
        self._clock = clock
        self._sync = sync
        self._pid = os.getpid()
        self._ballast = Ballast(folder)
        self._open(generation)
        self._note = HeadNote(folder)

    def _open(self, number: int) -> None:
        self.generation = number
        self.environment = Environment(self.folder / str(number), write=True, sync=self._sync)
        try:
            self.environment.lmdb.reader_check()
            identity = self.environment.identity()
            if identity is None:
                raise JournalDamaged(f"generation {number} of {self.folder} has no identity", next=SALVAGE)
            self.identity = identity
            self._head = self._found_head()
        except BaseException:
            self.environment.close()
            raise

    def _found_head(self) -> Head:
        with translated(self.folder), self.environment.lmdb.begin(db=self.environment.entries) as transaction:
            found = walk.head_of(transaction, self.identity)
            return require_whole(transaction, self.identity, found, noted(self.folder), self.folder)

    def append(self, event: AnyEvent, *, upgrade_id: UpgradeId | None) -> Entry:
        """Write one event durably; it is on disk when this returns.

        Raises:
            JournalFull: No room, not even after the ballast was given up; nothing was written.
            JournalError: It could not be written; nothing was.
        """
        self._require_own_process()
        entry, stored_key, value = self._next_record(event, upgrade_id)
        self._write_with_ballast(stored_key, value)
        chain_hash = value[: codec.HASH_SIZE]
        self._head = Head(seq=entry.seq, hash=chain_hash.hex())
        self._note.write(entry.seq, chain_hash)
        return entry

    def sealed_record(self, event: AnyEvent) -> tuple[bytes, bytes]:
        """The key and value that `event` would have as the next record; nothing is written."""
        _, stored_key, value = self._next_record(event, None)
        return stored_key, value

    def _next_record(self, event: AnyEvent, upgrade_id: UpgradeId | None) -> tuple[Entry, bytes, bytes]:
        seq = Sequence(self._head.seq + 1)
        entry = Entry(seq=seq, at=self._clock(), upgrade_id=upgrade_id, event=event)
        return entry, *codec.record(entry, previous=bytes.fromhex(self._head.hash))

    def _write_with_ballast(self, stored_key: bytes, value: bytes) -> None:
        """Write one record; when the disk is full, give up the ballast and write it once more."""
        try:
            self._write(stored_key, value)
        except JournalFull:
            given_up = self._ballast.release()
            if self._reopened_with(stored_key, value):
                return
            if not given_up:
                raise
            self._write(stored_key, value)

    def _write(self, stored_key: bytes, value: bytes) -> None:
        environment = self.environment
        try:
            with (
                translated(self.folder),
                environment.lmdb.begin(write=True, db=environment.entries) as transaction,
            ):
                written = transaction.put(stored_key, value, append=True, overwrite=False)
        except JournalDamaged as error:
            # A write that a full disk cut short is an input/output error to LMDB.
            place.require_space(self.folder, len(value) + place.MIN_FREE_BYTES)
            raise error
        if not written:
            raise JournalDamaged(
                f"record {codec.sequence_of(stored_key)} exists already: another writer was here",
                next=SALVAGE,
            )

    def _reopened_with(self, stored_key: bytes, value: bytes) -> bool:
        """Open the environment anew (a failed commit leaves it unusable); is the record there after all?"""
        self.environment.close()
        self.environment = Environment(self.folder / str(self.generation), write=True, sync=self._sync)
        with (
            translated(self.folder),
            self.environment.lmdb.begin(db=self.environment.entries) as transaction,
        ):
            is_there = transaction.get(stored_key) == value
        if is_there:
            with translated(self.folder):
                self.environment.lmdb.sync(True)
        return is_there

    def entries(self, start: int = 1) -> Iterator[Entry]:
        """Every kept entry from sequence number `start` on, its chain checked on the way.

        Raises:
            JournalDamaged: Reading met damage; everything before it was yielded.
            JournalNewer: A newer relup wrote one of them.
        """
        decode = codec.decode
        for batch in self.payloads(start):
            for payload in batch:
                yield decode(payload)

    def payloads(self, start: int = 1) -> Iterator[list[bytes]]:
        """The same as the bytes that are stored, in batches, each read in a transaction of its own."""
        self._require_own_process()
        while True:
            start = max(start, walk.first_kept(self.identity))
            with (
                translated(self.folder),
                self.environment.lmdb.begin(db=self.environment.entries) as transaction,
            ):
                batch = walk.batch_from(transaction, self.identity, start)
            if batch.payloads:
                yield batch.payloads
            if batch.damage is not None:
                raise batch.damage
            if not batch.payloads:
                return
            start += len(batch.payloads)

    def replay(self, projection: str | None = None) -> tuple[Beginning, Iterator[Entry]]:
        """Where the replay of a projection begins, and the entries from there on."""
        self._require_own_process()
        environment = self.environment
        with translated(self.folder), environment.lmdb.begin(db=environment.entries) as transaction:
            found = beginning(environment, transaction, self.identity, projection)
        return found, self.entries(found.seq + 1)

    def save_snapshot(self, projection: str, *, seq: int, state: bytes) -> None:
        """Keep the folded state of a projection up to record `seq`; a cache, nothing waits for it."""
        self._require_own_process()
        environment = self.environment
        with (
            translated(self.folder),
            environment.lmdb.begin(write=True, db=environment.entries) as transaction,
        ):
            put(environment, transaction, self.identity, projection=projection, seq=seq, state=state)

    def head(self) -> Head:
        """The last record's sequence number and chain hash; there always is one."""
        return self._head

    def reserve(self, size_bytes: int) -> None:
        """Put that much disk space aside for the records of the work ahead.

        Raises:
            JournalFull: The disk has not that much left.
        """
        self._ballast.reserve(size_bytes)

    def release(self) -> None:
        """Give the reserved space back; the work is done."""
        self._ballast.release()

    def move_to(self, number: int) -> None:
        """Go on in another generation, which follows from this one and is pointed to already."""
        self.environment.close()
        self._open(number)
        self._note.write(self._head.seq, bytes.fromhex(self._head.hash))

    def settle(self) -> None:
        """Wait until the note of the head is durable too."""
        self._note.settle()

    def close(self) -> None:
        """Close the journal, once or more; what was acknowledged is on disk already."""
        self._note.close()
        self.environment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_own_process(self) -> None:
        if os.getpid() != self._pid:
            raise JournalPlace(
                "the journal was opened by another process, and LMDB must not be used across a fork",
                next="report this as a bug",
            )
