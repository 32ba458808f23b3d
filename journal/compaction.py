"""Clearing history: a prefix is dropped, the chain and the numbering go on, the space is freed.

A new generation is filled beside the current one, checked from end to end, made durable and only then
pointed to; killed at any point, the journal is the old one or the new one whole. Which prefix may go, and
what its folded state is, the caller knows (`projections.retention`).
"""

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from journal import codec, generation, place, walk
from journal.environment import Environment, translated
from journal.errors import SALVAGE, JournalDamaged
from journal.events import Head, HistoryCleared, Requester
from journal.store import Store

COPY_RECORDS = 20_000
"""Per transaction: LMDB keeps the changed pages of one in memory."""


def clear_history(
    store: Store, *, until: int, dropped_upgrades: int, state: dict[str, Any], by: Requester
) -> HistoryCleared:
    """Drop every record up to and with `until`, and record that it was done.

    Args:
        store: The open journal; goes on in the new generation.
        until: At least the first kept record, at most the head.
        dropped_upgrades: How many attempts go, for the record.
        state: The fold of everything that goes, as plain values.
        by: Who asked for it.

    Returns:
        The event that was recorded.

    Raises:
        JournalFull: No room for the new generation; the journal is as it was.
        JournalDamaged: What is to be kept is damaged; the journal is as it was.
    """
    head = store.head()
    assert walk.first_kept(store.identity) <= until <= head.seq, "only a kept record can be dropped"
    event = HistoryCleared(
        anchor=_anchor(store, until), by=by, dropped_upgrades=dropped_upgrades, state=state
    )
    folder = store.folder / str(store.generation + 1)
    try:
        _fill(folder, store, event, head)
        _check(folder, head.seq + 1)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    place.fsync_folder(folder)
    place.fsync_folder(store.folder)
    generation.point_to(store.folder, store.generation + 1)
    store.move_to(store.generation + 1)
    generation.sweep(store.folder, keep=store.generation)
    return event


def _anchor(store: Store, until: int) -> Head:
    with (
        translated(store.folder),
        store.environment.lmdb.begin(db=store.environment.entries) as transaction,
    ):
        return Head(seq=until, hash=walk.hash_of(transaction, store.identity, until).hex())


def _fill(folder: Path, store: Store, event: HistoryCleared, head: Head) -> None:
    """Write the new generation; it is on disk when this returns, its folder's names are not."""
    shutil.rmtree(folder, ignore_errors=True)
    place.require_space(store.folder)
    folder.mkdir(mode=0o700)
    target = Environment(folder, write=True, sync=False)
    try:
        _copy_records(store, target, after=event.anchor.seq)
        identity = msgspec.structs.replace(store.identity, anchor=event.anchor, cleared_at=head.seq + 1)
        with translated(folder), target.lmdb.begin(write=True, db=target.entries) as transaction:
            stored_key, value = store.sealed_record(event)
            transaction.put(stored_key, value, append=True, overwrite=False)
            target.write_identity(identity, transaction)
        with translated(folder):
            target.lmdb.sync(True)
    finally:
        target.close()


def _copy_records(store: Store, target: Environment, *, after: int) -> None:
    source = store.environment
    with translated(store.folder), source.lmdb.begin(db=source.entries) as reading:
        cursor = reading.cursor()
        if not cursor.set_range(codec.key(after + 1)):
            return
        records = cursor.iternext()
        while _copy_some(records, target):
            pass


def _copy_some(records: Iterator[tuple[bytes, bytes]], target: Environment) -> bool:
    with target.lmdb.begin(write=True, db=target.entries) as writing:
        consumed, _ = writing.cursor().putmulti(islice(records, COPY_RECORDS), append=True, overwrite=False)
    return bool(consumed == COPY_RECORDS)


def _check(folder: Path, last: int) -> None:
    """Walk the new generation's chain to its end.

    Raises:
        JournalDamaged: It does not hold what it should.
    """
    environment = Environment(folder, write=False)
    try:
        identity = environment.identity()
        assert identity is not None, "it was just written"
        following = walk.first_kept(identity)
        while True:
            with translated(folder), environment.lmdb.begin(db=environment.entries) as transaction:
                batch = walk.batch_from(transaction, identity, following)
            if batch.damage is not None:
                raise batch.damage
            if not batch.payloads:
                break
            following += len(batch.payloads)
    finally:
        environment.close()
    if following != last + 1:
        raise JournalDamaged(f"record {following} is missing", next=SALVAGE, seq=following)
