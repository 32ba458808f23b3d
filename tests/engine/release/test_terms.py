"""Erlang text terms: what is read, and what is refused where."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.release.errors import CannotReadRelease, MalformedTerm, ScriptTerm, TermError
from engine.release.term_scanner import NotPlain, scan_term
from engine.release.terms import parse_term, read_term, read_term_file
from engine.term import Atom, BitString, Call, Export, ImproperList, Term, charlist, format_term
from fixtures.otp import installed


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("ok", Atom("ok")),
        ("'quoted atom'.", Atom("quoted atom")),
        (r"'it\'s'", Atom("it's")),
        ("'if'", Atom("if")),
        ('"a" "b" % adjacent\n "c"', charlist("abc")),
        (r'"\n\t\e\s\d\x41\x{263a}\101\^A\""', [10, 9, 27, 32, 127, 0x41, 0x263A, 0o101, 1, 34]),
        ("$a", 97),
        (r"$\n", 10),
        ("$ ", 32),
        ("1_000_000", 1_000_000),
        ("16#fF", 255),
        ("-2#101", -5),
        ("+3", 3),
        ("-2.5e-3", -0.0025),
        ("{}", ()),
        ("{a, {b}, []}", (Atom("a"), (Atom("b"),), [])),
        ("[1, 2 | c]", ImproperList((1, 2), Atom("c"))),
        ("[1 | [2]]", [1, 2]),
        ("[1 | [2 | 3]]", ImproperList((1, 2), 3)),
        ("#{a => 1, \"b\" => #{}}", None),
        ("#{}", {}),
        ('<<"abc">>', b"abc"),
        ('<<"é"/utf8>>', "é".encode()),
        ("<<1, 2:16, $a>>", b"\x01\x00\x02a"),
        ("<<5:3>>", BitString(b"\xa0", 3)),
        ("<<>>", b""),
        ("fun lists:map/2", Export(Atom("lists"), Atom("map"), 2)),
        ("% first\n% second\n{ok}. % last", (Atom("ok"),)),
    ],
)  # fmt: skip
def test_a_literal_term_is_read(text: str, term: Term | None) -> None:
    """Each kind of literal of the Erlang manual, its escapes, comments and the dot that may be missing."""
    found = read_term(text)
    assert found == (read_term('#{a => 1, "b" => #{}}') if term is None else term)
    assert type(found) is type(term) or term is None


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("X = 5.", 1, 1),
        ("{a,\n  Version}", 2, 3),
        ("{f, fun() -> ok end}", 1, 8),
        ("{f, fun(X) -> X end}", 1, 8),
        ("begin a end", 1, 1),
        ("1 + 2", 1, 3),
        ("[X || X <- [1]]", 1, 2),
        ("node()", 1, 1),
        ("{a, file:list_dir(\"/\")}", 1, 5),
        ("case a of b -> c end", 1, 1),
        ("(a)", 1, 1),
    ],
)  # fmt: skip
def test_a_script_is_refused_as_one_with_its_place(text: str, line: int, column: int) -> None:
    """Variables, matches, funs, operators and calls have to be evaluated, which nobody does here."""
    with pytest.raises(ScriptTerm, match="script") as refused:
        read_term(text, source="hop.relup")
    assert (refused.value.line, refused.value.column) == (line, column)
    assert str(refused.value).startswith(f"hop.relup:{line}:{column}: ")
    assert "--trust-script" in refused.value.next


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("", 1, 1),
        ("{a, b", 1, 5),
        ("{a,}", 1, 4),
        ("{a b}", 1, 4),
        ("a. b.", 1, 4),
        ('{a,\n "never ends}', 2, 2),
        ("'never ends", 1, 1),
        ("{a, §}", 1, 5),
        ("37#1", 1, 1),
        ("2#3", 1, 1),
        (r'"\x{110000}"', 1, 1),
        ("#{a, b}", 1, 4),
        ("1.0e999", 1, 1),
    ],
)  # fmt: skip
def test_a_malformed_term_is_refused_with_its_place(text: str, line: int, column: int) -> None:
    """The operator finds the slip by file, line and column."""
    with pytest.raises(MalformedTerm) as refused:
        read_term(text, source="hop.relup")
    assert (refused.value.line, refused.value.column) == (line, column)


def test_calls_are_let_through_only_where_the_caller_says_so() -> None:
    """A shipped hop has `node()` inside its data."""
    assert read_term("{f, [node(), a:b(1)]}", calls=True) == (
        Atom("f"),
        [Call(None, Atom("node"), ()), Call(Atom("a"), Atom("b"), (1,))],
    )


def test_places_of_tuples_and_atoms_are_known() -> None:
    """What is wrong inside a term can be named by line and column."""
    parsed = parse_term("[{a, 1},\n   {b, 2}, c]")
    assert isinstance(parsed.term, list)
    assert [parsed.position_of(part) for part in parsed.term] == [(1, 2), (2, 4), (2, 12)]


def test_a_term_nested_without_end_is_refused() -> None:
    """No file can exhaust the stack."""
    with pytest.raises(MalformedTerm, match="nested too deeply"):
        read_term("[" * 100_000 + "]" * 100_000)


terms = st.recursive(
    st.one_of(
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.binary(max_size=20),
        st.text(st.characters(codec="utf-8"), max_size=20).map(Atom),
        st.text(st.characters(codec="utf-8"), max_size=20).map(charlist),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5).map(Atom), inner, max_size=3),
    ),
    max_leaves=12,
)


@given(terms)
def test_what_is_written_reads_back(term: Term) -> None:
    """The journal keeps terms as text; a replay must get the same ones."""
    assert read_term(format_term(term)) == term


@given(st.text(max_size=60))
def test_any_text_is_a_term_or_refused(text: str) -> None:
    """Garbage ends in one of our errors, never in another exception."""
    line = 1
    try:
        read_term(text, calls=True)
    except TermError as refused:
        line = refused.line
    assert line >= 1


def test_the_fast_reader_agrees_with_the_grammar_on_every_app_file_of_otp() -> None:
    """Two readers of one language must read the same."""
    files = sorted(installed().root.glob("lib/*/ebin/*.app"))
    assert len(files) > 5
    for file in files:
        text = file.read_text()
        assert scan_term(text) == read_term(text)


@pytest.mark.parametrize(
    "text",
    [
        "{a,}",
        "{a b}",
        "[,a]",
        "a,",
        "{a]",
        "a. b",
        "fun",
        "",
        "{",
        "f()",
        "a:b",
        "1.5",
        "16#f",
        "[a|b]",
        '"a" "b"',
        "{,}",
    ],
)
def test_the_fast_reader_leaves_everything_else_to_the_grammar(text: str) -> None:
    """It never reads a text wrongly that it does not know."""
    with pytest.raises(NotPlain):
        scan_term(text)


def test_a_file_the_fast_reader_does_not_know_is_read_by_the_grammar(tmp_path: Path) -> None:
    """An .app written by hand may hold anything."""
    file = tmp_path / "a.app"
    file.write_text('{application, a, [{vsn, "1" ".0"}]}.')
    assert read_term_file(file) == (Atom("application"), Atom("a"), [(Atom("vsn"), charlist("1.0"))])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The tree is not whole, and the message says which file is missing."""
    with pytest.raises(CannotReadRelease, match=r"a\.app"):
        read_term_file(tmp_path / "a.app")
