"""Erlang text terms (`.relup`, `.app`, `.rel`) to Python values. Text in, terms out; nothing is evaluated.

Grammar: literal terms of the Erlang Reference Manual ("Data Types"), `fun m:f/1`, and calls, which only some
callers let through. Variables, matches, funs and operators make a text a script; it is refused as one.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lark import Lark, UnexpectedInput, UnexpectedToken

from engine.release.errors import CannotReadRelease, MalformedTerm, ScriptTerm
from engine.release.term_builder import CORRECT_IT, Position, TermBuilder, script_at
from engine.term import Term

_GRAMMAR = r"""
start: term [DOT]
?term: [SIGN] INTEGER -> integer
     | [SIGN] FLOAT -> float
     | CHARACTER -> character
     | string
     | atom
     | tuple
     | list
     | map
     | binary
     | export
     | call
     | script
script: VARIABLE | KEYWORD | OPERATOR
string: STRING+
atom: ATOM | QUOTED_ATOM
tuple: "{" [term ("," term)*] "}"
list: "[" "]" -> nil
    | "[" term ("," term)* ["|" term] "]" -> list
map: "#" "{" [pair ("," pair)*] "}"
pair: term ARROW term
binary: "<<" [segment ("," segment)*] ">>"
segment: [SIGN] INTEGER [":" INTEGER] -> number_segment
       | CHARACTER -> character_segment
       | STRING+ ["/" atom] -> text_segment
export: FUN atom ":" atom "/" INTEGER
call: [atom ":"] atom "(" [term ("," term)*] ")"

DOT: /\.(?=\s|%|\Z)/
ARROW.5: "=>"
SIGN: "-" | "+"
FLOAT.3: /[0-9]+(?:_[0-9]+)*\.[0-9]+(?:_[0-9]+)*(?:[eE][+-]?[0-9]+)?/
INTEGER.2: /[0-9]+(?:_[0-9]+)*(?:#[0-9a-zA-Z]+(?:_[0-9a-zA-Z]+)*)?/
CHARACTER: /\$(?:\\(?:x\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{2}|[0-7]{1,3}|\^.|.)|[^\\])/s
STRING: /"(?:[^"\\]|\\.)*"/s
QUOTED_ATOM: /'(?:[^'\\]|\\.)*'/s
FUN.4: /fun(?![\w@])/
KEYWORD.4: /(?:after|and|andalso|band|begin|bnot|bor|bsl|bsr|bxor|case|catch|cond|div|else|end|if|let|maybe)(?![\w@])/
    | /(?:not|of|or|orelse|receive|rem|try|when|xor)(?![\w@])/
VARIABLE: /[A-Z_\u00c0-\u00d6\u00d8-\u00de][\w@]*/
ATOM: /[a-z\u00df-\u00f6\u00f8-\u00ff][\w@]*/
OPERATOR: /:=|==|=:=|\/=|=\/=|=<|>=|->|<-|\|\||\+\+|--|[=;!*?]/
COMMENT: /%[^\n]*/
WHITESPACE: /\s+/
%ignore COMMENT
%ignore WHITESPACE
"""
_SCRIPT_TOKENS = {"VARIABLE", "KEYWORD", "OPERATOR", "SIGN", "LPAR"}
_ALSO_IN_TERMS = {"SIGN", "LPAR"}


@dataclass(frozen=True)
class ParsedTerm:
    """A term with the places of its tuples and calls.

    Attributes:
        positions: Line and column (from 1) by `id` of a tuple or `Call` inside `term`.
    """

    term: Term
    source: str
    positions: Mapping[int, Position]

    def position_of(self, part: object) -> Position:
        """Where a tuple or call stands; the text's beginning for what has no place of its own."""
        return self.positions.get(id(part), (1, 1))


def read_term(text: str, *, calls: bool = False, source: str = "term") -> Term:
    """The one term that the text is; a dot at its end may be there or not.

    Args:
        calls: Let calls such as `node()` through, as `Call`.
        source: The file's name for messages.

    Raises:
        MalformedTerm: It is no term.
        ScriptTerm: It is an expression that would have to be evaluated.
    """
    return parse_term(text, calls=calls, source=source).term


def read_term_file(path: Path) -> Term:
    """The one term of an `.app` or `.rel` file.

    Raises:
        CannotReadRelease: The file cannot be read.
        MalformedTerm, ScriptTerm: As `read_term`.
    """
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise CannotReadRelease(
            f"{path} cannot be read: {fault.strerror}", next="Check that the release tree is whole."
        ) from None
    return read_term(decoded(content), source=str(path))


def decoded(content: bytes) -> str:
    """Erlang source bytes as text: UTF-8, or Latin-1 where they are not (Erlang's older default)."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def parse_term(text: str, *, calls: bool = False, source: str = "term") -> ParsedTerm:
    """As `read_term`, and where each tuple stands."""
    try:
        tree = _parser().parse(text)
        builder = TermBuilder(source=source, calls=calls)
        return ParsedTerm(builder.built(tree), source, builder.positions)
    except UnexpectedInput as fault:
        raise _script_in(text, source, until=fault) or _unexpected(fault, source) from None
    except RecursionError:
        raise MalformedTerm(source, 1, 1, "the term is nested too deeply", next=CORRECT_IT) from None


@functools.cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", lexer="basic", propagate_positions=True)


def _script_in(text: str, source: str, *, until: UnexpectedInput) -> ScriptTerm | None:
    """The refusal of a script, when what makes the text one stands no later than the parser's complaint."""
    here = (max(until.line, 1), max(until.column, 1))
    try:
        for token in _parser().lex(text):
            place = (token.line or 1, token.column or 1)
            if place > here:
                return None
            if token.type in _SCRIPT_TOKENS and (token.type not in _ALSO_IN_TERMS or place == here):
                return script_at(source, *place, f"{str(token)!r} makes this a script")
    except UnexpectedInput:
        return None
    return None


def _unexpected(fault: UnexpectedInput, source: str) -> MalformedTerm:
    """The parser's complaint as ours."""
    line, column = max(fault.line, 1), max(fault.column, 1)
    if not isinstance(fault, UnexpectedToken):
        problem = "no term has this sign"
        if getattr(fault, "char", "") in ("'", '"'):
            problem = "the text that begins here never ends"
    elif fault.token.type == "$END":
        problem = "the text ends in the middle of a term"
    else:
        problem = f"{str(fault.token)[:40]!r} is not expected here"
    return MalformedTerm(source, line, column, problem, next=CORRECT_IT)
