"""Reaching behind the store's back: what a fault or a forger does to the records and the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from journal import codec
from journal.environment import ENTRIES, MAP_SIZE_BYTES, MAX_DBS

Pair = tuple[bytes, bytes]


def current(folder: Path) -> Path:
    """The folder of the current generation."""
    return folder / (folder / "generation").read_text().strip()


@contextmanager
def records(folder: Path) -> Iterator["lmdb.Transaction[bytes]"]:
    """A write transaction on the stored records."""
    environment = lmdb.open(str(current(folder)), max_dbs=MAX_DBS, map_size=MAP_SIZE_BYTES)
    try:
        entries = environment.open_db(ENTRIES)
        with environment.begin(write=True, db=entries) as transaction:
            yield transaction
    finally:
        environment.close()


def pairs(folder: Path) -> list[Pair]:
    """Every stored key and value."""
    with records(folder) as transaction:
        return list(transaction.cursor().iternext())


def replace(folder: Path, stored: list[Pair]) -> None:
    """Put other keys and values in place of all of them."""
    with records(folder) as transaction:
        cursor = transaction.cursor()
        for key, _ in list(cursor.iternext()):
            transaction.delete(key)
        for key, value in stored:
            transaction.put(key, value)


def rechained(payloads: list[bytes]) -> list[Pair]:
    """Records 1, 2, … with hashes computed anew, as a forger would."""
    stored, previous = [], codec.GENESIS
    for seq, payload in enumerate(payloads, start=1):
        previous = codec.chain_hash(previous, codec.key(seq), payload)
        stored.append((codec.key(seq), previous + payload))
    return stored


def flip(content: bytes, bit: int) -> bytes:
    """The same bytes with one bit turned."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def forget_note(folder: Path) -> None:
    """Without the note of the head only a head kept elsewhere shows a missing tail."""
    (folder / "head").unlink()
