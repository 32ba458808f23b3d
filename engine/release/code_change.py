"""What a module's code_change does with the state of the other release: which clause takes it, and whether
that clause changes anything. Forms in, a verdict out; nothing is run.

A pattern that cannot be judged (a guard, a pattern on the version that is computed) counts as matching, so the
verdict errs on the side of "handled".
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from engine.release.forms import Forms
from engine.release.patterns import may_match
from engine.release.shape import ShapeChange
from engine.term import Atom, Term, charlist

Clause = tuple[Any, ...]

_CALLBACKS = (
    # function, arity, and the positions of version, state and extra
    ("system_code_change", 4, 2, 0, 3),
    ("code_change", 4, 0, 2, 3),
    ("code_change", 3, 0, 1, 2),
)
"""sys's special processes, gen_statem, and gen_server with gen_event (OTP manual, "Release Handling")."""


ANY_SHAPE = ShapeChange("record", "", (), ())
"""Stands for a state whose own shape is not in question."""


class Verdict(Enum):
    """What becomes of a state of the other shape."""

    HANDLED = "a clause takes it and changes it"
    UNCHANGED = "the clause that takes it hands it back as it is"
    NO_CLAUSE = "no clause takes it"
    NO_FUNCTION = "the module has no code_change"


@dataclass(frozen=True)
class CodeChange:
    """The code_change of one module.

    Attributes:
        name, arity: Which callback it is.
    """

    name: str
    arity: int
    version_at: int
    state_at: int
    extra_at: int
    clauses: tuple[Clause, ...]
    sizes: dict[str, int]
    """Fields of the records that its patterns may name, as the module itself declares them."""


def code_change_of(forms: Forms, *, sizes: dict[str, int]) -> CodeChange | None:
    """The module's code_change; None when it has none."""
    for name, arity, version_at, state_at, extra_at in _CALLBACKS:
        form = forms.function(name, arity)
        if form is not None:
            return CodeChange(name, arity, version_at, state_at, extra_at, tuple(form[4]), sizes)
    return None


def upgrade_verdict(
    code_change: CodeChange | None, change: ShapeChange, *, from_version: str, extra: Term | None = None
) -> Verdict:
    """What the new code does with a state of the old shape; `extra` None means any."""
    return _verdict(code_change, change, change.old, version=from_version, down=False, extra=extra)


def downgrade_verdict(
    code_change: CodeChange | None, change: ShapeChange, *, from_version: str, extra: Term | None = None
) -> Verdict:
    """What the new code does, asked for `{down, FromVersion}`, with a state of the new shape."""
    return _verdict(code_change, change, change.new, version=from_version, down=True, extra=extra)


def _verdict(
    code_change: CodeChange | None,
    change: ShapeChange,
    fields: tuple[str, ...],
    *,
    version: str,
    down: bool,
    extra: Term | None,
) -> Verdict:
    if code_change is None:
        return Verdict.NO_FUNCTION
    asked: Term = (Atom("down"), charlist(version)) if down else charlist(version)
    seen = Verdict.NO_CLAUSE
    for clause in code_change.clauses:
        _, _, patterns, guards, body = clause
        if not may_match(patterns[code_change.version_at], asked):
            continue
        if extra is not None and not may_match(patterns[code_change.extra_at], extra):
            continue
        state = patterns[code_change.state_at]
        if not _state_may_match(state, change, fields, code_change.sizes):
            continue
        if not _returns_unchanged(state, body):
            if down and not _names_down(patterns[code_change.version_at]):
                continue  # it takes any version, and makes the new shape of it
            return Verdict.HANDLED
        seen = Verdict.UNCHANGED
        if not guards and _is_variable(patterns[code_change.version_at]):
            break  # nothing can get past it
    return seen


def _names_down(pattern: Any) -> bool:
    match pattern:
        case ("tuple", _, [("atom", _, "down"), _]):
            return True
        case ("match", _, left, right):
            return _names_down(left) or _names_down(right)
    return False


def _state_may_match(
    pattern: Any, change: ShapeChange, fields: tuple[str, ...], sizes: dict[str, int]
) -> bool:
    """Whether a pattern can match a value of the shape that has these fields.

    A state that merely holds the changed shape deep inside is matched by any pattern of another record.
    """
    match pattern:
        case ("match", _, left, right):
            return all(_state_may_match(side, change, fields, sizes) for side in (left, right))
        case ("record", _, name, _) if change.kind == "record" and name == change.name:
            return sizes.get(change.name) == len(fields)
        case ("tuple", _, [("atom", _, name), *rest]) if change.kind == "record" and name == change.name:
            return len(rest) == len(fields)
        case ("map", _, list() as parts) if change.kind != "record":
            return all(_key(part) is None or _key(part) in fields for part in parts)
        case ("map", *_):
            return False
        case (("tuple" | "record"), *_):
            return change.kind == "record"
    return True


def _key(part: Any) -> str | None:
    """The atom key of a map pattern's field."""
    return str(part[2][2]) if len(part) == 4 and part[2][0] == "atom" else None


def _returns_unchanged(state: Any, body: list[Any]) -> bool:
    """Whether a clause ends in `{ok, State}` (`{ok, StateName, State}`) with the very variable it was given."""
    names = _variables_for(state)
    match body:
        case [("tuple", _, [("atom", _, "ok"), *_, ("var", _, returned)])]:
            return str(returned) in names
    return False


def _variables_for(pattern: Any) -> frozenset[str]:
    """The variables that the whole state is bound to."""
    match pattern:
        case ("var", _, name):
            return frozenset({str(name)})
        case ("match", _, left, right):
            return _variables_for(left) | _variables_for(right)
    return frozenset()


def _is_variable(pattern: Any) -> bool:
    return bool(pattern[0] == "var")
