"""The bytes of the uncompressed archive, from the tarball's descriptor to whoever takes them in order.

Here gzip is undone and every compressed byte is hashed on its way; nothing here knows tar. Exactly one
gzip member (RFC 1952) is read, followed by nothing but zero padding.
"""

import hashlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from isal import igzip_lib

from engine.release.archive_errors import (
    ConcatenatedGzip,
    CorruptGzip,
    NotATar,
    RatioTooHigh,
    TooManyBytes,
    TrailingGzipBytes,
    TruncatedArchive,
    TruncatedGzip,
    UnsupportedCompression,
)
from engine.release.limits import Limits

READ_BYTES = 1 << 20
PIECE_BYTES = 2 << 20
_PIECES_AHEAD = 4
_GZIP_DEFLATE = b"\x1f\x8b\x08"
_RESERVED_FLAGS = 0xE0
_OTHER_COMPRESSIONS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"LZIP": "lzip",
    b"\x1f\x9d": "compress",
    b"\x1f\xa0": "compress",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf": "7z",
}

OnRead = Callable[[int], None]
"""Told how many compressed bytes have been read so far; may raise to stop the work."""


def compressed_pieces(descriptor: int, digest: "hashlib._Hash", *, on_read: OnRead) -> Iterator[bytes]:
    """The file from its first byte to its end, each piece hashed before it is given out."""
    offset = 0
    while piece := os.pread(descriptor, READ_BYTES, offset):
        digest.update(piece)
        offset += len(piece)
        on_read(offset)
        yield piece


def inflated(compressed: Iterator[bytes], limits: Limits) -> Iterator[bytes]:
    """Undo gzip; the whole of `compressed` is used up before the last piece is given out as whole.

    Raises:
        BadArchive: One of its kinds.
    """
    decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    taken = given = 0
    for piece in compressed:
        if not taken:
            _require_gzip(piece)
        taken += len(piece)
        if _ended(decompressor):
            _require_padding(piece)
            continue
        for plain in _inflate(decompressor, piece):
            given += len(plain)
            _require_within(given, taken, limits)
            yield plain
        if _ended(decompressor):
            _require_padding(decompressor.unused_data)
    if not _ended(decompressor):
        raise TruncatedGzip


def _ended(decompressor: igzip_lib.IgzipDecompressor) -> bool:
    """Asked by a function, since mypy would take the first answer for the last."""
    return decompressor.eof


def _inflate(decompressor: igzip_lib.IgzipDecompressor, piece: bytes) -> Iterator[bytes]:
    try:
        plain = decompressor.decompress(piece, PIECE_BYTES)
        while plain:
            yield plain
            if decompressor.eof or decompressor.needs_input:
                return
            plain = decompressor.decompress(b"", PIECE_BYTES)
    except igzip_lib.IsalError as fault:  # type: ignore[misc] # the stub gives an instance, not a class
        raise CorruptGzip(str(fault)) from None


def _require_gzip(start: bytes) -> None:
    if start[3:4] and start[3] & _RESERVED_FLAGS and start.startswith(_GZIP_DEFLATE):
        raise CorruptGzip("reserved flags are set")
    if start.startswith(_GZIP_DEFLATE) or _GZIP_DEFLATE.startswith(start):
        return
    for magic, name in _OTHER_COMPRESSIONS.items():
        if start.startswith(magic):
            raise UnsupportedCompression(f"this is {name}")
    if start[257:262] == b"ustar":
        raise UnsupportedCompression("this is a plain tar archive")
    raise NotATar("it does not begin like gzip")


def _require_padding(rest: bytes) -> None:
    if rest.startswith(_GZIP_DEFLATE[:2]):
        raise ConcatenatedGzip
    if rest.strip(b"\x00"):
        raise TrailingGzipBytes


def _require_within(given: int, taken: int, limits: Limits) -> None:
    if given > limits.stream_bytes:
        raise TooManyBytes(f"more than {limits.stream_bytes} bytes")
    if given > limits.ratio_free_bytes and given > taken * limits.ratio:
        raise RatioTooHigh(f"more than {limits.ratio} times")


class ReadAhead:
    """Runs an iterator of pieces in a thread of its own, a few pieces ahead of the one who takes them."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_PIECES_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relup-inflate", daemon=True)

    def __enter__(self) -> Iterator[bytes]:
        self._thread.start()
        return self._taken()

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        self._thread.join()

    def _taken(self) -> Iterator[bytes]:
        while (piece := self._queue.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def _run(self) -> None:
        try:
            for piece in self._pieces:
                self._queue.put(piece)
                if self._stopped.is_set():
                    return
            self._queue.put(None)
        except BaseException as fault:
            self._queue.put(fault)


class Stream:
    """The uncompressed archive, taken from front to back."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")
        self._at = 0
        self._before = 0

    @property
    def position(self) -> int:
        """Bytes taken so far."""
        return self._before + self._at

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes.

        Raises:
            TruncatedArchive: The archive ends before.
        """
        end = self._at + count
        if end <= len(self._piece):
            taken = bytes(self._piece[self._at : end])
            self._at = end
            return taken
        return b"".join(self.parts(count))

    def parts(self, count: int) -> Iterator[memoryview]:
        """Exactly `count` bytes in the pieces they come in, uncopied.

        Raises:
            TruncatedArchive: The archive ends before.
        """
        while count:
            if self._at == len(self._piece) and not self._next_piece():
                raise TruncatedArchive
            part = self._piece[self._at : self._at + count]
            self._at += len(part)
            count -= len(part)
            yield part

    def skip_to(self, position: int) -> None:
        """Go forward.

        Raises:
            TruncatedArchive: The archive ends before.
        """
        for _ in self.parts(position - self.position):
            pass

    def rest(self) -> Iterator[memoryview]:
        """All that is left."""
        yield self._piece[self._at :]
        self._at = len(self._piece)
        while self._next_piece():
            yield self._piece
            self._at = len(self._piece)

    def _next_piece(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._before += len(self._piece)
        self._piece = memoryview(piece)
        self._at = 0
        return True
