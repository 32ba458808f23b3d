"""The terms that hold no others, from bytes: numbers, atoms, binaries, pids, references, ports. Pure.

Each reader takes the bytes and the offset after the tag, and gives the value and the offset after it. Lengths
are checked before anything is built; a fixed-size field beyond the end raises IndexError or struct.error,
which `engine.node.decoding` turns into its DecodeError.
"""

import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from engine.node import tags
from engine.node.errors import DecodeError
from engine.term import Atom, BitString, Export, Pid, Port, Reference

_U16 = struct.Struct(">H").unpack_from
_U32 = struct.Struct(">I").unpack_from
_U64 = struct.Struct(">Q").unpack_from
_I32 = struct.Struct(">i").unpack_from
_F64 = struct.Struct(">d").unpack_from


def typed(encoded: bytes, offset: int, kind: type) -> tuple[Any, int]:
    """The leaf whose tag stands at `offset`, and the offset after it; it must be of one kind.

    Raises:
        DecodeError: Something else stands there.
    """
    leaf = LEAVES.get(encoded[offset])
    if leaf is not None:
        value, end = leaf(encoded, offset + 1)
        if type(value) is kind:
            return value, end
    raise DecodeError(f"expected {kind.__name__}, found tag {encoded[offset]}", offset=offset)


def need(encoded: bytes, offset: int, count: int) -> None:
    """Check that `count` bytes are there.

    Raises:
        DecodeError: They are not.
    """
    if count > len(encoded) - offset:
        raise DecodeError(f"{count} bytes announced, {len(encoded) - offset} there", offset=offset)


def _small_integer(encoded: bytes, offset: int) -> tuple[int, int]:
    return encoded[offset], offset + 1


def _integer(encoded: bytes, offset: int) -> tuple[int, int]:
    return _I32(encoded, offset)[0], offset + 4


def _small_big(encoded: bytes, offset: int) -> tuple[int, int]:
    return _big(encoded, offset + 1, encoded[offset])


def _large_big(encoded: bytes, offset: int) -> tuple[int, int]:
    return _big(encoded, offset + 4, _U32(encoded, offset)[0])


def _big(encoded: bytes, offset: int, size: int) -> tuple[int, int]:
    need(encoded, offset + 1, size)
    end = offset + 1 + size
    number = int.from_bytes(encoded[offset + 1 : end], "little")
    return -number if encoded[offset] else number, end


def _new_float(encoded: bytes, offset: int) -> tuple[float, int]:
    return _finite(_F64(encoded, offset)[0], offset), offset + 8


def _old_float(encoded: bytes, offset: int) -> tuple[float, int]:
    need(encoded, offset, 31)
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
    need(encoded, offset + 4, size)
    end = offset + 4 + size
    return encoded[offset + 4 : end], end


def _bit_binary(encoded: bytes, offset: int) -> tuple[bytes | BitString, int]:
    (size,) = _U32(encoded, offset)
    last_bits = encoded[offset + 4]
    need(encoded, offset + 5, size)
    if not 1 <= last_bits <= 8 or not size:
        raise DecodeError(f"a bit string of {size} bytes has no {last_bits} last bits", offset=offset)
    end = offset + 5 + size
    content = encoded[offset + 5 : end]
    return content if last_bits == 8 else BitString(content, last_bits), end


def _string(encoded: bytes, offset: int) -> tuple[list[int], int]:
    (size,) = _U16(encoded, offset)
    need(encoded, offset + 2, size)
    end = offset + 2 + size
    return list(encoded[offset + 2 : end]), end


def _nil(_encoded: bytes, offset: int) -> tuple[list[Any], int]:
    return [], offset


def _atom_reader(*, size_bytes: int, encoding: str) -> Callable[[bytes, int], tuple[Atom, int]]:
    def read(encoded: bytes, offset: int) -> tuple[Atom, int]:
        size = encoded[offset] if size_bytes == 1 else _U16(encoded, offset)[0]
        start = offset + size_bytes
        need(encoded, start, size)
        try:
            atom = Atom(encoded[start : start + size].decode(encoding))
        except UnicodeDecodeError:
            raise DecodeError("an atom is not UTF-8", offset=offset) from None
        if len(atom) > tags.MAX_ATOM_CHARACTERS:
            raise DecodeError(f"an atom has {len(atom)} characters", offset=offset)
        return atom, start + size

    return read


def _new_pid(encoded: bytes, offset: int) -> tuple[Pid, int]:
    node, offset = typed(encoded, offset, Atom)
    return Pid(node, *_words(encoded, offset, 3)), offset + 12


def _old_pid(encoded: bytes, offset: int) -> tuple[Pid, int]:
    node, offset = typed(encoded, offset, Atom)
    number, serial = _words(encoded, offset, 2)
    return Pid(node, number, serial, encoded[offset + 8]), offset + 9


def _v4_port(encoded: bytes, offset: int) -> tuple[Port, int]:
    node, offset = typed(encoded, offset, Atom)
    return Port(node, _U64(encoded, offset)[0], _U32(encoded, offset + 8)[0]), offset + 12


def _new_port(encoded: bytes, offset: int) -> tuple[Port, int]:
    node, offset = typed(encoded, offset, Atom)
    return Port(node, *_words(encoded, offset, 2)), offset + 8


def _old_port(encoded: bytes, offset: int) -> tuple[Port, int]:
    node, offset = typed(encoded, offset, Atom)
    return Port(node, _U32(encoded, offset)[0], encoded[offset + 4]), offset + 5


class _ReferenceShape(NamedTuple):
    creation_bytes: int
    counted: bool


def _reference_reader(shape: _ReferenceShape) -> Callable[[bytes, int], tuple[Reference, int]]:
    def read(encoded: bytes, offset: int) -> tuple[Reference, int]:
        count = _U16(encoded, offset)[0] if shape.counted else 1
        if not 1 <= count <= tags.MAX_REFERENCE_WORDS:
            raise DecodeError(f"a reference has no {count} words", offset=offset)
        node, offset = typed(encoded, offset + 2 * shape.counted, Atom)
        if not shape.counted:  # the oldest form: the word first
            return Reference(node, encoded[offset + 4], _words(encoded, offset, 1)), offset + 5
        creation = encoded[offset] if shape.creation_bytes == 1 else _U32(encoded, offset)[0]
        offset += shape.creation_bytes
        return Reference(node, creation, _words(encoded, offset, count)), offset + 4 * count

    return read


def _words(encoded: bytes, offset: int, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f">{count}I", encoded, offset)


def _export(encoded: bytes, offset: int) -> tuple[Export, int]:
    module, offset = typed(encoded, offset, Atom)
    function, offset = typed(encoded, offset, Atom)
    arity, offset = typed(encoded, offset, int)
    return Export(module, function, arity), offset


LEAVES: dict[int, Callable[[bytes, int], tuple[Any, int]]] = {
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
