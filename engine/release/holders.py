"""Who holds a record of a module beside its own processes: the processes that hand it back as an argument.

From the module outwards: a function that takes the record is called by some module; when that one has live
processes, it is a holder; when not, its own callers are asked. Seen are calls in import tables.
"""

from collections.abc import Iterator
from typing import Any

from engine.release.beam import Function, Import
from engine.release.case import Case
from engine.release.shape import parts_of

MAX_STEPS = 4
"""How many modules may stand between a process and the record."""


def holders_of(case: Case, module: str, record: str) -> list[tuple[str, int | None]]:
    """Modules with live processes that hand values of the record to the module, and how many processes."""
    taken = _functions_taking(case, module, record)
    wanted = {(module, name, arity) for name, arity in taken}
    seen, found = {module}, dict[str, int | None]()
    for _ in range(MAX_STEPS):
        callers = _callers(case, wanted) - seen
        if not callers:
            break
        seen |= callers
        processes = {caller: case.processes_of(caller) for caller in sorted(callers)}
        found |= {caller: count for caller, count in processes.items() if count != 0}
        wanted = {
            (caller, name, arity)
            for caller, count in processes.items()
            if count == 0
            for name, arity in _exports(case, caller)
        }
    return sorted(found.items())


def _functions_taking(case: Case, module: str, record: str) -> Iterator[Function]:
    """Exported functions of the old module that are given the record by their caller.

    Of a module with processes many take either its state or the pid of one, and are called with the pid.
    """
    names_processes = case.processes_of(module) != 0
    forms, beam = case.old_forms(module), case.old_beam(module)
    if forms is None or beam is None:
        return
    for function in forms.functions_using(record):
        form = forms.function(*function) if function in beam.exports else None
        if form is None or (names_processes and any(_may_take_a_pid(clause) for clause in form[4])):
            continue
        if any(_takes(clause, record) for clause in form[4]):
            yield function


def _may_take_a_pid(clause: Any) -> bool:
    """Whether its guard asks for a pid, or for the name of a process."""
    return any(
        part[:1] == ("call",)
        and len(part) == 4
        and part[2][0] == "atom"
        and part[2][2] in ("is_pid", "is_atom")
        for part in parts_of(clause[3])
    )


def _takes(clause: Any, record: str) -> bool:
    """Whether a clause matches its arguments with the record, or reads or updates it in one of them."""
    patterns, rest = clause[2], (clause[3], clause[4])
    if any(_names_record(part, record) for part in parts_of(patterns)):
        return True
    given = {str(part[2]) for part in parts_of(patterns) if part[:1] == ("var",) and len(part) == 3}
    return any(_reads_given(part, record, given) for part in parts_of(rest))


def _names_record(part: tuple[Any, ...], record: str) -> bool:
    return part[:1] == ("record",) and len(part) == 4 and part[2] == record


def _reads_given(part: tuple[Any, ...], record: str, given: set[str]) -> bool:
    match part:
        case (("record" | "record_field"), _, ("var", _, name), named, _) if named == record:
            return str(name) in given
        case ("match", _, pattern, ("var", _, name)) | ("match", _, ("var", _, name), pattern):
            return str(name) in given and any(_names_record(inner, record) for inner in parts_of(pattern))
        case ("case", _, ("var", _, name), list() as clauses) if str(name) in given:
            return any(_names_record(inner, record) for clause in clauses for inner in parts_of(clause[2]))
    return False


def _callers(case: Case, wanted: set[Import]) -> set[str]:
    """Loaded modules whose import tables name one of the functions."""
    importers = case.comparison.importers
    candidates = {caller for module in {call[0] for call in wanted} for caller in importers.get(module, ())}
    return {
        caller
        for caller in candidates
        if case.is_loaded(caller)
        and (beam := case.old_beam(caller)) is not None
        and not beam.imports.isdisjoint(wanted)
    }


def _exports(case: Case, module: str) -> frozenset[Function]:
    beam = case.old_beam(module)
    return beam.exports if beam is not None else frozenset()
