"""The reader's journal: replay without a lock, without a trace, also while a writer writes.

Every question is answered by a child process (see `journal.child`) that holds the current generation, so
that clearing the history does not take it away under the reader. A folder without a journal is an empty
history.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from journal import codec, place
from journal.child import frames
from journal.door import Beginning
from journal.environment import Identity
from journal.events import Entry, Head
from journal.view import opened

_batches = msgspec.msgpack.Decoder(list[bytes])
_encode = msgspec.msgpack.encode


class Reader:
    """A journal that is only read. Made by `read`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entries(self, start: int = 1) -> Iterator[Entry]:
        """Every kept entry from sequence number `start` on, its chain checked on the way.

        Raises:
            JournalDamaged: Reading met damage; everything before it was yielded.
            JournalNewer: A newer relup wrote one of them.
        """
        decode = codec.decode
        for payloads in self.payloads(start):
            for payload in payloads:
                yield decode(payload)

    def payloads(self, start: int = 1) -> Iterator[list[bytes]]:
        """The same as the bytes that are stored, in batches."""
        for frame in frames(lambda: _checked(self.folder, start), subject=self.folder):
            yield _batches.decode(frame)

    def replay(self, projection: str | None = None) -> tuple[Beginning, Iterator[Entry]]:
        """Where the replay of a projection begins, and the entries from there on, of one moment."""
        stream = frames(lambda: _replayed(self.folder, projection), subject=self.folder)
        first = msgspec.msgpack.decode(next(stream), type=Beginning)
        decode = codec.decode
        return first, (decode(payload) for frame in stream for payload in _batches.decode(frame))

    def head(self) -> Head | None:
        """The last record's sequence number and chain hash; None when there is no record yet."""
        for frame in frames(lambda: _head(self.folder), subject=self.folder):
            return msgspec.msgpack.decode(frame, type=Head)
        return None

    def identity(self) -> Identity | None:
        """What the journal says of itself; None when there is none."""
        for frame in frames(lambda: _identity(self.folder), subject=self.folder):
            return msgspec.msgpack.decode(frame, type=Identity)
        return None


def read(folder: Path) -> Reader:
    """A reader of the journal in `folder`, which need not exist; nothing is created.

    Raises:
        JournalPlace: It lies on a network filesystem.
    """
    place.refuse_network(folder)
    return Reader(folder)


def _checked(folder: Path, start: int) -> Iterator[bytes]:
    with opened(folder) as view:
        if view is not None:
            yield from map(_encode, view.batches(start))


def _replayed(folder: Path, projection: str | None) -> Iterator[bytes]:
    with opened(folder) as view:
        if view is None:
            yield _encode(Beginning(0, None, None))
            return
        beginning = view.beginning(projection)
        yield _encode(beginning)
        yield from map(_encode, view.batches(beginning.seq + 1))


def _head(folder: Path) -> Iterator[bytes]:
    with opened(folder) as view:
        if view is not None and view.first_head is not None:
            yield _encode(view.first_head)


def _identity(folder: Path) -> Iterator[bytes]:
    with opened(folder) as view:
        if view is not None:
            yield _encode(view.identity)
