"""Walking the records of an open environment in order, each tied to the one before.

The hot path of every replay. It yields payloads in batches, so that the cost of a generator, of a frame
between two processes or of a decoder's call is shared by many records.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

import lmdb

from journal.codec import GENESIS, HASH_SIZE, key, sequence_of
from journal.environment import Identity
from journal.errors import SALVAGE, JournalDamaged
from journal.events import Head

BATCH_RECORDS = 512
BATCH_BYTES = 1024 * 1024


def first_kept(identity: Identity) -> int:
    """The first sequence number that compaction has not dropped."""
    return 1 if identity.anchor is None else identity.anchor.seq + 1


def hash_of(transaction: "lmdb.Transaction[bytes]", identity: Identity, seq: int) -> bytes:
    """The chain hash that stands at `seq`: a record's, the anchor's, or the zero bytes before the first.

    Raises:
        JournalDamaged: That record is not there.
    """
    if seq == first_kept(identity) - 1:
        return GENESIS if identity.anchor is None else bytes.fromhex(identity.anchor.hash)
    stored = transaction.get(key(seq))
    if stored is None:
        raise JournalDamaged(f"record {seq} is missing", next=SALVAGE, seq=seq)
    return stored[:HASH_SIZE]


def head_of(transaction: "lmdb.Transaction[bytes]", identity: Identity) -> Head | None:
    """The last record, or the anchor where nothing is kept after it.

    Raises:
        JournalDamaged: The last record does not follow from the one before it.
    """
    cursor = transaction.cursor()
    if not cursor.last():
        return identity.anchor
    seq = sequence_of(cursor.key())
    for _ in checked_batches(transaction, identity, seq):
        pass
    return Head(seq=seq, hash=cursor.value()[:HASH_SIZE].hex())


class Batch(NamedTuple):
    """Some records in order, each tied to the one before."""

    payloads: list[bytes]
    last_hash: bytes
    damage: JournalDamaged | None
    """What comes after them, where it is no record."""


def checked_batches(
    transaction: "lmdb.Transaction[bytes]", identity: Identity, start: int
) -> Iterator[list[bytes]]:
    """The payloads from record `start` on (or from the first kept one), their chain checked.

    Everything before a damage is yielded before the error is raised.

    Raises:
        JournalDamaged: A record is missing, misplaced or not what was written; `seq` names it.
    """
    records, previous, expected = _from(transaction, identity, start)
    while True:
        batch = _next_batch(records, previous, expected)
        if batch.payloads:
            yield batch.payloads
        if batch.damage is not None:
            raise batch.damage
        if not batch.payloads:
            return
        previous, expected = batch.last_hash, expected + len(batch.payloads)


def one_batch(transaction: "lmdb.Transaction[bytes]", identity: Identity, start: int) -> Batch:
    """The first of `checked_batches`, for a caller who does not want to keep the transaction."""
    return _next_batch(*_from(transaction, identity, start))


def _from(
    transaction: "lmdb.Transaction[bytes]", identity: Identity, start: int
) -> tuple[Iterator[tuple[bytes, bytes]], bytes, int]:
    """The stored records from `start` on, the hash before them, and the first one's number."""
    expected = max(start, first_kept(identity))
    cursor = transaction.cursor()
    if not cursor.set_range(key(expected)):
        return iter(()), GENESIS, expected
    return cursor.iternext(), hash_of(transaction, identity, expected - 1), expected


def _next_batch(records: Iterator[tuple[bytes, bytes]], previous: bytes, expected: int) -> Batch:
    payloads: list[bytes] = []
    size = 0
    for stored_key, value in records:
        payload = value[HASH_SIZE:]
        chained = blake2b(previous + stored_key + payload, digest_size=HASH_SIZE).digest()
        if value[:HASH_SIZE] != chained or stored_key != expected.to_bytes(8, "big"):
            return Batch(payloads, previous, _broken(expected, stored_key))
        previous = chained
        expected += 1
        size += len(value)
        payloads.append(payload)
        if len(payloads) == BATCH_RECORDS or size > BATCH_BYTES:
            break
    return Batch(payloads, previous, None)


def _broken(expected: int, stored_key: bytes) -> JournalDamaged:
    found = sequence_of(stored_key)
    if found != expected:
        happened = f"record {expected} is missing: record {found} stands in its place"
    else:
        happened = f"record {expected} is not what was written: its chain hash is wrong"
    return JournalDamaged(happened, next=SALVAGE, seq=expected)
