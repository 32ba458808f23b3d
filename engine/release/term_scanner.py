"""A fast reader for terms that machines write: `.rel` and `.app` files. It knows no errors, only "not plain".

`relup status` reads an emqx.rel and a plan reads hundreds of `.app` files; the grammar in `term_grammar` takes
longer for each of them than they may take together. What this reader does not know, that one reads.
"""

import re
from typing import Any

from engine.term import RESERVED_WORDS, Atom, Term

_TOKEN = re.compile(
    r"""\s+ | %[^\n]*
    | (?P<open>[\[{]) | (?P<close>[\]}]) | (?P<comma>,)
    | (?P<atom>[a-z][A-Za-z0-9_@]*(?!\s*[(:]))
    | '(?P<quoted>[^'\\\n]*)'
    | "(?P<string>[^"\\]*)"
    | (?P<integer>-?[0-9]+(?![#._0-9a-zA-Z]))
    | (?P<dot>\.(?=\s|%|\Z))""",
    re.VERBOSE,
)
_CLOSES = {"}": "{", "]": "["}


class NotPlain(Exception):
    """The text has something that only the grammar reads, or is no term at all."""


def scan_term(text: str) -> Term:
    """The one term of a text made of atoms, strings without escapes, integers, tuples and lists.

    Raises:
        NotPlain: Anything else.
    """
    stack: list[tuple[str, list[Any]]] = [("", [])]
    at, may_follow, ended = 0, True, False
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or (ended and found.lastgroup):
            raise NotPlain
        at = found.end()
        match found.lastgroup:
            case None:
                continue
            case "comma":
                if may_follow or len(stack) == 1:
                    raise NotPlain
                may_follow = True
                continue
            case "dot":
                ended = True
                continue
            case "close":
                _close(stack, found[0], follows_comma=may_follow)
            case _ if not may_follow:
                raise NotPlain
            case "open":
                stack.append((found[0], []))
                continue
            case kind:
                stack[-1][1].append(_scalar(kind, found[kind]))
        may_follow = False
    if len(stack) != 1 or len(stack[0][1]) != 1:
        raise NotPlain
    term: Term = stack[0][1][0]
    return term


def _close(stack: list[tuple[str, list[Any]]], sign: str, *, follows_comma: bool) -> None:
    opened, elements = stack.pop()
    if opened != _CLOSES[sign] or (follows_comma and elements):
        raise NotPlain
    stack[-1][1].append(tuple(elements) if sign == "}" else elements)


def _scalar(kind: str, text: str) -> Term:
    if kind == "string":
        return [ord(character) for character in text]
    if kind == "integer":
        return int(text)
    if kind == "atom" and text in RESERVED_WORDS:
        raise NotPlain
    return Atom(text)
