"""The grammar of Erlang text terms, and what the parser's complaints mean. Built with lark.

Source: literal terms of the Erlang Reference Manual ("Data Types"), and calls. Variables, matches, funs and
operators are known too, so that a script can be told from a slip of the pen.
"""

import functools

from lark import Lark, UnexpectedInput, UnexpectedToken

from engine.release.errors import MalformedTerm, ScriptTerm
from engine.release.term_builder import TermBuilder
from engine.release.terms import CORRECT_IT, ParsedTerm, script_at

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


def parse(text: str, *, calls: bool, source: str) -> ParsedTerm:
    """As `terms.parse_term`, which is the way in."""
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
