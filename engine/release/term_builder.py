"""From the parse tree of an Erlang text term to the term. Literals are decoded here."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from lark import Token, Tree

from engine.release.errors import MalformedTerm
from engine.release.terms import CORRECT_IT, Position, script_at
from engine.term import Atom, BitString, Call, Export, ImproperList, Term, map_of

_ESCAPE = re.compile(r"\\(?:x\{([0-9a-fA-F]+)\}|x([0-9a-fA-F]{2})|([0-7]{1,3})|\^(.)|(.))", re.DOTALL)
_NAMED = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "e": "\x1b",
    "s": " ",
    "d": "\x7f",
}
_MAX_BITS = 8 * 1024 * 1024


class TermBuilder:
    """Builds one term; `positions` grows as it goes (`id` of each tuple, atom and call to its place)."""

    def __init__(self, *, source: str, calls: bool) -> None:
        self.positions: dict[int, Position] = {}
        self._source = source
        self._calls = calls
        self._builders: dict[str, Callable[[Tree[Token]], Term]] = {
            "integer": self._integer,
            "float": self._float,
            "character": lambda tree: self._character(_token(tree, 0)),
            "string": lambda tree: [ord(letter) for letter in self._text(tree.children)],
            "atom": lambda tree: self._placed(self._atom(tree), tree),
            "tuple": self._tuple,
            "nil": lambda tree: [],
            "list": self._list,
            "map": self._map,
            "binary": self._binary,
            "export": self._export,
            "call": self._call,
            "script": self._script,
        }

    def built(self, tree: Tree[Token]) -> Term:
        """The term of a parse tree.

        Raises:
            MalformedTerm, ScriptTerm: A literal that is none, or text that would have to be evaluated.
        """
        if tree.data == "start":
            return self._term(tree.children[0])
        return self._builders[tree.data](tree)

    def _term(self, child: Any) -> Term:
        assert isinstance(child, Tree), "every term of the grammar is a tree"
        return self.built(child)

    def _terms(self, children: Iterable[Any]) -> list[Term]:
        return [self._term(child) for child in children if child is not None]

    def _placed(self, term: Term, tree: Tree[Token]) -> Term:
        self.positions[id(term)] = (tree.meta.line, tree.meta.column)
        return term

    # -------------------------------------------------------- compound terms

    def _tuple(self, tree: Tree[Token]) -> Term:
        elements = self._terms(tree.children)
        return self._placed(tuple(elements), tree) if elements else ()

    def _list(self, tree: Tree[Token]) -> Term:
        *children, tail = _children(tree)
        elements = self._terms(children)
        if tail is None:
            return elements
        last = self._term(tail)
        if isinstance(last, list):
            return elements + last
        if isinstance(last, ImproperList):
            return ImproperList((*elements, *last.elements), last.tail)
        return ImproperList(tuple(elements), last)

    def _map(self, tree: Tree[Token]) -> Term:
        pairs = [child for child in tree.children if isinstance(child, Tree)]
        return map_of([(self._term(pair.children[0]), self._term(pair.children[2])) for pair in pairs])

    def _export(self, tree: Tree[Token]) -> Term:
        _, module, function, arity = tree.children
        return Export(self._name(module), self._name(function), self._number(arity))

    def _call(self, tree: Tree[Token]) -> Term:
        module, function, *arguments = _children(tree)
        name = self._name(function)
        call = Call(self._name(module) if module is not None else None, name, tuple(self._terms(arguments)))
        if not self._calls:
            raise script_at(
                self._source, tree.meta.line, tree.meta.column, f"the call of {name}() makes this a script"
            )
        return self._placed(call, tree)

    def _script(self, tree: Tree[Token]) -> Term:
        token = _token(tree, 0)
        raise script_at(self._source, tree.meta.line, tree.meta.column, f"{str(token)!r} makes this a script")

    # -------------------------------------------------------- literals

    def _integer(self, tree: Tree[Token]) -> int:
        sign, digits = tree.children
        number = self._number(digits)
        return -number if sign == "-" else number

    def _number(self, token: Any) -> int:
        base, hash_sign, digits = str(token).replace("_", "").partition("#")
        try:
            if not hash_sign:
                return int(base)
            if not 2 <= int(base) <= 36:
                raise ValueError
            return int(digits, int(base))
        except ValueError:
            raise self._malformed(token, f"{str(token)[:40]} is no number") from None

    def _float(self, tree: Tree[Token]) -> float:
        sign, digits = tree.children
        number = float(str(digits).replace("_", ""))
        if number == float("inf"):
            raise self._malformed(digits, "the number is too large for a float")
        return -number if sign == "-" else number

    def _character(self, token: Token) -> int:
        return ord(self._unescaped(token, str(token)[1:]))

    def _text(self, tokens: Iterable[Any]) -> str:
        return "".join(self._unescaped(token, str(token)[1:-1]) for token in tokens)

    def _atom(self, tree: Tree[Token]) -> Atom:
        token = _token(tree, 0)
        text = str(token) if token.type == "ATOM" else self._unescaped(token, str(token)[1:-1])
        if len(text) > 255:
            raise self._malformed(token, "an atom has at most 255 characters")
        return Atom(text)

    def _name(self, child: Any) -> Atom:
        assert isinstance(child, Tree), "the grammar has an atom here"
        return self._atom(child)

    def _unescaped(self, token: Token, text: str) -> str:
        try:
            return _ESCAPE.sub(_escaped, text)
        except (ValueError, OverflowError):
            raise self._malformed(token, "an escape names no character") from None

    # -------------------------------------------------------- binaries

    def _binary(self, tree: Tree[Token]) -> Term:
        bits, width = 0, 0
        for value, size in (self._segment(child) for child in tree.children if isinstance(child, Tree)):
            width += size
            if width > _MAX_BITS:
                raise MalformedTerm(
                    self._source, tree.meta.line, tree.meta.column, "the binary is too large", next=CORRECT_IT
                )
            bits = bits << size | value
        whole, rest = divmod(width, 8)
        if not rest:
            return bits.to_bytes(whole)
        return BitString((bits << (8 - rest)).to_bytes(whole + 1), rest)

    def _segment(self, tree: Tree[Token]) -> tuple[int, int]:
        """Value and width in bits of one segment."""
        match tree.data:
            case "number_segment":
                sign, digits, size = _children(tree)
                width = 8 if size is None else self._number(size)
                number = self._number(digits)
                if width > _MAX_BITS:
                    raise self._malformed(size, "the segment is too large")
                return (-number if sign == "-" else number) % (1 << width), width
            case "character_segment":
                return self._character(_token(tree, 0)) & 0xFF, 8
            case _:
                *tokens, kind = _children(tree)
                return self._text_segment(tokens, kind)

    def _text_segment(self, tokens: list[Any], kind: Any) -> tuple[int, int]:
        text = self._text(tokens)
        encoding = "utf8" if kind is not None else "latin1"
        if kind is not None and self._name(kind) != "utf8":
            raise self._malformed(tokens[0], f"text in a binary cannot be {self._name(kind)}, only utf8")
        octets = text.encode() if encoding == "utf8" else bytes(ord(letter) & 0xFF for letter in text)
        return int.from_bytes(octets), 8 * len(octets)

    def _malformed(self, token: Any, problem: str) -> MalformedTerm:
        line, column = (token.line, token.column) if isinstance(token, Token) else (1, 1)
        return MalformedTerm(self._source, line or 1, column or 1, problem, next=CORRECT_IT)


def _children(tree: Tree[Token]) -> list[Any]:
    """The children; None stands for an optional one that is absent, which lark's types do not say."""
    return list(tree.children)


def _token(tree: Tree[Token], index: int) -> Token:
    token = tree.children[index]
    assert isinstance(token, Token), "the grammar has a token here"
    return token


def _escaped(found: re.Match[str]) -> str:
    braced, two, octal, control, plain = found.groups()
    if braced or two:
        return chr(int(braced or two, 16))
    if octal:
        return chr(int(octal, 8))
    if control:
        return chr(ord(control) & 0x1F)
    return _NAMED.get(plain, plain)
