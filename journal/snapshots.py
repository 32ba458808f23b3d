"""Snapshots of folds: a cache beside the records, never a truth of its own.

A snapshot says which record it was folded up to and that record's chain hash. One that does not fit the
chain, or its own checksum, is as good as absent. What the folded state means is the projection's business;
a projection that changes it asks under another name (`status.2`).
"""

import lmdb
import msgspec

from journal import walk
from journal.codec import decode
from journal.door import Beginning
from journal.environment import Environment, Identity, sealed, unsealed
from journal.errors import SALVAGE, JournalDamaged
from journal.events import Head, HistoryCleared


class _Snapshot(msgspec.Struct, frozen=True):
    head: Head
    state: bytes


def beginning(
    environment: Environment,
    transaction: "lmdb.Transaction[bytes]",
    identity: Identity,
    projection: str | None,
) -> Beginning:
    """Where the replay of `projection` begins; None asks for every kept entry.

    Raises:
        JournalDamaged: History was cleared, but the record of it is missing.
    """
    if projection is not None:
        found = _fitting(environment, transaction, identity, projection)
        if found is not None:
            return Beginning(found.head.seq, found.state, None)
    if identity.anchor is None or identity.cleared_at is None:
        return Beginning(0, None, None)
    payloads = walk.batch_from(transaction, identity, identity.cleared_at).payloads
    event = decode(payloads[0]).event if payloads else None
    if not isinstance(event, HistoryCleared):
        raise JournalDamaged(
            f"record {identity.cleared_at}, which holds the state of the cleared history, is missing",
            next=SALVAGE,
            seq=identity.cleared_at,
        )
    return Beginning(identity.anchor.seq, None, event)


def _fitting(
    environment: Environment, transaction: "lmdb.Transaction[bytes]", identity: Identity, projection: str
) -> _Snapshot | None:
    label = projection.encode()
    stored = transaction.get(label, db=environment.snapshots)
    payload = unsealed(label, stored) if stored is not None else None
    if payload is None:
        return None
    found = msgspec.msgpack.decode(payload, type=_Snapshot)
    try:
        fits = walk.hash_of(transaction, identity, found.head.seq).hex() == found.head.hash
    except JournalDamaged:
        return None
    return found if fits else None


def put(
    environment: Environment,
    transaction: "lmdb.Transaction[bytes]",
    identity: Identity,
    *,
    projection: str,
    seq: int,
    state: bytes,
) -> None:
    """Write a snapshot of the fold up to record `seq` into a running transaction."""
    label = projection.encode()
    chained = walk.hash_of(transaction, identity, seq)
    snapshot = _Snapshot(head=Head(seq=seq, hash=chained.hex()), state=state)
    transaction.put(label, sealed(label, msgspec.msgpack.encode(snapshot)), db=environment.snapshots)
