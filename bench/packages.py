"""Large release packages for the benches, made of the installed Erlang's own files.

Every file is compressed once, each with a flush behind it, and the archive is put together from these parts:
a valid single gzip member of any size in seconds. Beams are unpacked first, as EMQX ships them.
"""

import gzip
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from isal import isal_zlib

from fixtures.hostile.tarball import END, file, header
from fixtures.otp import installed
from fixtures.package import write_sidecar

_KINDS_OF_FILES = 600
_LEVEL = 6
_FILES_OF_AN_APPLICATION = 25
_SAMPLE_BYTES = 8 << 20


class _Part(NamedTuple):
    """A file's padded contents: length without padding, both lengths, CRC and deflated form."""

    size: int
    plain: int
    crc: int
    deflated: bytes


def make_package(tarball: Path, *, compressed_bytes: int, files: int) -> Path:
    """Write a package of about this size with this many files, and its sidecar.

    Args:
        tarball: Where to.
        compressed_bytes: Wanted size of the tarball.
        files: How many files it holds.
    """
    parts = _parts(compressed_bytes // files)
    with tarball.open("wb") as stream:
        _write(stream, parts, files)
    write_sidecar(tarball)
    return tarball


def _write(stream: BinaryIO, parts: list[_Part], files: int) -> None:
    stream.write(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03")
    crc = plain = 0
    for part in _archive(parts, files):
        stream.write(part.deflated)
        crc = isal_zlib.crc32_combine(crc, part.crc, part.plain)
        plain += part.plain
    stream.write(zlib.compressobj(_LEVEL, zlib.DEFLATED, -15).flush(zlib.Z_FINISH))
    stream.write(crc.to_bytes(4, "little") + (plain % (1 << 32)).to_bytes(4, "little"))


def _archive(parts: list[_Part], files: int) -> Iterator[_Part]:
    yield _part(file(b"bin/emqx", b"#!/bin/sh\n"))
    for number in range(files):
        part = parts[number % len(parts)]
        name = b"lib/application_%d-5.10.5/ebin/module_%d.beam" % (number // _FILES_OF_AN_APPLICATION, number)
        yield _part(header(name, size=part.size))
        yield part
    yield _part(END)


def _part(content: bytes, *, size: int | None = None) -> _Part:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    deflated = packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)
    return _Part(len(content) if size is None else size, len(content), zlib.crc32(content), deflated)


def _parts(compressed_bytes: int) -> list[_Part]:
    """Files that are this long when compressed, on average: from half to one and a half times."""
    choose = random.Random(compressed_bytes)
    source = _source()
    sample = source[:_SAMPLE_BYTES]
    ratio = len(sample) / len(zlib.compress(sample, _LEVEL))
    found = []
    for _ in range(_KINDS_OF_FILES):
        size = int(compressed_bytes * ratio * choose.uniform(0.5, 1.5))
        start = choose.randrange(max(1, len(source) - size))
        body = source[start : start + size]
        found.append(_part(body + bytes(-len(body) % 512), size=len(body)))
    return found


def _source() -> bytes:
    """Erlang's own beams, unpacked, one behind the other."""
    beams = sorted((installed().root / "lib").rglob("*.beam"))
    return b"".join(_unpacked(beam.read_bytes()) for beam in beams)


def _unpacked(beam: bytes) -> bytes:
    return gzip.decompress(beam) if beam.startswith(b"\x1f\x8b") else beam
