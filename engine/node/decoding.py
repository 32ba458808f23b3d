"""External Term Format to Python values. Pure: bytes in, a term out, or a DecodeError.

What comes in may be garbled or hostile: every length is checked against the bytes that are there before
anything is built, a compressed term may not grow beyond a limit, and open containers wait on a list, so
that no nesting reaches Python's recursion limit. Source: ERTS User's Guide, "External Term Format".
"""

import struct
import zlib
from collections.abc import Callable
from typing import Any

from engine.node import tags
from engine.node.errors import DecodeError
from engine.node.leaves import LEAVES, need, typed
from engine.term import Atom, Fun, ImproperList, Pid, Term, map_of

_U32 = struct.Struct(">I").unpack_from


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
        leaf = LEAVES.get(tag)
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
            need(encoded, offset + 1, encoded[offset])
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
    need(encoded, offset, _U32(encoded, offset)[0])
    arity = encoded[offset + 4]
    uniq = encoded[offset + 5 : offset + 21]
    (index,) = _U32(encoded, offset + 21)
    (free,) = _U32(encoded, offset + 25)
    offset += 29
    module, offset = typed(encoded, offset, Atom)
    old_index, offset = typed(encoded, offset, int)
    old_uniq, offset = typed(encoded, offset, int)
    pid, offset = typed(encoded, offset, Pid)

    def close(variables: list[Any]) -> Fun:
        return Fun(module, arity, uniq, index, old_index, old_uniq, pid, tuple(variables))

    return _Open(free, close), offset


def _count(encoded: bytes, offset: int, bytes_each: int) -> tuple[int, int]:
    """A 32-bit count of elements, none of which can be shorter than `bytes_each`."""
    (count,) = _U32(encoded, offset)
    need(encoded, offset + 4, count * bytes_each)
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
