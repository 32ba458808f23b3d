"""External Term Format to Python values. Pure: bytes in, a term out, or a DecodeError.

What comes in may be garbled or hostile: every length is checked against the bytes that are there before
anything is built, a compressed term may not grow beyond a limit, and open containers wait on a list, so
that no nesting reaches Python's recursion limit. Source: ERTS User's Guide, "External Term Format".
"""

import math
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from engine.node import tags
from engine.node.errors import DecodeError
from engine.term import (
    Atom,
    BitString,
    Export,
    Fun,
    ImproperList,
    Pid,
    Port,
    Reference,
    Term,
    map_of,
)

_U16 = struct.Struct(">H").unpack_from
_U32 = struct.Struct(">I").unpack_from
_U64 = struct.Struct(">Q").unpack_from
_I32 = struct.Struct(">i").unpack_from
_F64 = struct.Struct(">d").unpack_from


def decode(encoded: bytes) -> Term:
    """The one term these bytes hold, version byte included.

    Raises:
        DecodeError: They hold something else, or more.
    """
    term, end = decode_next(encoded, 0)
    if end != len(encoded):
        raise DecodeError(f"{len(encoded) - end} bytes follow the term", offset=end)
    return term


def decode_next(encoded: bytes, offset: int) -> tuple[Term, int]:
    """The term that begins at `offset` with its version byte, and the offset after it.

    Raises:
        DecodeError: No whole, valid term begins there.
    """
    try:
        if encoded[offset] != tags.VERSION:
            raise DecodeError(f"a term begins with 131, not with {encoded[offset]}", offset=offset)
        if encoded[offset + 1] == tags.COMPRESSED:
            inner, end = _uncompressed(encoded, offset + 2)
            term, inner_end = _term(inner, 0)
            if inner_end != len(inner):
                raise DecodeError("bytes follow the compressed term", offset=offset)
            return term, end
        return _term(encoded, offset + 1)
    except (IndexError, struct.error):
        raise DecodeError("the bytes end inside a term", offset=len(encoded)) from None


class _Open:
    """A container whose `missing` parts are still to be read."""

    __slots__ = ("close", "is_list", "missing", "parts")

    def __init__(self, missing: int, close: Callable[[list[Any]], Any], *, is_list: bool = False) -> None:
        self.missing = missing
        self.close = close
        self.parts: list[Any] = []
        self.is_list = is_list


def _term(encoded: bytes, offset: int) -> tuple[Any, int]:
    opened: list[_Open] = []
    while True:
        tag = encoded[offset]
        offset += 1
        leaf = _LEAVES.get(tag)
        if leaf is not None:
            value, offset = leaf(encoded, offset)
        elif tag == tags.LIST and opened and opened[-1].is_list and opened[-1].missing == 1:
            count, offset = _count(encoded, offset, 1)
            opened[-1].missing += count  # a list as the tail of a list: the same list goes on
            continue
        else:
            container, offset = _opened(tag, encoded, offset)
            if container.missing:
                opened.append(container)
                continue
            value = container.close([])
        while opened:
            container = opened[-1]
            container.parts.append(value)
            container.missing -= 1
            if container.missing:
                break
            opened.pop()
            value = container.close(container.parts)
        else:
            return value, offset


def _opened(tag: int, encoded: bytes, offset: int) -> tuple[_Open, int]:
    match tag:
        case tags.SMALL_TUPLE:
            _need(encoded, offset + 1, encoded[offset])
            return _Open(encoded[offset], tuple), offset + 1
        case tags.LARGE_TUPLE:
            count, offset = _count(encoded, offset, 1)
            return _Open(count, tuple), offset
        case tags.LIST:
            count, offset = _count(encoded, offset, 1)
            return _Open(count + 1, _closed_list, is_list=True), offset
        case tags.MAP:
            count, offset = _count(encoded, offset, 2)
            return _Open(2 * count, _closed_map), offset
        case tags.NEW_FUN:
            return _opened_fun(encoded, offset)
        case _:
            raise DecodeError(f"there is no term of tag {tag}", offset=offset - 1)


def _closed_list(parts: list[Any]) -> Any:
    tail = parts.pop()
    if type(tail) is list:
        parts.extend(tail)
        return parts
    return ImproperList(tuple(parts), tail) if parts else tail


def _closed_map(parts: list[Any]) -> Any:
    return map_of(zip(parts[::2], parts[1::2], strict=True))


def _opened_fun(encoded: bytes, offset: int) -> tuple[_Open, int]:
    start = offset
    (size,) = _U32(encoded, offset)
    _need(encoded, offset, size)
    arity = encoded[offset + 4]
    uniq = encoded[offset + 5 : offset + 21]
    (index,) = _U32(encoded, offset + 21)
    (free,) = _U32(encoded, offset + 25)
    offset += 29
    module, offset = _typed(encoded, offset, Atom)
    old_index, offset = _typed(encoded, offset, int)
    old_uniq, offset = _typed(encoded, offset, int)
    pid, offset = _typed(encoded, offset, Pid)
    if offset + free > start + size:
        raise DecodeError(f"a fun has no room for {free} variables", offset=offset)

    def close(variables: list[Any]) -> Fun:
        return Fun(module, arity, uniq, index, old_index, old_uniq, pid, tuple(variables))

    return _Open(free, close), offset


def _typed(encoded: bytes, offset: int, kind: type) -> tuple[Any, int]:
    """A leaf that must be of one kind, such as the node of a pid."""
    leaf = _LEAVES.get(encoded[offset])
    if leaf is not None:
        value, end = leaf(encoded, offset + 1)
        if type(value) is kind:
            return value, end
    raise DecodeError(f"expected {kind.__name__}, found tag {encoded[offset]}", offset=offset)


def _need(encoded: bytes, offset: int, count: int) -> None:
    if count > len(encoded) - offset:
        raise DecodeError(f"{count} bytes announced, {len(encoded) - offset} there", offset=offset)


def _count(encoded: bytes, offset: int, bytes_each: int) -> tuple[int, int]:
    """A 32-bit count of elements, none of which can be shorter than `bytes_each`."""
    (count,) = _U32(encoded, offset)
    _need(encoded, offset + 4, count * bytes_each)
    return count, offset + 4


def _uncompressed(encoded: bytes, offset: int) -> tuple[bytes, int]:
    (size,) = _U32(encoded, offset)
    if size > tags.MAX_UNCOMPRESSED_BYTES:
        raise DecodeError(f"a compressed term wants {size} bytes", offset=offset)
    inflating = zlib.decompressobj()
    try:
        inner = inflating.decompress(memoryview(encoded)[offset + 4 :], size + 1)
    except zlib.error as why:
        raise DecodeError(f"a compressed term is damaged ({why})", offset=offset) from None
    if len(inner) != size or not inflating.eof:
        raise DecodeError(f"a compressed term is not of its {size} bytes", offset=offset)
    return inner, len(encoded) - len(inflating.unused_data)


# ---------------------------------------------------------------- leaves: (bytes, offset after the tag)


def _small_integer(encoded: bytes, offset: int) -> tuple[int, int]:
    return encoded[offset], offset + 1


def _integer(encoded: bytes, offset: int) -> tuple[int, int]:
    return _I32(encoded, offset)[0], offset + 4


def _small_big(encoded: bytes, offset: int) -> tuple[int, int]:
    return _big(encoded, offset + 1, encoded[offset])


def _large_big(encoded: bytes, offset: int) -> tuple[int, int]:
    return _big(encoded, offset + 4, _U32(encoded, offset)[0])


def _big(encoded: bytes, offset: int, size: int) -> tuple[int, int]:
    _need(encoded, offset + 1, size)
    end = offset + 1 + size
    number = int.from_bytes(encoded[offset + 1 : end], "little")
    return -number if encoded[offset] else number, end


def _new_float(encoded: bytes, offset: int) -> tuple[float, int]:
    return _finite(_F64(encoded, offset)[0], offset), offset + 8


def _old_float(encoded: bytes, offset: int) -> tuple[float, int]:
    _need(encoded, offset, 31)
    text = encoded[offset : offset + 31].rstrip(b"\0")
    try:
        return _finite(float(text), offset), offset + 31
    except ValueError:
        raise DecodeError("a float is no number", offset=offset) from None


def _finite(number: float, offset: int) -> float:
    if not math.isfinite(number):
        raise DecodeError(f"Erlang has no float {number}", offset=offset)
    return number


def _binary(encoded: bytes, offset: int) -> tuple[bytes, int]:
    (size,) = _U32(encoded, offset)
    _need(encoded, offset + 4, size)
    end = offset + 4 + size
    return encoded[offset + 4 : end], end


def _bit_binary(encoded: bytes, offset: int) -> tuple[bytes | BitString, int]:
    (size,) = _U32(encoded, offset)
    last_bits = encoded[offset + 4]
    _need(encoded, offset + 5, size)
    if not 1 <= last_bits <= 8 or not size:
        raise DecodeError(f"a bit string of {size} bytes has no {last_bits} last bits", offset=offset)
    end = offset + 5 + size
    content = encoded[offset + 5 : end]
    return content if last_bits == 8 else BitString(content, last_bits), end


def _string(encoded: bytes, offset: int) -> tuple[list[int], int]:
    (size,) = _U16(encoded, offset)
    _need(encoded, offset + 2, size)
    end = offset + 2 + size
    return list(encoded[offset + 2 : end]), end


def _nil(_encoded: bytes, offset: int) -> tuple[list[Any], int]:
    return [], offset


def _atom_reader(*, size_bytes: int, encoding: str) -> Callable[[bytes, int], tuple[Atom, int]]:
    def read(encoded: bytes, offset: int) -> tuple[Atom, int]:
        size = encoded[offset] if size_bytes == 1 else _U16(encoded, offset)[0]
        start = offset + size_bytes
        _need(encoded, start, size)
        try:
            atom = Atom(encoded[start : start + size].decode(encoding))
        except UnicodeDecodeError:
            raise DecodeError("an atom is not UTF-8", offset=offset) from None
        if len(atom) > tags.MAX_ATOM_CHARACTERS:
            raise DecodeError(f"an atom has {len(atom)} characters", offset=offset)
        return atom, start + size

    return read


def _new_pid(encoded: bytes, offset: int) -> tuple[Pid, int]:
    node, offset = _typed(encoded, offset, Atom)
    return Pid(node, *_words(encoded, offset, 3)), offset + 12


def _old_pid(encoded: bytes, offset: int) -> tuple[Pid, int]:
    node, offset = _typed(encoded, offset, Atom)
    number, serial = _words(encoded, offset, 2)
    return Pid(node, number, serial, encoded[offset + 8]), offset + 9


def _v4_port(encoded: bytes, offset: int) -> tuple[Port, int]:
    node, offset = _typed(encoded, offset, Atom)
    return Port(node, _U64(encoded, offset)[0], _U32(encoded, offset + 8)[0]), offset + 12


def _new_port(encoded: bytes, offset: int) -> tuple[Port, int]:
    node, offset = _typed(encoded, offset, Atom)
    return Port(node, *_words(encoded, offset, 2)), offset + 8


def _old_port(encoded: bytes, offset: int) -> tuple[Port, int]:
    node, offset = _typed(encoded, offset, Atom)
    return Port(node, _U32(encoded, offset)[0], encoded[offset + 4]), offset + 5


class _ReferenceShape(NamedTuple):
    creation_bytes: int
    counted: bool


def _reference_reader(shape: _ReferenceShape) -> Callable[[bytes, int], tuple[Reference, int]]:
    def read(encoded: bytes, offset: int) -> tuple[Reference, int]:
        count = _U16(encoded, offset)[0] if shape.counted else 1
        if not 1 <= count <= tags.MAX_REFERENCE_WORDS:
            raise DecodeError(f"a reference has no {count} words", offset=offset)
        node, offset = _typed(encoded, offset + 2 * shape.counted, Atom)
        if not shape.counted:  # the oldest form: the word first
            return Reference(node, encoded[offset + 4], _words(encoded, offset, 1)), offset + 5
        creation = encoded[offset] if shape.creation_bytes == 1 else _U32(encoded, offset)[0]
        offset += shape.creation_bytes
        return Reference(node, creation, _words(encoded, offset, count)), offset + 4 * count

    return read


def _words(encoded: bytes, offset: int, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f">{count}I", encoded, offset)


def _export(encoded: bytes, offset: int) -> tuple[Export, int]:
    module, offset = _typed(encoded, offset, Atom)
    function, offset = _typed(encoded, offset, Atom)
    arity, offset = _typed(encoded, offset, int)
    return Export(module, function, arity), offset


_LEAVES: dict[int, Callable[[bytes, int], tuple[Any, int]]] = {
    tags.SMALL_INTEGER: _small_integer,
    tags.INTEGER: _integer,
    tags.SMALL_BIG: _small_big,
    tags.LARGE_BIG: _large_big,
    tags.NEW_FLOAT: _new_float,
    tags.FLOAT: _old_float,
    tags.BINARY: _binary,
    tags.BIT_BINARY: _bit_binary,
    tags.STRING: _string,
    tags.NIL: _nil,
    tags.ATOM: _atom_reader(size_bytes=2, encoding="latin-1"),
    tags.SMALL_ATOM: _atom_reader(size_bytes=1, encoding="latin-1"),
    tags.ATOM_UTF8: _atom_reader(size_bytes=2, encoding="utf-8"),
    tags.SMALL_ATOM_UTF8: _atom_reader(size_bytes=1, encoding="utf-8"),
    tags.NEW_PID: _new_pid,
    tags.PID: _old_pid,
    tags.V4_PORT: _v4_port,
    tags.NEW_PORT: _new_port,
    tags.PORT: _old_port,
    tags.NEWER_REFERENCE: _reference_reader(_ReferenceShape(creation_bytes=4, counted=True)),
    tags.NEW_REFERENCE: _reference_reader(_ReferenceShape(creation_bytes=1, counted=True)),
    tags.REFERENCE: _reference_reader(_ReferenceShape(creation_bytes=1, counted=False)),
    tags.EXPORT: _export,
}
