"""The Extra that a code_change clause asks for, guessed from its pattern and the defaults of the new record.

`[{window_s, Window}]` beside `-record(state, {…, window_s = 60})` becomes `[{window_s, 60}]`. What cannot be
guessed stays unknown, and a person has to say it.
"""

from typing import Any

from engine.release.code_change import CodeChange, Verdict, upgrade_verdict
from engine.release.forms import decoded
from engine.release.patterns import literal
from engine.release.shape import ShapeChange
from engine.term import Term

Defaults = dict[str, Term]
"""Field name to the default of the new record, where it is a literal."""


def record_defaults(piece: bytes) -> Defaults:
    """The literal defaults of a record's declaration."""
    found: Defaults = {}
    match decoded(piece):
        case (_, _, _, (_, list() as fields)):
            for field in fields:
                plain = field[1] if field[0] == "typed_record_field" else field
                value = literal(plain[3]) if len(plain) == 4 else None
                if value is not None:
                    found[str(plain[2][2])] = value
    return found


def guessed_extra(
    code_change: CodeChange, change: ShapeChange, *, from_version: str, defaults: Defaults
) -> Term | None:
    """An Extra with which the code_change takes the old shape; None when none could be guessed."""
    candidates: list[Term | None] = [[]]
    candidates += [_instance(clause[2][code_change.extra_at], defaults) for clause in code_change.clauses]
    for extra in candidates:
        if extra is None:
            continue
        verdict = upgrade_verdict(code_change, change, from_version=from_version, extra=extra)
        if verdict is Verdict.HANDLED:
            return extra
    return None


def _instance(pattern: Any, defaults: Defaults) -> Term | None:
    """A term that the pattern matches, values of named fields taken from the defaults."""
    match pattern:
        case ("tuple", _, [("atom", _, name), ("var", *_)]) if str(name) in defaults:
            return (name, defaults[str(name)])
        case ("cons", _, head, tail):
            first, rest = _instance(head, defaults), _instance(tail, defaults)
            return None if first is None or not isinstance(rest, list) else [first, *rest]
        case ("tuple", _, list() as parts):
            terms = [_instance(part, defaults) for part in parts]
            return None if None in terms else tuple(term for term in terms if term is not None)
        case ("map", _, list() as parts):
            return _map_instance(parts, defaults)
        case ("match", _, left, right):
            return _instance(left, defaults) or _instance(right, defaults)
    return literal(pattern)


def _map_instance(parts: list[Any], defaults: Defaults) -> Term | None:
    found: dict[Any, Term] = {}
    for _, _, key, value in parts:
        name = literal(key)
        known = defaults.get(str(name)) if value[0] == "var" else literal(value)
        if name is None or known is None:
            return None
        found[name] = known
    return found
