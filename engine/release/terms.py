"""Erlang text terms (`.relup`, `.app`, `.rel`) to Python values. Text in, terms out; nothing is evaluated.

Variables, matches, funs and operators make a text a script; it is refused as one. Calls such as `node()` are
let through only where the caller says so.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.release.errors import CannotReadRelease, ScriptTerm
from engine.release.term_scanner import NotPlain, scan_term
from engine.term import Term

Position = tuple[int, int]
"""Line and column, from 1."""

CORRECT_IT = "Correct the file at that place; nothing was changed."
_DATA_ONLY = (
    "Write it as plain data. relup evaluates no file by itself; if you trust this one, --trust-script has the"
    " node evaluate it as the official tool does."
)


class ParsedTerm(msgspec.Struct, frozen=True):
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
    text = decoded(content)
    try:
        return scan_term(text)
    except NotPlain:
        return read_term(text, source=str(path))


def decoded(content: bytes) -> str:
    """Erlang source bytes as text: UTF-8, or Latin-1 where they are not (Erlang's older default)."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def parse_term(text: str, *, calls: bool = False, source: str = "term") -> ParsedTerm:
    """As `read_term`, and where each tuple stands."""
    # Imported when a term has to be parsed: the parser takes longer to import than `relup status` may take.
    from engine.release.term_grammar import parse

    return parse(text, calls=calls, source=source)


def script_at(source: str, line: int, column: int, problem: str) -> ScriptTerm:
    """The refusal of text that would have to be evaluated."""
    return ScriptTerm(source, line, column, f"{problem}; a hop file must be one plain term", next=_DATA_ONLY)
