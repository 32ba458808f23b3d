"""The reader's journal: replay without a lock, without a trace, also while a writer writes.

Every question is answered by a child process (see `journal.child`) that holds the current generation, so
that clearing the history does not take it away under the reader. A folder without a journal is an empty
history.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from journal import codec, generation, place
from journal.child import Producer, frames
from journal.door import Beginning
from journal.environment import Identity
from journal.errors import JournalError, JournalForeign
from journal.events import Entry, Head
from journal.view import View, opened

_batches = msgspec.msgpack.Decoder(list[bytes])
_encode = msgspec.msgpack.encode
ALIVE = b""
"""An empty frame: ends a child whose reader has gone."""


class Reader:
    """A journal that is only read. Made by `read`.

    Attributes:
        damage: What ended the reading early, in one that salvages.
    """

    def __init__(self, folder: Path, *, salvage: bool = False) -> None:
        self.folder = folder
        self.damage: JournalError | None = None
        self._salvage = salvage

    def entries(self, start: int = 1) -> Iterator[Entry]:
        """Every kept entry from sequence number `start` on, its chain checked on the way.

        Raises:
            JournalDamaged: Reading met damage; one that salvages ends there instead.
            JournalNewer: A newer relup wrote one of them.
        """
        return self._decoded(self._frames(lambda: _checked(self.folder, start, salvage=self._salvage)))

    def replay(self, projection: str | None = None) -> tuple[Beginning, Iterator[Entry]]:
        """Where the replay of a projection begins, and the entries from there on, of one moment."""
        projection = None if self._salvage else projection
        stream = self._frames(lambda: _replayed(self.folder, projection, salvage=self._salvage))
        first = next(stream, None)
        if first is None:
            return Beginning(0, None, None), iter(())
        return msgspec.msgpack.decode(first, type=Beginning), self._decoded(stream)

    def follow(self, start: int = 1, *, poll_s: float = 0.2) -> Iterator[Entry]:
        """Every entry from `start` on, also those that are yet to be written; never ends by itself.

        Across a clearing of the history each entry still comes once and in order.
        """
        return self._decoded(self._frames(lambda: _followed(self.folder, start, poll_s)))

    def head(self) -> Head | None:
        """The last record's sequence number and chain hash; None when there is no record yet."""
        found = None
        for frame in self._frames(lambda: _head(self.folder, salvage=self._salvage)):
            found = msgspec.msgpack.decode(frame, type=Head)
        return found

    def identity(self) -> Identity | None:
        """What the journal says of itself; None when there is none."""
        found = None
        for frame in self._frames(lambda: _identity(self.folder)):
            found = msgspec.msgpack.decode(frame, type=Identity)
        return found

    def _frames(self, produce: Producer) -> Iterator[bytes]:
        try:
            yield from frames(produce, subject=self.folder)
        except JournalError as damage:
            if not self._salvage:
                raise
            self.damage = damage

    def _decoded(self, stream: Iterator[bytes]) -> Iterator[Entry]:
        decode = codec.decode
        try:
            for frame in stream:
                for payload in _batches.decode(frame):
                    yield decode(payload)
        except JournalError as damage:
            if not self._salvage:
                raise
            self.damage = damage


def read(folder: Path, *, salvage: bool = False) -> Reader:
    """A reader of the journal in `folder`, which need not exist; nothing is created.

    Args:
        salvage: End quietly at a damage and keep it in `damage`, instead of raising it.

    Raises:
        JournalPlace: It lies on a network filesystem.
    """
    place.refuse_network(folder)
    return Reader(folder, salvage=salvage)


def _checked(folder: Path, start: int, *, salvage: bool) -> Iterator[bytes]:
    with opened(folder, salvage=salvage) as view:
        if view is not None:
            for batch in view.batches(start):
                yield _encode(batch.payloads)


def _replayed(folder: Path, projection: str | None, *, salvage: bool) -> Iterator[bytes]:
    with opened(folder, salvage=salvage) as view:
        if view is None:
            yield _encode(Beginning(0, None, None))
            return
        beginning = view.beginning(projection)
        yield _encode(beginning)
        for batch in view.batches(beginning.seq + 1):
            yield _encode(batch.payloads)


def _followed(folder: Path, start: int, poll_s: float) -> Iterator[bytes]:
    held = ExitStack()
    while (view := held.enter_context(opened(folder))) is None:
        yield ALIVE
        time.sleep(poll_s)
    while view is not None:
        # Asked before reading: what is written to this generation afterwards is none of ours.
        is_last = _is_last(view)
        for batch in view.batches(start):
            start = view.position
            yield _encode(batch.payloads)
        yield ALIVE
        if is_last:
            time.sleep(poll_s)
            continue
        with held:
            # The next one is held before this one is let go, so that neither is swept away.
            held = ExitStack()
            view = held.enter_context(opened(folder, exactly=view.number + 1))


def _is_last(view: View) -> bool:
    """Whether no later generation follows the one that is viewed.

    Raises:
        JournalForeign: Another journal was begun in the folder.
    """
    now = generation.current(view.folder)
    if now is None or not view.is_in_place():
        raise JournalForeign(f"another journal was begun in {view.folder}", next="follow it anew")
    return now == view.number


def _head(folder: Path, *, salvage: bool) -> Iterator[bytes]:
    with opened(folder, salvage=salvage) as view:
        if view is None:
            return
        if not salvage:
            yield _encode(view.head())
            return
        for batch in view.batches(1):
            yield _encode(Head(seq=view.position - 1, hash=batch.last_hash.hex()))


def _identity(folder: Path) -> Iterator[bytes]:
    with opened(folder) as view:
        if view is not None:
            yield _encode(view.identity)
