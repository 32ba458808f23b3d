"""Walking the records of an open environment in order, each tied to the one before.

The hot path of every replay. Records come in batches, each read in a transaction of its own: nobody who
reads slowly keeps pages from being used again.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

import lmdb

from journal.codec import GENESIS, HASH_SIZE, key, sequence_of
from journal.environment import Identity
from journal.errors import SALVAGE, JournalDamaged
from journal.events import Head

BATCH_RECORDS = 512
BATCH_BYTES = 1024 * 1024


class Batch(NamedTuple):
    """Some records in order, each tied to the one before."""

    payloads: list[bytes]
    last_hash: bytes
    damage: JournalDamaged | None
    """What comes after them, where it is no record."""


def first_kept(identity: Identity) -> int:
    """The first sequence number that compaction has not dropped."""
    return 1 if identity.anchor is None else identity.anchor.seq + 1


def first_hash(identity: Identity) -> bytes:
    """The chain hash before the first kept record."""
    return GENESIS if identity.anchor is None else bytes.fromhex(identity.anchor.hash)


def hash_of(transaction: "lmdb.Transaction[bytes]", identity: Identity, seq: int) -> bytes:
    """The chain hash that stands at `seq`: a record's, the anchor's, or the zero bytes before the first.

    Raises:
        JournalDamaged: That record is not there.
    """
    if seq == first_kept(identity) - 1:
        return first_hash(identity)
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
    batch = batch_from(transaction, identity, seq)
    if batch.damage is not None:
        raise batch.damage
    return Head(seq=seq, hash=batch.last_hash.hex())


def batch_from(transaction: "lmdb.Transaction[bytes]", identity: Identity, start: int) -> Batch:
    """The next records from `start` on, which is kept; no payload and no damage at the end.

    Raises:
        JournalDamaged: The record before `start` is not there.
    """
    cursor = transaction.cursor()
    if not cursor.set_range(key(start)):
        return Batch([], GENESIS, None)
    return chained(cursor.iternext(), hash_of(transaction, identity, start - 1), start)


def chained(records: Iterable[tuple[bytes, bytes]], previous: bytes, expected: int) -> Batch:
    """As many stored records as make a batch, checked.

    Args:
        records: Stored keys and values, in order.
        previous: The chain hash before the first of them.
        expected: The sequence number of the first of them.
    """
    payloads: list[bytes] = []
    size = 0
    for stored_key, value in records:
        payload = value[HASH_SIZE:]
        found = blake2b(previous + stored_key + payload, digest_size=HASH_SIZE).digest()
        if value[:HASH_SIZE] != found or stored_key != expected.to_bytes(8, "big"):
            return Batch(payloads, previous, _broken(expected, stored_key))
        previous = found
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
