"""One portable file with a whole journal: for keeping, and for reading on another machine.

    relup-journal 1\\n
    32-byte checksum, header          the journal's identity, the first and the last record's place
    chain hash, payload               one per record, as they are stored

Each part stands behind its length (4 bytes, big-endian). The file is read by this module alone, never by
LMDB; it is checked on the way like the journal itself, and cut short it is damaged.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from journal import codec, walk
from journal.child import frames
from journal.door import Beginning
from journal.environment import Identity, sealed, unsealed
from journal.errors import JournalDamaged, JournalNewer, JournalPlace
from journal.events import Entry, Head, HistoryCleared
from journal.view import opened

MAGIC = b"relup-journal 1\n"
_LENGTH = struct.Struct(">I")
_LABEL = b"export"
_ADVICE = "export it again from the journal it came from"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What an exported file says of itself."""

    identity: Identity
    head: Head


def export(folder: Path, file: Path) -> Head:
    """Write the journal in `folder` to a new file, durably.

    Returns:
        Its head, for keeping elsewhere.

    Raises:
        JournalError: There is none, or it is damaged; no file is left.
        FileExistsError: The file is there already.
    """
    head: Head | None = None
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            for frame in frames(lambda: _exported(folder), subject=folder):
                if head is None:
                    head = msgspec.msgpack.decode(frame, type=Head)
                    target.write(MAGIC)
                else:
                    target.write(frame)
            target.flush()
            os.fsync(target.fileno())
        if head is None:
            raise JournalPlace(
                f"{folder} holds no journal", next="name the RootDir of a node that relup has upgraded"
            )
    except FileExistsError:
        raise
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    return head


def _exported(folder: Path) -> Iterator[bytes]:
    with opened(folder) as view:
        if view is None:
            return
        head = view.head()
        assert head is not None, "an open journal has a record"
        yield msgspec.msgpack.encode(head)
        header = msgspec.msgpack.encode(Header(identity=view.identity, head=head))
        yield _part(sealed(_LABEL, header))
        previous = walk.first_hash(view.identity)
        seq = walk.first_kept(view.identity)
        for batch in view.batches(1):
            parts = []
            for payload in batch.payloads[: head.seq + 1 - seq]:
                previous = codec.chain_hash(previous, codec.key(seq), payload)
                parts.append(_part(previous + payload))
                seq += 1
            yield b"".join(parts)


def _part(content: bytes) -> bytes:
    return _LENGTH.pack(len(content)) + content


class Exported:
    """A journal in a portable file; only read. Made by `open_export`."""

    def __init__(self, file: Path, header: Header) -> None:
        self.file = file
        self.header = header

    def identity(self) -> Identity:
        """What the journal said of itself."""
        return self.header.identity

    def head(self) -> Head:
        """The last record's place, as it was when it was exported."""
        return self.header.head

    def entries(self, start: int = 1) -> Iterator[Entry]:
        """Every entry from sequence number `start` on; the chain is checked from the first one on.

        Raises:
            JournalDamaged: The file is not what was exported; everything before the damage was yielded.
            JournalNewer: A newer relup wrote one of them.
        """
        identity, head = self.header.identity, self.header.head
        seq, previous = walk.first_kept(identity), walk.first_hash(identity)
        with self.file.open("rb") as source:
            source.seek(len(MAGIC))
            _next_part(source, self.file)
            records = (
                (codec.key(number), _next_part(source, self.file)) for number in range(seq, head.seq + 1)
            )
            while seq <= head.seq:
                batch = walk.chained(records, previous, seq)
                for number, payload in enumerate(batch.payloads, start=seq):
                    if number >= start:
                        yield codec.decode(payload)
                if batch.damage is not None:
                    raise batch.damage
                seq, previous = seq + len(batch.payloads), batch.last_hash
            if previous.hex() != head.hash or source.read(1):
                raise JournalDamaged(
                    f"{self.file} does not end with the record it should", next=_ADVICE, seq=head.seq
                )

    def replay(self, projection: str | None = None) -> tuple[Beginning, Iterator[Entry]]:
        """Where a replay begins, and the entries from there on; a file has no snapshots."""
        identity = self.header.identity
        if identity.anchor is None or identity.cleared_at is None:
            return Beginning(0, None, None), self.entries()
        event = next(self.entries(identity.cleared_at)).event
        if not isinstance(event, HistoryCleared):
            raise JournalDamaged(
                f"record {identity.cleared_at} of {self.file} is no HistoryCleared", next=_ADVICE
            )
        return Beginning(identity.anchor.seq, None, event), self.entries()


def open_export(file: Path) -> Exported:
    """Open an exported journal for reading.

    Raises:
        JournalPlace: It cannot be read, or is none.
        JournalNewer: A newer relup wrote it.
        JournalDamaged: Its header is not what was exported.
    """
    try:
        with file.open("rb") as source:
            magic = source.read(len(MAGIC))
            if magic != MAGIC:
                raise _no_export(file, magic)
            content = unsealed(_LABEL, _next_part(source, file))
    except OSError as error:
        raise JournalPlace(f"{file} cannot be read: {error.strerror}", next="name a readable file") from error
    if content is None:
        raise JournalDamaged(f"the header of {file} does not match its checksum", next=_ADVICE)
    return Exported(file, msgspec.msgpack.decode(content, type=Header))


def _no_export(file: Path, magic: bytes) -> JournalNewer | JournalPlace:
    if magic.startswith(MAGIC[:-2]):
        return JournalNewer(f"{file} was exported by a newer relup", next="use that relup, or a newer one")
    return JournalPlace(
        f"{file} is no exported journal", next="name a file that `relup journal export` has written"
    )


def _next_part(source: BinaryIO, file: Path) -> bytes:
    prefix = source.read(_LENGTH.size)
    length = _LENGTH.unpack(prefix)[0] if len(prefix) == _LENGTH.size else 0
    if not codec.HASH_SIZE <= length <= codec.HASH_SIZE + codec.MAX_PAYLOAD_BYTES:
        raise JournalDamaged(f"{file} is cut short or damaged", next=_ADVICE)
    content = source.read(length)
    if len(content) != length:
        raise JournalDamaged(f"{file} is cut short", next=_ADVICE)
    return content
