"""Abstract patterns against terms: may this pattern match this value? Pure; nothing is run.

What cannot be judged counts as a match: guards, computed patterns, values only known at run time. Terms are
those of `engine.term`; text is a list of code points. Source: "The Abstract Format" (ERTS User's Guide).
"""

from typing import Any

from engine.term import Atom, Term, charlist


def may_match(pattern: Any, term: Term) -> bool:
    """Whether the pattern can match the term, variables free."""
    match pattern:
        case ("var", *_):
            return True
        case ("match", _, left, right):
            return may_match(left, term) and may_match(right, term)
        case ("atom", _, name):
            return isinstance(term, Atom) and term == name
        case (("integer" | "char" | "float"), _, number):
            return isinstance(term, int | float) and term == number
        case ("string", _, text):
            return term == _code_points(text)
        case ("nil", _):
            return term == []
        case ("cons", _, head, tail):
            return (
                isinstance(term, list)
                and bool(term)
                and may_match(head, term[0])
                and may_match(tail, term[1:])
            )
        case ("tuple", _, list() as parts):
            return isinstance(term, tuple) and len(term) == len(parts) and all(map(may_match, parts, term))
        case ("map", _, list() as parts):
            return isinstance(term, dict) and all(_key_is_there(part, term) for part in parts)
        case ("op", _, "++", ("string", _, text), rest):
            start = _code_points(text)
            return (
                isinstance(term, list) and term[: len(start)] == start and may_match(rest, term[len(start) :])
            )
        case ("bin", *_):
            return isinstance(term, bytes)
        case ("record", *_):
            return isinstance(term, tuple)
    return True


def _key_is_there(part: Any, term: dict[Any, Any]) -> bool:
    _, _, key, value = part
    known = literal(key)
    if known is None:
        return True
    return known in term and may_match(value, term[known])


def literal(expression: Any) -> Term | None:
    """The term that an expression or pattern of literals stands for; None when it has anything else in it."""
    match expression:
        case ("atom", _, name):
            return Atom(name)
        case (("integer" | "char" | "float"), _, number):
            return number  # type: ignore[no-any-return]  # the form holds a number there
        case ("string", _, text):
            return _code_points(text)
        case ("nil", _):
            return []
        case ("cons", _, head, tail):
            first, rest = literal(head), literal(tail)
            return None if first is None or not isinstance(rest, list) else [first, *rest]
        case ("tuple", _, list() as parts):
            terms = [literal(part) for part in parts]
            return None if None in terms else tuple(term for term in terms if term is not None)
        case ("map", _, list() as parts):
            pairs = [(literal(part[2]), literal(part[3])) for part in parts]
            return None if any(None in pair for pair in pairs) else _map_of(pairs)
        case ("bin", _, [("bin_element", _, ("string", _, text), "default", _)]):
            return bytes(code & 0xFF for code in _code_points(text))
        case ("bin", _, []):
            return b""
    return None


def _map_of(pairs: list[tuple[Any, Any]]) -> Term | None:
    try:
        return dict(pairs)
    except TypeError:
        return None


def _code_points(text: Any) -> list[int]:
    return text if isinstance(text, list) else charlist(str(text))
