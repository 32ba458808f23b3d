"""Erlang terms as Python values: what the text reader of hop files and the node's codec both speak.

Only shapes and their text live here; nothing here reads bytes, files or sockets.

    atom              Atom("ok")                  a str that knows it is an atom; true and false are atoms too
    integer, float    int, float
    binary            bytes                       bit string: BitString
    tuple, list       tuple, list                 [a | b]: ImproperList
    "text"            list of code points         see `charlist` and `text_of`
    map               dict, or TermMap where a key cannot be a dict key
    pid, port, ref    Pid, Port, Reference        fun: Fun, fun m:f/1: Export
    node() in text    Call
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias, Union

import msgspec


class Atom(str):
    """An atom. Equal to the str of the same text, so `term == "ok"` and `match` on it work."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Atom({str(self)!r})"


class Pid(msgspec.Struct, frozen=True):
    """A process identifier; `creation` tells two lives of a node of one name apart."""

    node: Atom
    id: int
    serial: int
    creation: int


class Port(msgspec.Struct, frozen=True):
    """A port identifier."""

    node: Atom
    id: int
    creation: int


class Reference(msgspec.Struct, frozen=True):
    """A reference: up to five 32-bit words, lowest first as they travel."""

    node: Atom
    creation: int
    words: tuple[int, ...]


class Export(msgspec.Struct, frozen=True):
    """`fun module:function/arity`."""

    module: Atom
    function: Atom
    arity: int


class Fun(msgspec.Struct, frozen=True):
    """A fun with its environment; it can be handed back to a node, not called here.

    `uniq` is the md5 of the significant parts of its module, 16 bytes.
    """

    module: Atom
    arity: int
    uniq: bytes
    index: int
    old_index: int
    old_uniq: int
    pid: Pid
    free: tuple["Term", ...]


class BitString(msgspec.Struct, frozen=True):
    """A bit string whose last byte has `last_bits` (1 to 7) bits, the highest ones of that byte."""

    bytes: bytes
    last_bits: int


class ImproperList(msgspec.Struct, frozen=True):
    """A list that does not end in []: at least one element and a tail that is no list."""

    elements: tuple["Term", ...]
    tail: "Term"


class TermMap(msgspec.Struct, frozen=True):
    """A map that no dict can hold: a key is unhashable here, or two keys are equal here (1 and 1.0)."""

    pairs: tuple[tuple["Term", "Term"], ...]

    def items(self) -> Iterator[tuple["Term", "Term"]]:
        """Its pairs, as a dict gives them."""
        return iter(self.pairs)

    def get(self, key: "Term", default: "Term | None" = None) -> "Term | None":
        """The value of the key of the same type and value."""
        for candidate, value in self.pairs:
            if type(candidate) is type(key) and candidate == key:
                return value
        return default


class Call(msgspec.Struct, frozen=True):
    """A call that stands inside a text term, such as `node()`; `module` None means an auto-imported one."""

    module: Atom | None
    function: Atom
    arguments: tuple["Term", ...]


Term: TypeAlias = Union[  # noqa: UP007 - `|` cannot name the alias itself
    Atom,
    int,
    float,
    bytes,
    tuple["Term", ...],
    list[Any],  # Any: list and dict are invariant, a list[Atom] must be a Term
    dict[Any, Any],
    Pid,
    Port,
    Reference,
    Export,
    Fun,
    BitString,
    ImproperList,
    TermMap,
    Call,
]


def map_of(pairs: Iterable[tuple[Term, Term]]) -> dict[Any, Any] | TermMap:
    """The map of these pairs: a dict whenever one can hold them all."""
    kept = tuple(pairs)
    try:
        found = dict(kept)
    except TypeError:
        return TermMap(kept)
    return found if len(found) == len(kept) else TermMap(kept)


def charlist(text: str) -> list[int]:
    """Erlang's "text": a list of code points."""
    return [ord(character) for character in text]


def text_of(term: Term) -> str:
    """The text of chardata: an atom, a binary (UTF-8, else Latin-1), code points, nested as iolists are.

    Raises:
        ValueError: The term is not text.
    """
    pieces: list[str] = []
    waiting: list[Term] = [term]
    while waiting:
        piece = waiting.pop()
        match piece:
            case Atom():
                pieces.append(str(piece))
            case bytes():
                pieces.append(_decoded(piece))
            case int() if not isinstance(piece, bool):
                pieces.append(_character(piece))
            case list():
                waiting.extend(reversed(piece))
            case ImproperList():
                waiting.append(piece.tail)
                waiting.extend(reversed(piece.elements))
            case _:
                raise ValueError(f"not text: {format_term(piece)[:200]}")
    return "".join(pieces)


def format_term(term: Term) -> str:
    """The term as Erlang text that `erl_scan` and `erl_parse` read back; "…" for printable charlists.

    Pids, ports, references and funs have no such text; they look as the shell prints them.
    """
    pieces: list[str] = []
    waiting: list[Any] = [term]
    while waiting:
        piece = waiting.pop()
        if type(piece) is str:  # text already, an atom is an Atom
            pieces.append(piece)
        else:
            waiting.extend(reversed(_parts(piece)))
    return "".join(pieces)


def _parts(term: Any) -> Sequence[Any]:
    """One term as pieces of text and terms still to be written, in order."""
    match term:
        case tuple():
            return ["{", *_separated(term), "}"]
        case list():
            return [_quoted(map(chr, term), '"')] if _is_printable(term) else ["[", *_separated(term), "]"]
        case dict() | TermMap():
            pairs = [_Pair(key, value) for key, value in term.items()]
            return ["#{", *_separated(pairs), "}"]
        case _Pair():
            return [term.key, " => ", term.value]
        case ImproperList():
            return ["[", *_separated(term.elements), "|", term.tail, "]"]
        case Call():
            called = [term.function] if term.module is None else [term.module, ":", term.function]
            return [*called, "(", *_separated(term.arguments), ")"]
        case Export():
            return ["fun ", term.module, ":", term.function, f"/{term.arity}"]
        case _:
            return [_scalar(term)]


class _Pair(msgspec.Struct, frozen=True):
    key: Any
    value: Any


_PLAIN_ATOM = re.compile(r"[a-z][A-Za-z0-9_@]*")
_WORDS = (
    "after and andalso band begin bnot bor bsl bsr bxor case catch cond div else end fun if let maybe not of or"
    " orelse receive rem try when xor"
)
RESERVED_WORDS = frozenset(_WORDS.split())
"""Words that are atoms only in quotes (Erlang Reference Manual, "Reserved Words")."""
_HUGE_BITS = 10_000
"""Beyond it Python refuses decimal digits (its limit is 4,300 of them); Erlang reads `16#…` as well."""


def _scalar(term: Any) -> str:
    match term:
        case Atom():
            return (
                str(term)
                if _PLAIN_ATOM.fullmatch(term) and term not in RESERVED_WORDS
                else _quoted(term, "'")
            )
        case bool():
            return "true" if term else "false"
        case int():
            return str(term) if term.bit_length() < _HUGE_BITS else f"{'-' * (term < 0)}16#{abs(term):X}"
        case float():
            return _float_text(term)
        case bytes():
            return _binary_text(term)
        case BitString():
            last = f"{term.bytes[-1] >> (8 - term.last_bits)}:{term.last_bits}"
            return f"<<{','.join([*map(str, term.bytes[:-1]), last])}>>"
        case Pid():
            return f"<{term.node}.{term.id}.{term.serial}>"
        case Port():
            return f"#Port<{term.node}.{term.id}>"
        case Reference():
            return f"#Ref<{term.node}.{'.'.join(map(str, reversed(term.words)))}>"
        case Fun():
            return f"#Fun<{term.module}.{term.index}.{term.old_uniq}>"
        case _:
            raise TypeError(f"not an Erlang term: {type(term).__name__}")


def _separated(terms: Iterable[Any]) -> Iterator[Any]:
    for position, term in enumerate(terms):
        if position:
            yield ","
        yield term


def _is_printable(elements: list[Any]) -> bool:
    return bool(elements) and all(
        type(element) is int
        and 0 < element < 0x110000
        and (element in (9, 10, 13) or chr(element).isprintable())
        for element in elements
    )


_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _quoted(characters: Iterable[str], quote: str) -> str:
    return f"{quote}{''.join(_escaped(character, quote) for character in characters)}{quote}"


def _escaped(character: str, quote: str) -> str:
    if character == quote:
        return f"\\{quote}"
    if character in _ESCAPES:
        return _ESCAPES[character]
    return character if character.isprintable() else f"\\x{{{ord(character):x}}}"


def _binary_text(binary: bytes) -> str:
    if not binary:
        return "<<>>"
    try:
        text = binary.decode()
    except UnicodeDecodeError:
        text = ""
    if not text or not _is_printable([ord(character) for character in text]):
        return f"<<{','.join(map(str, binary))}>>"
    return f"<<{_quoted(text, chr(34))}{'' if text.isascii() else '/utf8'}>>"


def _float_text(number: float) -> str:
    mantissa, exponent, power = repr(number).partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}{exponent}{power}"


def _decoded(binary: bytes) -> str:
    try:
        return binary.decode()
    except UnicodeDecodeError:
        return binary.decode("latin-1")


def _character(code_point: int) -> str:
    try:
        return chr(code_point)
    except (ValueError, OverflowError):
        raise ValueError(f"not text: {code_point} is no code point") from None
