"""Terms as values and as text. That a real node reads the text back: engine/node/test_term_text.py."""

import pytest

from engine.term import (
    Atom,
    BitString,
    Call,
    Export,
    ImproperList,
    Pid,
    Reference,
    Term,
    TermMap,
    charlist,
    format_term,
    map_of,
    text_of,
)


@pytest.mark.parametrize(
    ("term", "text"),
    [
        (Atom("ok"), "ok"),
        (Atom("end"), "'end'"),
        (Atom("it's\n"), r"'it\'s\n'"),
        (Atom("Abc"), "'Abc'"),
        (Atom(""), "''"),
        (True, "true"),
        ([], "[]"),
        (charlist('say "hé"\t'), r'"say \"hé\"\t"'),
        ([1, 2], "[1,2]"),
        ([0x110000], "[1114112]"),
        (b"", "<<>>"),
        (b"abc", '<<"abc">>'),
        ("é".encode(), '<<"é"/utf8>>'),
        (b"\xff\x00", "<<255,0>>"),
        (BitString(b"\x01\xe0", 3), "<<1,7:3>>"),
        (1e22, "1.0e+22"),
        (-0.5, "-0.5"),
        (10**20, "100000000000000000000"),
        (ImproperList((1, 2), Atom("t")), "[1,2|t]"),
        ({Atom("a"): [1]}, "#{a => [1]}"),
        (TermMap(((1, 2), (1.0, 3))), "#{1 => 2,1.0 => 3}"),
        (Call(None, Atom("node"), ()), "node()"),
        (Call(Atom("m"), Atom("f"), (1, Atom("x"))), "m:f(1,x)"),
        (Export(Atom("m"), Atom("f"), 2), "fun m:f/2"),
        (Pid(Atom("a@h"), 12, 0, 3), "<a@h.12.0>"),
        (Reference(Atom("a@h"), 3, (1, 2)), "#Ref<a@h.2.1>"),
        ((), "{}"),
    ],
)
def test_terms_have_this_text(term: Term, text: str) -> None:
    """Quotes where Erlang needs them, charlists as text, and nothing that Python would write."""
    assert format_term(term) == text


def test_an_integer_beyond_pythons_digits_is_written_in_hex() -> None:
    """Python refuses to write more than 4,300 decimal digits; Erlang reads base 16 as well."""
    assert format_term(-(16**4000)) == f"-16#1{'0' * 4000}"


def test_what_is_no_term_has_no_text() -> None:
    """A None is a fault of ours and is named."""
    with pytest.raises(TypeError, match="NoneType"):
        format_term([None])


def test_deep_terms_have_text() -> None:
    """Nesting is no recursion here either."""
    term: Term = []
    for _ in range(20_000):
        term = [term]
    assert len(format_term(term)) == 40_002


@pytest.mark.parametrize(
    ("term", "text"),
    [
        (charlist("añ"), "añ"),
        (b"a\xc3\xb1", "añ"),
        (b"a\xf1", "añ"),
        (Atom("añ"), "añ"),
        ([b"a", [charlist("b"), ImproperList((99,), b"d")]], "abcd"),
        ([], ""),
    ],
)
def test_text_of_chardata(term: Term, text: str) -> None:
    """Code points, UTF-8 and Latin-1 binaries, atoms, nested as iolists are."""
    assert text_of(term) == text


@pytest.mark.parametrize("term", [(1,), 1.5, [-1], [0x110000], [2**80], {}, [True]])
def test_what_is_no_text_is_refused(term: Term) -> None:
    """Tuples, floats, maps and numbers that are no code points."""
    with pytest.raises(ValueError, match="not text"):
        text_of(term)


def test_an_atom_is_its_text() -> None:
    """Equal to the str and hashed alike, yet told apart by type and repr."""
    assert Atom("ok") == "ok"
    assert "ok" in {Atom("ok")}
    assert repr(Atom("ok")) == "Atom('ok')"


def test_map_of_keeps_every_pair() -> None:
    """A dict where one can hold them, else a TermMap."""
    assert map_of([(1, 2)]) == {1: 2}
    assert map_of([([], 1)]) == TermMap((([], 1),))
    assert map_of([(1, 1), (1.0, 2)]) == TermMap(((1, 1), (1.0, 2)))
