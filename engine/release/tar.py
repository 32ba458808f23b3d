"""One tar header at a time: POSIX.1-1988 ustar, POSIX.1-2001 PAX records, GNU base-256 numbers.

Pure: 512 bytes in, a header out. What a member may be called or may be is not decided here.
"""

import struct

import msgspec

from engine.release.archive_errors import (
    BadHeaderChecksum,
    BadNumber,
    NegativeSize,
    NotATar,
    PaxMalformed,
    SizeOverflow,
)

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
_FIELDS = struct.Struct("100s8s16x12s12x8ss100s8s80x155s12x")
"""name, mode, size, checksum, type flag, link name, magic with version, prefix."""
_LARGEST_SIZE = (1 << 63) - 1
_CHECKSUM_AS_SPACES = 8 * 0x20


class Header(msgspec.Struct, gc=False):
    """The fields of a header that matter; owners and times are not looked at.

    Attributes:
        name: Prefix and name joined, as stored.
        kind: The type flag, one byte; a NUL is given as b"0".
        size: Bytes of contents that follow, without padding.
        mode: Permission bits.
        link: Target of a link, as stored.
    """

    name: bytes
    kind: bytes
    size: int
    mode: int
    link: bytes


def parse_header(block: bytes) -> Header:
    """Read one header block that is not all zeros.

    Raises:
        BadHeaderChecksum: The stored checksum is not the sum of the bytes.
        NotATar: No ustar mark.
        BadNumber, NegativeSize, SizeOverflow: The size or mode cannot be.
    """
    name, mode, size, checksum, kind, link, magic, prefix = _FIELDS.unpack(block)
    if sum(block) - sum(checksum) + _CHECKSUM_AS_SPACES != _stored_checksum(checksum):
        raise BadHeaderChecksum
    name = _text(name)
    if magic == b"ustar\x0000":
        if prefix[0] and (front := _text(prefix)):
            name = front + b"/" + name
    elif magic != b"ustar  \x00":
        raise NotATar
    return Header(
        name,
        b"0" if kind == b"\x00" else kind,
        _number(size, name),
        _number(mode, name) & 0o7777,
        _text(link),
    )


def parse_pax(records: bytes, member: bytes) -> dict[str, bytes]:
    """Read the records of a PAX extended header: `<length> <key>=<value>\\n`, lengths in decimal.

    Raises:
        PaxMalformed: A length that does not fit, no `=`, or a key given twice.
    """
    found: dict[str, bytes] = {}
    at = 0
    while at < len(records):
        space = records.find(b" ", at, at + 20)
        length = records[at:space] if space > at else b""
        if not length.isdigit() or (end := at + int(length)) > len(records) or end <= space + 1:
            raise PaxMalformed(member, "a record's length is wrong")
        key, equals, value = records[space + 1 : end].partition(b"=")
        if not equals or not key or not value.endswith(b"\n"):
            raise PaxMalformed(member, "a record has no '=' or no end")
        word = key.decode("utf-8", "backslashreplace")
        if word in found:
            raise PaxMalformed(member, f"{word} is given twice")
        found[word] = value[:-1]
        at = end
    return found


def decimal(value: bytes, member: bytes) -> int:
    """A number of a PAX record.

    Raises:
        NegativeSize, BadNumber, SizeOverflow
    """
    if value.startswith(b"-") and value[1:].isdigit():
        raise NegativeSize(member)
    if not value.isdigit():
        raise BadNumber(member)
    return _within(int(value) if len(value) < 24 else _LARGEST_SIZE + 1, member)


def _text(field: bytes) -> bytes:
    return field[: field.find(0)] if 0 in field else field


def _stored_checksum(field: bytes) -> int:
    try:
        return int(field.strip(b" \x00"), 8)
    except ValueError:
        return -1


def _number(field: bytes, member: bytes) -> int:
    if field[-1] in b" \x00" and field[:-1].translate(None, b"01234567") == b"":
        return int(field[:-1], 8)
    first = field[0]
    if first & 0x80:
        if first & 0x40:
            raise NegativeSize(member)
        return _within(int.from_bytes(bytes([first & 0x3F]) + field[1:], "big"), member)
    digits = field.strip(b" \x00")
    if digits.startswith(b"-"):
        raise NegativeSize(member)
    if not digits or digits.translate(None, b"01234567"):
        raise BadNumber(member)
    return int(digits, 8)


def _within(number: int, member: bytes) -> int:
    if number > _LARGEST_SIZE:
        raise SizeOverflow(member)
    return number
