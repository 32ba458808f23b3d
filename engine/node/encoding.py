"""Python values to External Term Format. Pure: a term in, bytes out.

Nesting has no bound: terms wait on a list, not on Python's stack. Source: ERTS User's Guide.
"""

import math
from collections.abc import Callable
from struct import Struct
from typing import Any

import msgspec

from engine.node import tags
from engine.node.errors import EncodeError
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
    TermMap,
)

_U16 = Struct(">BH").pack
_U32 = Struct(">BI").pack
_I32 = Struct(">Bi").pack
_F64 = Struct(">Bd").pack
_PID = Struct(">III").pack
_STRING_LIMIT = 0xFFFF
_NIL = bytes([tags.NIL])

_Waiting = list[Any]


def encode(term: Term) -> bytes:
    """The term with its version byte, as `term_to_binary/1` would write it.

    Raises:
        EncodeError: A value in it is no Erlang term (str, None, NaN, …).
    """
    out = bytearray([tags.VERSION])
    waiting: _Waiting = [term]
    while waiting:
        value = waiting.pop()
        writer = _WRITERS.get(type(value))
        if writer is None:
            raise EncodeError(f"{type(value).__name__} is no Erlang term (use Atom, bytes or charlist)")
        writer(value, out, waiting)
    return bytes(out)


def _write_atom(atom: str, out: bytearray, _waiting: _Waiting) -> None:
    if len(atom) > tags.MAX_ATOM_CHARACTERS:
        raise EncodeError(f"an atom has at most {tags.MAX_ATOM_CHARACTERS} characters, this has {len(atom)}")
    text = atom.encode()
    if len(text) < 256:
        out += bytes((tags.SMALL_ATOM_UTF8, len(text)))
    else:
        out += _U16(tags.ATOM_UTF8, len(text))
    out += text


def _write_bool(flag: bool, out: bytearray, waiting: _Waiting) -> None:
    _write_atom("true" if flag else "false", out, waiting)


def _write_int(number: int, out: bytearray, _waiting: _Waiting) -> None:
    if 0 <= number < 256:
        out += bytes((tags.SMALL_INTEGER, number))
    elif -0x8000_0000 <= number <= 0x7FFF_FFFF:
        out += _I32(tags.INTEGER, number)
    else:
        digits = abs(number).to_bytes((number.bit_length() + 7) // 8, "little")
        small = len(digits) < 256
        out += bytes((tags.SMALL_BIG, len(digits))) if small else _U32(tags.LARGE_BIG, len(digits))
        out.append(number < 0)
        out += digits


def _write_float(number: float, out: bytearray, _waiting: _Waiting) -> None:
    if not math.isfinite(number):
        raise EncodeError(f"Erlang has no float {number}")
    out += _F64(tags.NEW_FLOAT, number)


def _write_binary(binary: bytes | bytearray | memoryview, out: bytearray, _waiting: _Waiting) -> None:
    out += _U32(tags.BINARY, len(binary))
    out += binary


def _write_bits(bits: BitString, out: bytearray, _waiting: _Waiting) -> None:
    out += _U32(tags.BIT_BINARY, len(bits.bytes))
    out.append(bits.last_bits)
    out += bits.bytes


def _write_tuple(elements: tuple[Any, ...], out: bytearray, waiting: _Waiting) -> None:
    arity = len(elements)
    out += bytes((tags.SMALL_TUPLE, arity)) if arity < 256 else _U32(tags.LARGE_TUPLE, arity)
    waiting.extend(reversed(elements))


def _write_list(elements: list[Any], out: bytearray, waiting: _Waiting) -> None:
    if not elements:
        out += _NIL
        return
    text = _as_string(elements)
    if text is not None:
        out += _U16(tags.STRING, len(text))
        out += text
        return
    out += _U32(tags.LIST, len(elements))
    waiting.append([])
    waiting.extend(reversed(elements))


def _as_string(elements: list[Any]) -> bytes | None:
    """The bytes of a list that STRING_EXT can carry, three to nine times shorter than LIST_EXT."""
    if len(elements) > _STRING_LIMIT or any(type(element) is not int for element in elements):
        return None
    try:
        return bytes(elements)
    except ValueError:
        return None


def _write_improper(improper: ImproperList, out: bytearray, waiting: _Waiting) -> None:
    if not improper.elements:
        raise EncodeError("an improper list has at least one element before its tail")
    out += _U32(tags.LIST, len(improper.elements))
    waiting.append(improper.tail)
    waiting.extend(reversed(improper.elements))


def _write_map(pairs: dict[Any, Any] | TermMap, out: bytearray, waiting: _Waiting) -> None:
    flat = [part for pair in pairs.items() for part in pair]
    out += _U32(tags.MAP, len(flat) // 2)
    waiting.extend(reversed(flat))


def _write_pid(pid: Pid, out: bytearray, waiting: _Waiting) -> None:
    out.append(tags.NEW_PID)
    _write_atom(pid.node, out, waiting)
    out += _PID(pid.id, pid.serial, pid.creation)


def _write_port(port: Port, out: bytearray, waiting: _Waiting) -> None:
    out.append(tags.V4_PORT)
    _write_atom(port.node, out, waiting)
    out += port.id.to_bytes(8, "big") + port.creation.to_bytes(4, "big")


def _write_reference(reference: Reference, out: bytearray, waiting: _Waiting) -> None:
    out += _U16(tags.NEWER_REFERENCE, len(reference.words))
    _write_atom(reference.node, out, waiting)
    for word in (reference.creation, *reference.words):
        out += word.to_bytes(4, "big")


def _write_export(export: Export, out: bytearray, waiting: _Waiting) -> None:
    out.append(tags.EXPORT)
    _write_atom(export.module, out, waiting)
    _write_atom(export.function, out, waiting)
    _write_int(export.arity, out, waiting)


def _write_fun(fun: Fun, out: bytearray, waiting: _Waiting) -> None:
    out += _U32(tags.NEW_FUN, 0)
    waiting.append(_FunEnd(len(out) - 4))
    waiting.extend(reversed(fun.free))
    out.append(fun.arity)
    out += fun.uniq
    out += fun.index.to_bytes(4, "big") + len(fun.free).to_bytes(4, "big")
    _write_atom(fun.module, out, waiting)
    _write_int(fun.old_index, out, waiting)
    _write_int(fun.old_uniq, out, waiting)
    _write_pid(fun.pid, out, waiting)


class _FunEnd(msgspec.Struct, frozen=True):
    """Waits behind a fun's free variables; then the fun's size is known, which stands before them."""

    size_offset: int


def _write_fun_size(end: _FunEnd, out: bytearray, _waiting: _Waiting) -> None:
    size = len(out) - end.size_offset  # the size field counts itself
    out[end.size_offset : end.size_offset + 4] = size.to_bytes(4, "big")


_WRITERS: dict[type, Callable[[Any, bytearray, _Waiting], None]] = {
    Atom: _write_atom,
    bool: _write_bool,
    int: _write_int,
    float: _write_float,
    bytes: _write_binary,
    bytearray: _write_binary,
    memoryview: _write_binary,
    BitString: _write_bits,
    tuple: _write_tuple,
    list: _write_list,
    ImproperList: _write_improper,
    dict: _write_map,
    TermMap: _write_map,
    Pid: _write_pid,
    Port: _write_port,
    Reference: _write_reference,
    Export: _write_export,
    Fun: _write_fun,
    _FunEnd: _write_fun_size,
}
