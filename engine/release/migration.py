"""Whether a holder's code_change reaches the values inside its state: a record of another module that it holds.

A code_change that grows the outer state and hands the inner value on as it was migrates nothing. It has to call
the record's module (or one that does), or to name the record. Forms in, a verdict out.
"""

from collections.abc import Iterator
from typing import Any

from engine.release.case import Case
from engine.release.code_change import code_change_of
from engine.release.forms import Forms
from engine.release.shape import parts_of, record_fields


def migrates_inner(case: Case, holder: str, *, module: str, record: str) -> bool:
    """Whether the target's code_change of `holder` touches records of `module` that its state holds."""
    forms = case.new_forms(holder)
    if forms is None:
        return False
    parts = [part for form in _reached(forms) for part in parts_of(form)]
    called = {str(part[2][2]) for part in parts if _is_remote(part)}
    if any(name == module or module in _imported(case, name) for name in called):
        return True
    return _is_the_same(case, forms, module, record) and any(_names(part, record) for part in parts)


def _is_the_same(case: Case, holder: Forms, module: str, record: str) -> bool:
    """Whether the name means the module's record in the holder too: many modules have a #state{} of their own."""
    theirs = case.new_forms(module)
    own = holder.records.get(record)
    if own is None or theirs is None or record not in theirs.records:
        return own is None
    return record_fields(own) == record_fields(theirs.records[record])


def _imported(case: Case, name: str) -> frozenset[str]:
    beam = case.new_beam(name)
    return beam.imported_modules if beam is not None else frozenset()


def _is_remote(part: tuple[Any, ...]) -> bool:
    match part:
        case ("remote", _, ("atom", _, _), _):
            return True
    return False


def _names(part: tuple[Any, ...], record: str) -> bool:
    match part:
        case ("record", _, named, _) | ("record", _, _, named, _):
            return bool(named == record)
        case ("tuple", _, [("atom", _, tag), *_]):
            return bool(tag == record)
    return False


def _reached(forms: Forms) -> Iterator[Any]:
    """The clauses of code_change and every function of the module that they call, directly or not."""
    code_change = code_change_of(forms, sizes={})
    waiting: list[Any] = [code_change.clauses] if code_change is not None else []
    seen: set[tuple[str, int]] = set()
    while waiting:
        form = waiting.pop()
        yield form
        for part in parts_of(form):
            match part:
                case ("call", _, ("atom", _, name), list() as arguments) if (
                    str(name),
                    len(arguments),
                ) not in seen:
                    seen.add((str(name), len(arguments)))
                    waiting.append(forms.function(str(name), len(arguments)))
                case ("function", name, int() as arity) if (str(name), arity) not in seen:  # fun name/arity
                    seen.add((str(name), arity))
                    waiting.append(forms.function(str(name), arity))
