"""The writer's journal: durable appends into the current generation, one record per transaction.

Its caller holds relup's lock: there is never a second writer. What is acknowledged is on disk. A full disk
is met with the ballast, once; anything else that goes wrong leaves the journal as it was and is an error.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from journal import codec, walk
from journal.ballast import Ballast
from journal.door import Beginning
from journal.environment import Environment, Identity, translated
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
        self._note = HeadNote(folder)
        self._ballast = Ballast(folder)
        self._open(generation)

    def _open(self, generation: int) -> None:
        self.generation = generation
        self.environment = Environment(self.folder / str(generation), write=True, sync=self._sync)
        self.environment.lmdb.reader_check()
        identity = self.environment.identity()
        self.identity = identity
        self._head = self._found_head(identity) if identity is not None else None

    def _found_head(self, identity: Identity) -> Head | None:
        with translated(self.folder), self.environment.lmdb.begin(db=self.environment.entries) as transaction:
            found = walk.head_of(transaction, identity)
            require_whole(transaction, identity, found, noted(self.folder), self.folder)
        return found

    def append(self, event: AnyEvent, *, upgrade_id: UpgradeId | None) -> Entry:
        """Write one event durably; it is on disk when this returns.

        Raises:
            JournalFull: No room, not even after the ballast was given up; nothing was written.
            JournalError: It could not be written; nothing was.
        """
        self._require_own_process()
        seq = 1 if self._head is None else self._head.seq + 1
        previous = codec.GENESIS if self._head is None else bytes.fromhex(self._head.hash)
        entry = Entry(seq=Sequence(seq), at=self._clock(), upgrade_id=upgrade_id, event=event)
        payload = codec.encode(entry)
        if len(payload) > codec.MAX_PAYLOAD_BYTES:
            raise JournalFull(
                f"an event of {len(payload)} bytes is larger than a record may be",
                next="report this as a bug",
            )
        stored_key = codec.key(seq)
        chained = codec.chain_hash(previous, stored_key, payload)
        self._write_with_ballast(stored_key, chained + payload)
        self._head = Head(seq=seq, hash=chained.hex())
        self._note.write(seq, chained)
        return entry

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
        except JournalDamaged:
            if not self._ballast.release():
                raise
            # A write that a full disk cut short is an input/output error to LMDB.
            if not self._reopened_with(stored_key, value):
                self._write(stored_key, value)

    def _write(self, stored_key: bytes, value: bytes) -> None:
        environment = self.environment
        with (
            translated(self.folder),
            environment.lmdb.begin(write=True, db=environment.entries) as transaction,
        ):
            written = transaction.put(stored_key, value, append=True, overwrite=False)
        if not written:
            raise JournalDamaged(
                f"record {codec.sequence_of(stored_key)} exists already: another writer was here",
                next=SALVAGE,
            )

    def _reopened_with(self, stored_key: bytes, value: bytes) -> bool:
        """Open the environment anew (a failed commit leaves it unusable); is the record there after all?"""
        head = self._head
        self.environment.close()
        self.environment = Environment(self.folder / str(self.generation), write=True, sync=self._sync)
        with translated(self.folder), self.environment.lmdb.begin(db=self.environment.entries) as transaction:
            found = transaction.get(stored_key)
        self._head = head
        return found == value

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
        while self.identity is not None:
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
        if self.identity is None:
            return Beginning(0, None, None), iter(())
        environment = self.environment
        with translated(self.folder), environment.lmdb.begin(db=environment.entries) as transaction:
            found = beginning(environment, transaction, self.identity, projection)
        return found, self.entries(found.seq + 1)

    def save_snapshot(self, projection: str, *, seq: int, state: bytes) -> None:
        """Keep the folded state of a projection up to record `seq`; a cache, nothing waits for it."""
        self._require_own_process()
        assert self.identity is not None, "an open journal has an identity"
        environment = self.environment
        with (
            translated(self.folder),
            environment.lmdb.begin(write=True, db=environment.entries) as transaction,
        ):
            put(environment, transaction, self.identity, projection=projection, seq=seq, state=state)

    def head(self) -> Head | None:
        """The last record's sequence number and chain hash; None when there is no record yet."""
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

    def settle(self) -> None:
        """Wait until the note of the head is durable too."""
        self._note.settle()

    def close(self) -> None:
        """Close the journal; what was acknowledged is on disk already."""
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
