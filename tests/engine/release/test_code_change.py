"""Clauses of code_change against states of another shape; patterns against terms; shapes against shapes.

All sources are compiled by one run of the real compiler, since it is its forms that are read.
"""

import subprocess
from pathlib import Path

import pytest

from engine.release.beam import read_beam
from engine.release.code_change import CodeChange, Verdict, code_change_of, downgrade_verdict, upgrade_verdict
from engine.release.forms import Forms, read_forms
from engine.release.patterns import literal, may_match
from engine.release.shape import ShapeChange, record_fields, shape_changes
from engine.term import Atom, charlist

GREW = ShapeChange("record", "state", ("a",), ("a", "b"))
MAP_GREW = ShapeChange("map", "init/1", ("a",), ("a", "b"))
HANDLED, UNCHANGED = Verdict.HANDLED, Verdict.UNCHANGED
NO_CLAUSE, NO_FUNCTION = Verdict.NO_CLAUSE, Verdict.NO_FUNCTION

RECORD = "-record(state, {a, b}).\n"
UP = "{state, A}, _) -> {ok, #state{a = A}}"
DOWN = "code_change({down, _}, #state{a = A}, _) -> {ok, {state, A}}"
SAME = "code_change(_, S, _) -> {ok, S}"

CLAUSES: dict[str, tuple[str, Verdict, Verdict]] = {
    "takes the old tuple": (f"code_change(_, {UP}.", HANDLED, NO_CLAUSE),
    "hands it back": (f"{SAME}.", UNCHANGED, UNCHANGED),
    "hands it back under two names": ("code_change(_, T = S, _) -> {ok, T}.", UNCHANGED, UNCHANGED),
    "only knows the new record": (
        "code_change(_, #state{} = S, _) -> {ok, S#state{b = 1}}.",
        NO_CLAUSE,
        NO_CLAUSE,
    ),
    "for another version": (f'code_change("5.10.3", {UP}.', NO_CLAUSE, NO_CLAUSE),
    "for this version": (f'code_change("5.10.4", {UP}.', HANDLED, NO_CLAUSE),
    "for versions that begin so": (f'code_change("5.10." ++ _, {UP}.', HANDLED, NO_CLAUSE),
    "for a binary version": (f'code_change(<<"5.10.4">>, {UP}.', NO_CLAUSE, NO_CLAUSE),
    "both ways": (f"{DOWN};\ncode_change(_, {UP}.", HANDLED, HANDLED),
    "down only": (f"{DOWN}.", NO_CLAUSE, HANDLED),
    "identity first": (f"{SAME};\ncode_change(never, {UP}.", UNCHANGED, UNCHANGED),
    "identity before all": (f"{SAME};\ncode_change(_, {UP}.", UNCHANGED, UNCHANGED),
    "identity last": (f"code_change(_, {UP};\n{SAME}.", HANDLED, UNCHANGED),
    "another extra": ("code_change(_, {state, A}, [{b, B}]) -> {ok, {state, A, B}}.", NO_CLAUSE, NO_CLAUSE),
    "calls a helper": ("code_change(_, S, _) -> {ok, grown(S)}.\ngrown(S) -> S.", HANDLED, NO_CLAUSE),
    "guarded": (
        f"code_change(_, S, _) when is_atom(S) -> {{ok, S}};\ncode_change(_, {UP}.",
        HANDLED,
        UNCHANGED,
    ),
    "special process": (
        'system_code_change({state, A}, _, "5.10.4", _) -> {ok, {state, A, 1}}.',
        HANDLED,
        NO_CLAUSE,
    ),
    "state machine": ("code_change(_, N, {state, A}, _) -> {ok, N, #state{a = A}}.", HANDLED, NO_CLAUSE),
    "state machine hands it back": ("code_change(_, N, S, _) -> {ok, N, S}.", UNCHANGED, UNCHANGED),
    "none": ("other() -> ok.", NO_FUNCTION, NO_FUNCTION),
}

MAP_CLAUSES = {"#{a := A}": HANDLED, "#{b := A}": NO_CLAUSE, "{state, A}": NO_CLAUSE}

PATTERNS: list[tuple[str, object, bool]] = [
    ("X", 1, True),
    ("a", Atom("a"), True),
    ("a", Atom("b"), False),
    ("a", charlist("a"), False),
    ("5", 5, True),
    ("5", 6, False),
    ("$a", 97, True),
    ('"ab"', charlist("ab"), True),
    ('"ab" ++ T', charlist("abc"), True),
    ('"ab" ++ T', charlist("xbc"), False),
    ("[]", [], True),
    ("[]", [1], False),
    ("[1 | T]", [1, 2], True),
    ("[1 | T]", [], False),
    ("{a, X}", (Atom("a"), 1), True),
    ("{a, X}", (Atom("a"),), False),
    ("#{a := 1}", {Atom("a"): 1, Atom("b"): 2}, True),
    ("#{a := 2}", {Atom("a"): 1}, False),
    ("#{c := _}", {Atom("a"): 1}, False),
    ("<<_/binary>>", b"x", True),
    ("<<_/binary>>", [], False),
    ("{a, _} = {_, 1}", (Atom("a"), 2), False),
]

LITERALS: list[tuple[str, object]] = [
    ('[{a, 1}, "x"]', [(Atom("a"), 1), charlist("x")]),
    ('#{a => [], <<"k">> => 1.5}', {Atom("a"): [], b"k": 1.5}),
    ("{f(), 1}", None),
    ("[1 | f()]", None),
    ("#{a => f()}", None),
]

TYPE = "-export_type([{0}/0]).\n-type {0}() :: {1}."
SHAPES: dict[str, tuple[str, str, list[str]]] = {
    "matched": (
        "-record(r, {a, b}).\nf(#r{a = A}) -> A.",
        "-record(r, {a}).\nf(#r{a = A}) -> A.",
        ["#r{} lost b"],
    ),
    "read": ("-record(r, {a}).\nf(R) -> R#r.a.", "-record(r, {a, b}).\nf(R) -> R#r.a.", ["#r{} gained b"]),
    "updated": (
        "-record(r, {a}).\nf(R) -> R#r{a = 1}.",
        "-record(r, {c}).\nf(R) -> R#r{c = 1}.",
        ["#r{} lost a and gained c"],
    ),
    "order": (
        "-record(r, {a, b}).\nf() -> #r.a.",
        "-record(r, {b, a}).\nf() -> #r.a.",
        ["#r{} has its fields in another order"],
    ),
    "unused": ("-record(r, {a}).\nf() -> r.", "-record(r, {a, b}).\nf() -> r.", []),
    "types": (
        "-record(r, {a :: integer()}).\nf(#r{}) -> 1.",
        "-record(r, {a = 5 :: atom()}).\n\nf(#r{}) -> 2.",
        [],
    ),
    "map type": (
        TYPE.format("state", "#{a := 1}"),
        TYPE.format("state", "#{a := 1, b => 2}"),
        ["the type state() gained b"],
    ),
    "map type, same keys": (TYPE.format("state", "#{a := 1}"), "\n" + TYPE.format("state", "#{a := 2}"), []),
    "another type": (TYPE.format("other", "#{a := 1}"), TYPE.format("other", "#{b := 1}"), []),
    "init": (
        "init(_) -> {ok, #{a => 1}}.",
        "init(_) -> {ok, #{b => 1}, hibernate}.",
        ["the map init/1 lost a and gained b"],
    ),
    "several inits": (
        "init(_) -> {ok, #{a => 1}}.",
        "init(X) -> case X of 1 -> {ok, #{a => 1}}; _ -> {ok, #{b => 1}} end.",
        [],
    ),
    "same init": ("init(_) -> {ok, #{a => 1}}.", "init(_) -> {ok, #{a => 2}}.", []),
}


def sources() -> dict[str, str]:
    """Every module of this file, by a name of its own."""
    found = {f"clause_{i}": RECORD + source for i, (source, _, _) in enumerate(CLAUSES.values())}
    found |= {
        f"map_{i}": f"code_change(_, {pattern}, _) -> {{ok, {{A}}}}." for i, pattern in enumerate(MAP_CLAUSES)
    }
    found |= {f"pattern_{i}": f"f({pattern}) -> ok." for i, (pattern, _, _) in enumerate(PATTERNS)}
    found |= {f"literal_{i}": f"f() -> {expression}." for i, (expression, _) in enumerate(LITERALS)}
    for i, (old, new, _) in enumerate(SHAPES.values()):
        found |= {f"old_{i}": old, f"new_{i}": new}
    return found


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Forms]:
    """The forms of every module, as the compiler writes them."""
    folder = tmp_path_factory.mktemp("forms")
    for name, source in sources().items():
        head = f"-module({name}).\n-compile([export_all, nowarn_export_all]).\n"
        (folder / f"{name}.erl").write_text(f"{head}{source}\n")
    erlc(folder, *sorted(folder.glob("*.erl")), options=["+debug_info"])
    read = {name: read_forms(read_beam(folder / f"{name}.beam")) for name in sources()}
    return {name: found for name, found in read.items() if found is not None}


def erlc(folder: Path, *files: Path, options: list[str]) -> None:
    subprocess.run(["erlc", *options, "-o", str(folder), *map(str, files)], check=True, capture_output=True)


def code_change(found: Forms) -> CodeChange | None:
    return code_change_of(
        found, sizes={name: len(record_fields(piece)) for name, piece in found.records.items()}
    )


@pytest.mark.parametrize("name", CLAUSES)
def test_what_becomes_of_a_state_is_read_from_the_clauses(forms: dict[str, Forms], name: str) -> None:
    """Up with a state of the old shape, down with one of the new, version and Extra as the hop gives them."""
    found = code_change(forms[f"clause_{list(CLAUSES).index(name)}"])
    _, up, down = CLAUSES[name]
    assert upgrade_verdict(found, GREW, from_version="5.10.4", extra=[]) is up
    assert downgrade_verdict(found, GREW, from_version="5.10.4", extra=[]) is down


@pytest.mark.parametrize("pattern", MAP_CLAUSES)
def test_map_states_are_matched_by_their_keys(forms: dict[str, Forms], pattern: str) -> None:
    """A clause that wants the new key does not take the old map."""
    found = code_change(forms[f"map_{list(MAP_CLAUSES).index(pattern)}"])
    assert upgrade_verdict(found, MAP_GREW, from_version="5.10.4", extra=[]) is MAP_CLAUSES[pattern]


@pytest.mark.parametrize("index", range(len(PATTERNS)), ids=lambda i: f"{PATTERNS[i][0]} {PATTERNS[i][2]}")
def test_a_pattern_is_matched_as_erlang_would(forms: dict[str, Forms], index: int) -> None:
    """Literal patterns are decided, free ones match."""
    form = forms[f"pattern_{index}"].function("f", 1)
    _, term, matches = PATTERNS[index]
    assert form is not None
    assert may_match(form[4][0][2][0], term) is matches  # type: ignore[arg-type]  # the table's terms


@pytest.mark.parametrize("index", range(len(LITERALS)), ids=lambda i: LITERALS[i][0])
def test_a_literal_default_is_known_and_a_computed_one_is_not(forms: dict[str, Forms], index: int) -> None:
    """The draft takes the Extra from defaults; it must not invent one."""
    form = forms[f"literal_{index}"].function("f", 0)
    assert form is not None
    assert literal(form[4][0][4][0]) == LITERALS[index][1]


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_that_differ_are_found_and_others_are_not(forms: dict[str, Forms], name: str) -> None:
    """Fields and keys count; types, defaults, unused records and line numbers do not."""
    index = list(SHAPES).index(name)
    changes = shape_changes(forms[f"old_{index}"], forms[f"new_{index}"])
    assert [change.in_words() for change in changes] == SHAPES[name][2]


def test_forms_are_read_whatever_the_annotations(tmp_path: Path) -> None:
    """Lines, lines with columns, or lists; all functions are found by name and arity."""
    file = tmp_path / "m.erl"
    file.write_text("-module(m).\n-export([f/1]).\n-record(r, {a}).\nf(#r{a = A}) -> A.\n")
    for options in (["+debug_info"], ["+debug_info", "+{error_location,line}"]):
        erlc(tmp_path, file, options=options)
        found = read_forms(read_beam(tmp_path / "m.beam"))
        assert found is not None
        assert ("f", 1) in found.functions
        assert found.functions_using("r") == (("f", 1),)
        assert record_fields(found.records["r"]) == ("a",)


def test_a_beam_without_debug_information_has_no_forms(tmp_path: Path) -> None:
    """Compiled without it: nothing can be said of its shapes."""
    file = tmp_path / "m.erl"
    file.write_text("-module(m).\n-export([f/0]).\nf() -> ok.\n")
    erlc(tmp_path, file, options=[])
    assert read_forms(read_beam(tmp_path / "m.beam")) is None
