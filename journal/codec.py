"""How an entry becomes bytes and how records are chained; pure, no files.

A record is stored under its sequence number (8 bytes, big-endian). Its value is a 32-byte chain hash and
then the msgpack of the `Entry`; the hash is blake2b-256 over the previous record's hash, the key and the
payload, and before the first record stand 32 zero bytes. Fields this relup does not know are ignored, an
event it does not know is an error, because guessing what it meant would make the replay a lie.
"""

from hashlib import blake2b

import msgspec

from journal.errors import SALVAGE, JournalDamaged, JournalError, JournalNewer
from journal.events import Entry, Event

FORMAT = 1
"""Version of everything this module describes; a larger one in a journal means a newer relup."""
KEY_SIZE = 8
HASH_SIZE = 32
GENESIS = bytes(HASH_SIZE)
"""What stands before the first record."""
MAX_PAYLOAD_BYTES = 1024**3
"""Millions of ended processes, each named: more than a node can have."""

KNOWN_TAGS = frozenset(str(kind.__struct_config__.tag) for kind in Event.__subclasses__())

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def key(seq: int) -> bytes:
    """The 8 bytes a record is stored under."""
    return seq.to_bytes(KEY_SIZE, "big")


def sequence_of(stored_key: bytes) -> int:
    """The sequence number behind a stored key.

    Raises:
        JournalDamaged: It is no key of ours.
    """
    if len(stored_key) != KEY_SIZE:
        raise JournalDamaged(f"a record is stored under a key of {len(stored_key)} bytes", next=SALVAGE)
    return int.from_bytes(stored_key, "big")


def chain_hash(previous: bytes, stored_key: bytes, payload: bytes) -> bytes:
    """The 32 bytes that tie a payload to its place and to everything before it."""
    return blake2b(previous + stored_key + payload, digest_size=HASH_SIZE).digest()


def record(entry: Entry, *, previous: bytes) -> tuple[bytes, bytes]:
    """The key and the value under which an entry is stored.

    Args:
        previous: The chain hash of the record before it.
    """
    payload = _encoder.encode(entry)
    assert len(payload) <= MAX_PAYLOAD_BYTES, "no event of ours is that large"
    stored_key = key(entry.seq)
    return stored_key, chain_hash(previous, stored_key, payload) + payload


def decode(payload: bytes) -> Entry:
    """The entry in a payload whose chain hash was right.

    Raises:
        JournalNewer: The event is one this relup does not know.
        JournalDamaged: It is no entry at all.
    """
    try:
        return _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise _why_undecodable(payload, error) from error


def _why_undecodable(payload: bytes, error: msgspec.DecodeError) -> JournalError:
    try:
        plain = msgspec.msgpack.decode(payload)
        seq, tag = plain["seq"], plain["event"]["type"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return JournalDamaged("a record of the journal is no entry", next=SALVAGE)
    if tag not in KNOWN_TAGS:
        return JournalNewer(
            f"record {seq} is a {tag}, written by a newer relup",
            next="use the relup that wrote it, or a newer one",
            seq=seq,
        )
    return JournalDamaged(f"record {seq}, a {tag}, does not read as one: {error}", next=SALVAGE, seq=seq)
