"""State shape: values of the old shape that outlive the switch, and who migrates them.

A record (or the map of a state type) that changed is dangerous where a live process holds one: in a module with
live processes of its own, or in a module that is handed such values by one. An `update` of the holder with a
code_change that takes the old shape, or a restart of its application, makes it safe.

Seen are shapes in the debug information of modules that the hop switches. Not seen: values in tables,
persistent terms and messages on their way; what a code_change clause does with a part inside the state.
"""

from collections.abc import Iterator

from engine.release.case import Case, people, some
from engine.release.code_change import (
    ANY_SHAPE,
    CodeChange,
    Verdict,
    code_change_of,
    downgrade_verdict,
    upgrade_verdict,
)
from engine.release.findings import Finding
from engine.release.forms import Forms
from engine.release.holders import holders_of
from engine.release.migration import migrates_inner
from engine.release.shape import ShapeChange, record_fields, shape_changes
from engine.term import format_term

Holders = list[tuple[str, int | None]]
"""Modules with live processes, and how many of each."""


def state_findings(case: Case, module: str) -> Iterator[Finding]:
    """Every finding about shapes of live state that one switched module declares."""
    old, new = case.old_forms(module), case.new_forms(module)
    if old is None or new is None:
        yield _no_debug_info(case, module, old)
        return
    for change in shape_changes(old, new):
        yield from _of_change(case, module, change, new)


def _of_change(case: Case, module: str, change: ShapeChange, new: Forms) -> Iterator[Finding]:
    own = case.processes_of(module)
    if own != 0 and module not in case.restarted:
        yield from _of_process(case, module, change, new, own)
        if change.kind == "record":
            yield from _held_by_others(case, module, change)
    elif change.kind == "record":
        yield from _of_holders(case, module, change)


def _of_process(
    case: Case, module: str, change: ShapeChange, new: Forms, count: int | None
) -> Iterator[Finding]:
    """The module runs processes itself."""
    code_change = _code_change(new)
    if module not in case.extras:
        yield _record_changed(module, change, [(module, count)], _advice(module, code_change, change, case))
        return
    extra = case.extras[module]
    verdict = upgrade_verdict(code_change, change, from_version=case.hop.from_version, extra=extra)
    if verdict is not Verdict.HANDLED:
        yield Finding(
            code="code_change_missing",
            severity="error",
            subject=f"{module}:{change.name}",
            happened=f"{change.in_words()} in {module}, which {people(count)} run; the hop updates it, but of its"
            f" code_change {verdict.value}, asked for {case.hop.from_version} with {format_term(extra)[:80]}:"
            f" old {_fields(change.old)}, new {_fields(change.new)}",
            next=f"The target's {module} needs a code_change clause for the old shape; or restart its application.",
        )
        return
    down = downgrade_verdict(code_change, change, from_version=case.hop.from_version, extra=extra)
    if down is not Verdict.HANDLED:
        yield Finding(
            code="down_clause_missing",
            severity="warning",
            subject=f"{module}:{change.name}",
            happened=f"{change.in_words()} in {module}, and its code_change has no clause for"
            f' {{down, "{case.hop.from_version}"}}: the update cannot be undone',
            next="Accept that a failure behind this step leaves the node between releases, or add the clause.",
        )


def _of_holders(case: Case, module: str, change: ShapeChange) -> Iterator[Finding]:
    """The module has no processes of its own; others may hold its values."""
    holders = holders_of(case, module, change.name)
    if unsafe := _not_migrated(case, module, change, holders):
        names = some(holder for holder, _ in unsafe)
        yield _record_changed(
            module,
            change,
            unsafe,
            f"Let the hop update {names} with a code_change that migrates it, or restart the application.",
        )
    elif not holders:
        yield Finding(
            code="record_changed_at_rest",
            severity="note",
            subject=f"{module}:{change.name}",
            happened=f"{change.in_words()} in {module}; no live process was found to hold one,"
            f" but values in tables or persistent terms keep the old shape",
            next=f"Make sure that no old #{change.name}{{}} is kept anywhere, or migrate it in a callback.",
        )


def _held_by_others(case: Case, module: str, change: ShapeChange) -> Iterator[Finding]:
    """The module has processes of its own, which its update migrates: values that it has handed out are not reached.

    A warning only: what a function of such a module is given may as well be built for the call.
    """
    unsafe = _not_migrated(case, module, change, holders_of(case, module, change.name))
    if unsafe:
        yield Finding(
            code="record_held_by_others",
            severity="warning",
            subject=f"{module}:{change.name}",
            happened=f"{change.in_words()} in {module}, and {_counted(unsafe)} call functions of it that take one;"
            f" an update of {module} does not reach what they hold",
            next=f"Look whether their states hold a #{change.name}{{}}; then let the hop update them too with a"
            " code_change that migrates it, or restart the application.",
        )


def _not_migrated(case: Case, module: str, change: ShapeChange, holders: Holders) -> Holders:
    return [
        (holder, count)
        for holder, count in holders
        if holder not in case.restarted and not _migrates(case, holder, module, change)
    ]


def _counted(holders: Holders) -> str:
    return some(f"{people(count)} of {holder}" for holder, count in holders)


def _migrates(case: Case, holder: str, module: str, change: ShapeChange) -> bool:
    """Whether the hop updates the holder with a code_change that reaches the record inside its state."""
    forms = case.new_forms(holder)
    code_change = _code_change(forms) if forms is not None else None
    if holder not in case.extras or code_change is None:
        return False
    verdict = upgrade_verdict(
        code_change, ANY_SHAPE, from_version=case.hop.from_version, extra=case.extras[holder]
    )
    return verdict is Verdict.HANDLED and migrates_inner(case, holder, module=module, record=change.name)


def _code_change(forms: Forms) -> CodeChange | None:
    return code_change_of(
        forms, sizes={name: len(record_fields(piece)) for name, piece in forms.records.items()}
    )


def _advice(module: str, code_change: CodeChange | None, change: ShapeChange, case: Case) -> str:
    verdict = upgrade_verdict(code_change, change, from_version=case.hop.from_version)
    if verdict is Verdict.HANDLED:
        return (
            f"Its code_change takes the old shape: write {{update, {module}, {{advanced, []}}}} in the hop."
        )
    application = case.comparison.new.app_of(module)
    name = application.name if application is not None else "its application"
    return f"Give {module} a code_change for the old shape and update it, or restart {name} in the hop."


def _record_changed(module: str, change: ShapeChange, holders: Holders, advice: str) -> Finding:
    held = _counted(holders)
    return Finding(
        code="record_changed",
        severity="error",
        subject=f"{module}:{change.name}",
        happened=f"{change.in_words()} in {module} (old {_fields(change.old)}, new {_fields(change.new)}), and"
        f" {held} hold the old shape with nothing in the hop to migrate it: they crash when they meet it",
        next=advice,
    )


def _no_debug_info(case: Case, module: str, old: Forms | None) -> Finding:
    which = "old" if old is None else "new"
    return Finding(
        code="no_debug_info",
        severity="note",
        subject=module,
        happened=f"the {which} beam of {module} ({people(case.processes_of(module))}) has no debug information:"
        " the shape of its state was not checked",
        next="Compare its records in the sources of both releases; the plan does not call this hop safe.",
    )


def _fields(names: tuple[str, ...]) -> str:
    return "{" + ", ".join(names) + "}"
