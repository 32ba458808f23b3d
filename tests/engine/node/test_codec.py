"""The codec: what goes in comes out, as erlang_py and a real node see it; and hostile bytes do no harm."""

import contextlib
import struct
import sys
import time
import tracemalloc
import zlib
from typing import Any

import erlang
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.node import tags
from engine.node.connection import Connection
from engine.node.decoding import decode, decode_next
from engine.node.encoding import encode
from engine.node.errors import DecodeError, EncodeError
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
    charlist,
)
from tests.engine.node.terms import terms

LONG_S = 60.0
NODE = Atom("n@h")
_NODE_BYTES = b"w\x03n@h"


@given(terms)
def test_every_term_survives_the_round(term: Term) -> None:
    """decode(encode(t)) is t, type for type."""
    back = decode(encode(term))
    assert back == term
    assert repr(back) == repr(term)


@settings(max_examples=40, deadline=None)
@given(batch=st.lists(terms, max_size=20))
def test_a_real_node_understands_every_term(shared_connection: Connection, batch: list[Term]) -> None:
    """The node decodes what we encode, encodes it its own way, and we read the same terms again."""
    ours = encode(batch)
    again = shared_connection.call("erlang", "binary_to_term", [ours], timeout_s=LONG_S)
    packed = shared_connection.call(
        "erlang", "term_to_binary", [batch, [(Atom("compressed"), 9)]], timeout_s=LONG_S
    )
    assert ordered(again) == ordered(batch)
    assert isinstance(packed, bytes)
    assert ordered(decode(packed)) == ordered(batch)


def ordered(term: Any) -> Any:
    """The term with each map as a sorted list: a node may give a map's pairs in another order."""
    match term:
        case dict() | TermMap():
            return sorted((repr(ordered(key)), repr(ordered(value))) for key, value in term.items())
        case tuple() | list():
            return [type(term), *map(ordered, term)]
        case ImproperList():
            return [ImproperList, *map(ordered, term.elements), ordered(term.tail)]
        case _:
            return [term]


def as_erlang_py(term: Any) -> Any:
    """The same term in the shapes of erlang_py, where it has one."""
    match term:
        case Atom():
            return erlang.OtpErlangAtom(str(term))
        case bytes():
            return erlang.OtpErlangBinary(term)
        case BitString():
            return erlang.OtpErlangBinary(term.bytes, term.last_bits)
        case tuple():
            return tuple(map(as_erlang_py, term))
        case list():
            return erlang.OtpErlangList(list(map(as_erlang_py, term)))
        case ImproperList():
            parts = [*map(as_erlang_py, term.elements), as_erlang_py(term.tail)]
            return erlang.OtpErlangList(parts, improper=True)
        case Pid():
            numbers = [struct.pack(">I", number) for number in (term.id, term.serial, term.creation)]
            return erlang.OtpErlangPid(erlang.OtpErlangAtom(term.node.encode()), *numbers)
        case _:
            return term


plain = st.recursive(
    st.one_of(
        st.text(st.characters(codec="utf-8"), max_size=20).map(Atom),
        st.integers(-(2**100), 2**100),
        st.floats(allow_nan=False, allow_infinity=False),
        st.binary(max_size=20),
    ),
    lambda parts: st.one_of(st.lists(parts, max_size=5), st.lists(parts, max_size=5).map(tuple)),
    max_leaves=15,
)


@given(plain)
def test_erlang_py_writes_what_we_read(term: Term) -> None:
    """Bytes of the other codec decode to the same term."""
    assert decode(erlang.term_to_binary(as_erlang_py(term))) == term


@given(plain)
def test_erlang_py_reads_what_we_write(term: Term) -> None:
    """The other codec reads our bytes and writes them again to what we read as the same term."""
    assert decode(erlang.term_to_binary(as_read_by_erlang_py(encode(term)))) == term


def as_read_by_erlang_py(encoded: bytes) -> Any:
    """What erlang_py makes of bytes; its way of returning STRING_EXT as bytes is undone."""

    def fixed(value: Any) -> Any:
        match value:
            case bytes():
                return erlang.OtpErlangList(list(value))
            case tuple():
                return tuple(map(fixed, value))
            case list():
                return erlang.OtpErlangList(list(map(fixed, value)))
            case erlang.OtpErlangList():
                return erlang.OtpErlangList(list(map(fixed, value.value)), value.improper)
            case _:
                return value

    return fixed(erlang.binary_to_term(encoded))


OLD_FORMS: list[tuple[str, bytes, Term]] = [
    ("ATOM_EXT, Latin-1", b"d\0\x02\xe9a", Atom("éa")),
    ("SMALL_ATOM_EXT", b"s\x02\xe9a", Atom("éa")),
    ("ATOM_UTF8_EXT", b"v\0\x03\xc3\xa9a", Atom("éa")),
    ("FLOAT_EXT", b"c" + b"1.50000000000000000000e+00".ljust(31, b"\0"), 1.5),
    ("PID_EXT", b"g" + _NODE_BYTES + struct.pack(">IIB", 7, 8, 3), Pid(NODE, 7, 8, 3)),
    ("NEW_PID_EXT", b"X" + _NODE_BYTES + struct.pack(">III", 7, 8, 9), Pid(NODE, 7, 8, 9)),
    ("PORT_EXT", b"f" + _NODE_BYTES + struct.pack(">IB", 7, 3), Port(NODE, 7, 3)),
    ("NEW_PORT_EXT", b"Y" + _NODE_BYTES + struct.pack(">II", 7, 9), Port(NODE, 7, 9)),
    ("V4_PORT_EXT", b"x" + _NODE_BYTES + struct.pack(">QI", 2**40, 9), Port(NODE, 2**40, 9)),
    ("REFERENCE_EXT", b"e" + _NODE_BYTES + struct.pack(">IB", 7, 3), Reference(NODE, 3, (7,))),
    (
        "NEW_REFERENCE_EXT",
        b"r\0\x02" + _NODE_BYTES + struct.pack(">BII", 3, 7, 8),
        Reference(NODE, 3, (7, 8)),
    ),
    (
        "NEWER_REFERENCE_EXT",
        b"Z\0\x02" + _NODE_BYTES + struct.pack(">III", 9, 7, 8),
        Reference(NODE, 9, (7, 8)),
    ),
    ("LARGE_TUPLE_EXT", b"i\0\0\0\x01a\x05", (5,)),
    ("LARGE_BIG_EXT", b"o\0\0\0\x02\x01\x01\x02", -513),
    ("BIT_BINARY_EXT of whole bytes", b"M\0\0\0\x01\x08a", b"a"),
    ("a list that goes on in its tail", b"l\0\0\0\x01a\x01l\0\0\0\x01a\x02k\0\x01\x03", [1, 2, 3]),
    ("a list of nothing with a tail", b"l\0\0\0\0a\x01", 1),
    ("EXPORT_EXT", b"qw\x01mw\x01fa\x02", Export(Atom("m"), Atom("f"), 2)),
]


@pytest.mark.parametrize(("form", "encoded", "term"), OLD_FORMS, ids=[form for form, _, _ in OLD_FORMS])
def test_every_form_of_a_term_is_read(form: str, encoded: bytes, term: Term) -> None:
    """Also those that today's nodes write only in files, or no more."""
    assert decode(b"\x83" + encoded) == term


def test_a_fun_can_be_handed_back(connection: Connection) -> None:
    """A fun with an environment, itself with a fun inside, returns to the node as the fun it was."""
    inner = make_fun(connection, "fun(X) -> X + 1 end")
    outer = connection.call("erl_eval", "exprs", make_arguments(connection, inner), timeout_s=LONG_S)
    assert isinstance(outer, tuple)
    assert isinstance(outer[1], Fun)
    assert connection.call("erlang", "apply", [outer[1], [41]], timeout_s=LONG_S) == 42


def make_fun(connection: Connection, text: str) -> Term:
    value = connection.call("erl_eval", "exprs", [parsed(connection, text), []], timeout_s=LONG_S)
    assert isinstance(value, tuple)
    return value[1]


def make_arguments(connection: Connection, inner: Term) -> list[Term]:
    return [parsed(connection, "fun(X) -> Inner(X) end"), [(Atom("Inner"), inner)]]


def parsed(connection: Connection, text: str) -> Term:
    tokens = connection.call("erl_scan", "string", [charlist(f"{text}.")], timeout_s=LONG_S)
    assert isinstance(tokens, tuple)
    forms = connection.call("erl_parse", "parse_exprs", [tokens[1]], timeout_s=LONG_S)
    assert isinstance(forms, tuple)
    return forms[1]


def test_keys_that_no_dict_can_hold_make_a_term_map() -> None:
    """1 and 1.0, and lists as keys, are kept apart and found by type and value."""
    pairs: tuple[tuple[Term, Term], ...] = ((1, Atom("a")), (1.0, Atom("b")), ([1], Atom("c")))
    read = decode(encode(TermMap(pairs)))
    assert isinstance(read, TermMap)
    assert [read.get(1), read.get(1.0), read.get([1]), read.get(2)] == ["a", "b", "c", None]
    assert decode(encode({Atom("a"): 1})) == {Atom("a"): 1}


@pytest.mark.parametrize("value", ["text", None, float("nan"), {1, 2}, object(), ["text"], Atom("x" * 256)])
def test_what_is_no_term_is_not_sent(value: Any) -> None:
    """A str (atom? list? binary?) and other values are refused by name, also deep inside."""
    with pytest.raises(EncodeError):
        encode((value,))


# ---------------------------------------------------------------- hostile bytes

SAMPLE = encode(
    [
        (Atom("a"), 1, -70000, 2**70, 1.5, b"binary", BitString(b"\xe0", 3)),
        {Atom("k"): [1, 2], b"b": ImproperList((1,), 2)},
        [Pid(NODE, 1, 2, 3), Port(NODE, 1, 2), Reference(NODE, 1, (1, 2)), Export(NODE, NODE, 2)],
        Fun(NODE, 1, bytes(16), 2, 3, 4, Pid(NODE, 1, 2, 3), (1, Atom("free"))),
        [300, 400],
    ]
)


def test_a_term_cut_anywhere_is_refused() -> None:
    """Every proper prefix is a DecodeError, never another error and never a term."""
    samples = [SAMPLE, encode(b"binary"), encode(charlist("text")), encode(2**70), encode(2**3000)]
    samples += [encode(BitString(b"ab\xe0", 3)), encode(Atom("atom")), b"\x83" + OLD_FORMS[3][1]]
    for sample in samples:
        for size in range(len(sample)):
            with pytest.raises(DecodeError):
                decode_next(sample[:size], 0)


def test_bytes_behind_a_term_are_refused() -> None:
    """decode wants one term; decode_next says where it ends."""
    with pytest.raises(DecodeError, match="follow"):
        decode(SAMPLE + b"x")
    assert decode_next(b"xx" + SAMPLE + b"x", 2)[1] == 2 + len(SAMPLE)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_changed_bytes_are_a_term_or_a_decode_error(draw: st.DataObject) -> None:
    """Garbling up to four bytes of a real term never raises anything else."""
    garbled = bytearray(SAMPLE)
    for _ in range(draw.draw(st.integers(1, 4))):
        garbled[draw.draw(st.integers(0, len(garbled) - 1))] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        decode(bytes(garbled))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_term_or_a_decode_error(content: bytes) -> None:
    """The same for bytes that were never a term, bare and compressed."""
    packed = b"\x83P" + struct.pack(">I", len(content)) + zlib.compress(content)
    for encoded in (b"\x83" + content, packed):
        with contextlib.suppress(DecodeError):
            decode(encoded)


DEEP = 20_000


@pytest.mark.parametrize(
    "level", [b"l\0\0\0\x01%sj", b"h\x01%s", b"t\0\0\0\x01j%s"], ids=["lists", "tuples", "maps"]
)
def test_deep_nesting_is_no_recursion(level: bytes) -> None:
    """Twenty thousand levels are read and written again; Python's stack is not used for them."""
    before, after = level.split(b"%s")
    encoded = b"\x83" + before * DEEP + b"j" + after * DEEP
    assert encode(decode(encoded)) == encoded
    assert sys.getrecursionlimit() < DEEP


def test_a_list_continued_in_its_tail_a_hundred_thousand_times_is_read_in_linear_time() -> None:
    """Each tail extends the one list; copying it at each step would take minutes."""
    links = 100_000
    encoded = b"\x83" + b"l\0\0\0\x01a\x01" * links + b"j"
    begun = time.monotonic()
    assert decode(encoded) == [1] * links
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("tag", [tags.LARGE_TUPLE, tags.LIST, tags.MAP, tags.BINARY, tags.LARGE_BIG])
def test_an_announced_size_costs_nothing(tag: int) -> None:
    """Four billion elements announced in ten bytes are refused before memory is taken."""
    tracemalloc.start()
    with pytest.raises(DecodeError):
        decode(bytes([tags.VERSION, tag, 255, 255, 255, 255]) + b"jjjj")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_compressed_term_cannot_grow_without_bound() -> None:
    """A bomb that says so, and one that lies about its size, are refused while small."""
    bomb = zlib.compress(bytes(80_000_000), 9)
    for size in (80_000_000, 10):
        tracemalloc.start()
        with pytest.raises(DecodeError):
            decode(b"\x83P" + struct.pack(">I", size) + bomb)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < tags.MAX_UNCOMPRESSED_BYTES


@pytest.mark.parametrize(
    "encoded",
    [
        b"F\x7f\xf8\0\0\0\0\0\0",
        b"c" + b"nan".ljust(31, b"\0"),
        b"w\x02\xff\xfe",
        b"v\x01\x00" + b"a" * 256,
        b"M\0\0\0\x01\x09a",
        b"M\0\0\0\0\x01",
        b"Xa\x01" + bytes(12),
        b"Z\0\x06" + _NODE_BYTES + bytes(28),
        b"R\0",
        b"y",
    ],
    ids=["NaN", "old NaN", "UTF-8", "256", "9 bits", "no byte", "pid of 1", "6 words", "cache", "local"],
)
def test_what_erlang_has_not_is_refused(encoded: bytes) -> None:
    """Floats, atoms, bit strings, pids and references that cannot be, and tags nobody asked for."""
    with pytest.raises(DecodeError):
        decode(b"\x83" + encoded)
