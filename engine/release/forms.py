"""The source forms that a beam carries as debug information: its records, types and functions.

Forms are cut out of the bytes and decoded one by one when asked for: a release has megabytes of them, of
which an analysis needs little. Source: "The Abstract Format" (ERTS User's Guide) in the chunk Dbgi,
`{debug_info_v1, erl_abstract_code, {Forms, Options}}`.
"""

import functools
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.node.decoding import decode_next
from engine.node.errors import DecodeError
from engine.release.beam import Beam, Function

_COMPRESSED = b"\x83P"
_VERSION = b"\x83"
_MAX_BYTES = 512 * 1024 * 1024
_NUMBER = rb"(?:a.|b.{4})"
_ANNOTATION = rb"(?:" + _NUMBER + rb"|h\x02" + _NUMBER + _NUMBER + rb")"
_ATOM = rb"(?:d\x00|s|w)"
_FORM = re.compile(rb"h\x04" + _ATOM + rb"\x09attribute|h\x05" + _ATOM + rb"\x08function", re.DOTALL)
_FUNCTION = re.compile(rb"h\x05" + _ATOM + rb"\x08function" + _ANNOTATION + _ATOM + rb"(.)", re.DOTALL)
_RECORD = re.compile(rb"h\x04" + _ATOM + rb"\x06record" + _ANNOTATION + _ATOM + rb"(.)", re.DOTALL)
_RECORD_TUPLE = re.compile(
    rb"h\x05" + _ATOM + rb"\x06record|" + _ATOM + rb"\x0c(?:record_field|record_index)"
)
_ATTRIBUTE = re.compile(rb"h\x04" + _ATOM + rb"\x09attribute" + _ANNOTATION + _ATOM + rb"(.)", re.DOTALL)
_NAMED = re.compile(rb"h[\x02\x03]" + _ATOM + rb"(.)", re.DOTALL)

Form = tuple[Any, ...]


@dataclass(frozen=True)
class Forms:
    """The forms of one module.

    Attributes:
        pieces: Each attribute and function as its encoded bytes, in order.
    """

    pieces: tuple[bytes, ...]

    @property
    def records(self) -> Mapping[str, bytes]:
        """Each record's encoded declaration, by name."""
        return self._declared["record"]

    @property
    def types(self) -> Mapping[str, bytes]:
        """Each type's encoded declaration, by name (types of one name and several arities: the last)."""
        return self._declared["type"] | self._declared["opaque"]

    @functools.cached_property
    def _declared(self) -> Mapping[str, dict[str, bytes]]:
        found: dict[str, dict[str, bytes]] = {"record": {}, "type": {}, "opaque": {}}
        for piece in self.pieces:
            attribute = _ATTRIBUTE.match(piece)
            if attribute is None:
                continue
            kind = found.get(_name_at(piece, attribute.end()))
            named = _NAMED.match(piece, attribute.end() + piece[attribute.end() - 1])
            if kind is not None and named is not None:
                kind[_name_at(piece, named.end())] = piece
        return found

    @functools.cached_property
    def functions(self) -> Mapping[Function, bytes]:
        """Each function's encoded form, by name and arity."""
        return {header: piece for piece in self.pieces if (header := _header(piece)) is not None}

    def function(self, name: str, arity: int) -> Form | None:
        """`{function, Anno, Name, Arity, Clauses}`, or None where the module has none of that name."""
        piece = self.functions.get((name, arity))
        return None if piece is None else decoded(piece)

    def functions_using(self, record: str) -> tuple[Function, ...]:
        """The functions that build, match, read or update a record.

        A record expression or pattern carries the name where the bytes can be matched. In an update or a
        field access an expression stands before the name: there the name anywhere in the function counts.
        """
        return tuple(function for function, piece in self.functions.items() if _uses(piece, record))


def read_forms(beam: Beam) -> Forms | None:
    """The forms of a beam; None when it has no debug information, or not Erlang's."""
    chunk = beam.chunks.get(b"Dbgi")
    if chunk is None:
        return None
    encoded = _inflated(chunk)
    starts = [found.start() for found in _FORM.finditer(encoded)]
    if not starts:
        return None
    return Forms(tuple(encoded[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)))


def _inflated(chunk: bytes) -> bytes:
    if not chunk.startswith(_COMPRESSED):
        return chunk
    try:
        return zlib.decompressobj().decompress(chunk[6:], _MAX_BYTES)
    except zlib.error:
        return b""


def decoded(piece: bytes) -> Form:
    """One form; an empty tuple for bytes that are none."""
    try:
        form, _ = decode_next(_VERSION + piece, 0)
    except DecodeError:
        return ()
    return form if isinstance(form, tuple) else ()


def _header(piece: bytes) -> Function | None:
    """Name and arity of a function's form; None for an attribute."""
    if piece[:2] != b"h\x05":
        return None
    found = _FUNCTION.match(piece)
    if found is None:  # an annotation that is a list
        form = decoded(piece)
        return (str(form[2]), form[3]) if len(form) == 5 else None
    name = _name_at(piece, found.end())
    at = found.end() + piece[found.end() - 1]
    return (name, piece[at + 1]) if piece[at : at + 1] == b"a" else None


def _name_at(piece: bytes, at: int) -> str:
    """The atom whose one-byte length stands before `at`."""
    return piece[at : at + piece[at - 1]].decode("utf-8", "replace")


def _uses(piece: bytes, record: str) -> bool:
    name = record.encode()
    if bytes([len(name)]) + name not in piece:
        return False
    if any(_name_at(piece, found.end()) == record for found in _RECORD.finditer(piece)):
        return True
    return _RECORD_TUPLE.search(piece) is not None
