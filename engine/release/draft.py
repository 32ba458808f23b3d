"""Writes a hop from two release trees: what differs, in dependency order, each line with the reason for it.

`update` where a live state changes its shape and the new code_change takes the old one; restart_application where
nothing less will do; load_module for all else. What no hop can bring is said in comments at its head.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from engine.release.applications import application_findings
from engine.release.case import Case, LiveFacts, people, some
from engine.release.code_change import ANY_SHAPE, code_change_of
from engine.release.comparison import Comparison
from engine.release.extra import guessed_extra, record_defaults
from engine.release.holders import holders_of
from engine.release.hop import NEVER_RESTARTED, Hop
from engine.release.migration import migrates_inner
from engine.release.ordering import callees_first
from engine.release.resolution import Resolution
from engine.release.shape import ShapeChange, record_fields, shape_changes
from engine.term import Atom, Term, format_term


@dataclass(frozen=True)
class Line:
    """One instruction of the draft and why it stands there."""

    instruction: str
    why: str


@dataclass
class _Decisions:
    """What became of each module and application while the draft was made."""

    updates: dict[str, tuple[Term, str]] = field(default_factory=dict)
    restarts: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def draft_hop(comparison: Comparison, *, live: LiveFacts | None = None) -> str:
    """The text of a `.relup` file from the old tree to the new one.

    Args:
        live: The node, where one was asked; without it every module that can be a process counts as one.

    Raises:
        CorruptBeam, CannotReadRelease: A tree is not whole.
    """
    case = _empty_case(comparison, live or LiveFacts.of_tree(comparison))
    decisions = _decided(case)
    restarted = _modules_of(comparison, decisions.restarts)
    lines = [*_module_lines(case, decisions, leave_out=restarted), *_restart_lines(comparison, decisions)]
    return _text(comparison, lines, [*decisions.remarks, *_remarks(case, decisions)])


def _empty_case(comparison: Comparison, live: LiveFacts) -> Case:
    old, new = str(comparison.old.version), str(comparison.new.version)
    hop = Hop(
        from_version=old,
        target_version=new,
        instructions=(),
        callbacks=(),
        file=comparison.new.root,
        sha256="",
        text="",
    )
    return Case(comparison, hop, Resolution({}, {}, None), live)


# ---------------------------------------------------------------- deciding


def _decided(case: Case) -> _Decisions:
    decisions = _Decisions()
    for name in case.comparison.new.applications:
        if name not in case.comparison.old.applications:
            decisions.restarts[name] = "new in the target: this loads and starts it"
    for module in case.comparison.changed:
        if not _is_fixed(case.comparison, module):
            _decide(case, module, decisions)
    _restart_dependents(case.comparison, decisions)
    return decisions


def _restart_dependents(comparison: Comparison, decisions: _Decisions) -> None:
    """What stands on a restarted application starts again after it: what it had registered there is gone."""
    applications = comparison.new.applications.values()
    found = True
    while found:
        found = False
        for application in applications:
            below = [name for name in application.requires if name in decisions.restarts]
            known = application.name in comparison.old.applications
            if below and known and application.name not in decisions.restarts:
                decisions.restarts[application.name] = f"stands on {some(below)}, restarted above"
                found = True


def _decide(case: Case, module: str, decisions: _Decisions) -> None:
    old, new = case.old_forms(module), case.new_forms(module)
    if old is None or new is None:
        if case.processes_of(module) != 0:
            decisions.remarks.append(
                f"{module} has no debug information: check the shape of its state yourself."
            )
        return
    for change in shape_changes(old, new):
        if case.processes_of(module) != 0:
            _decide_process(case, module, change, decisions)
        elif change.kind == "record":
            _decide_holders(case, module, change, decisions)


def _decide_process(case: Case, module: str, change: ShapeChange, decisions: _Decisions) -> None:
    forms = case.new_forms(module)
    assert forms is not None, "the caller has looked"
    sizes = {name: len(record_fields(piece)) for name, piece in forms.records.items()}
    defaults = record_defaults(forms.records[change.name]) if change.kind == "record" else {}
    code_change = code_change_of(forms, sizes=sizes)
    version = case.hop.from_version
    extra = (
        guessed_extra(code_change, change, from_version=version, defaults=defaults) if code_change else None
    )
    held = people(case.processes_of(module))
    if extra is not None:
        decisions.updates[module] = (extra, f"{change.in_words()}, {held} hold it; code_change migrates it")
    else:
        _restart(
            case,
            module,
            f"{change.in_words()} in {module}, {held} hold it and no code_change takes it",
            decisions,
        )


def _decide_holders(case: Case, module: str, change: ShapeChange, decisions: _Decisions) -> None:
    for holder, count in holders_of(case, module, change.name):
        held = f"{change.in_words()} in {module}, which {people(count)} of {holder} hold"
        forms = case.new_forms(holder)
        code_change = code_change_of(forms, sizes={}) if forms is not None else None
        extra = None
        if code_change is not None and migrates_inner(case, holder, module=module, record=change.name):
            version = case.hop.from_version
            extra = guessed_extra(code_change, ANY_SHAPE, from_version=version, defaults={})
        if extra is not None and holder in case.comparison.changed:
            decisions.updates.setdefault(holder, (extra, f"{held}; its code_change reaches it"))
        else:
            _restart(case, holder, f"{held} and no code_change migrates", decisions)


def _restart(case: Case, module: str, why: str, decisions: _Decisions) -> None:
    application = case.comparison.new.app_of(module)
    if application is None:
        decisions.remarks.append(
            f"{why}; {module} is in no application of the target, restart the node instead."
        )
    else:
        decisions.restarts.setdefault(application.name, f"{why}; its processes and their clients end")


def _is_fixed(comparison: Comparison, module: str) -> bool:
    """Modules of the runtime itself, which no hop replaces."""
    application = comparison.old.app_of(module)
    return application is not None and application.name in NEVER_RESTARTED


# ---------------------------------------------------------------- lines


def _module_lines(case: Case, decisions: _Decisions, *, leave_out: frozenset[str]) -> Iterable[Line]:
    comparison = case.comparison
    wanted = [
        module
        for module in (*comparison.changed, *comparison.added)
        if module not in leave_out and not _is_fixed(comparison, module)
    ]
    calls = {module: _called(case, module) for module in wanted}
    for group in callees_first(wanted, calls):
        loads = [module for module in group if module not in decisions.updates]
        for module in (*loads, *(module for module in group if module in decisions.updates)):
            yield _module_line(comparison, module, decisions, group)


def _called(case: Case, module: str) -> frozenset[str]:
    beam = case.new_beam(module)
    return frozenset(name for name, _, _ in beam.imports) if beam is not None else frozenset()


def _module_line(comparison: Comparison, module: str, decisions: _Decisions, group: tuple[str, ...]) -> Line:
    name = format_term(Atom(module))
    if module in decisions.updates:
        extra, why = decisions.updates[module]
        return Line(f"{{update, {name}, {{advanced, {format_term(extra)}}}}}", why)
    why = "new in the target" if module not in comparison.old_md5s else "differs, holds no state that changed"
    if len(group) > 1:
        why += f"; calls and is called by {some((m for m in group if m != module), limit=3)}"
    return Line(f"{{load_module, {name}}}", why)


def _restart_lines(comparison: Comparison, decisions: _Decisions) -> Iterable[Line]:
    requires = {name: frozenset(comparison.new.applications[name].requires) for name in decisions.restarts}
    for group in callees_first(decisions.restarts, requires):
        for name in group:
            yield Line(f"{{restart_application, {format_term(Atom(name))}}}", decisions.restarts[name])


def _modules_of(comparison: Comparison, applications: Mapping[str, str]) -> frozenset[str]:
    return frozenset(module for name in applications for module in comparison.new.applications[name].modules)


# ---------------------------------------------------------------- text


def _remarks(case: Case, decisions: _Decisions) -> Iterable[str]:
    """What no line of the hop brings."""
    for module in case.comparison.removed:
        yield f"{module} is gone in the target; it stays loaded until the next restart."
    fixed = [module for module in case.comparison.changed if _is_fixed(case.comparison, module)]
    if fixed:
        yield f"{some(fixed)}: modules of the runtime, they change with the next restart."
    for finding in application_findings(case):
        if finding.severity != "note" and finding.subject not in decisions.restarts:
            yield f"{finding.happened}."


def _text(comparison: Comparison, lines: Iterable[Line], remarks: Iterable[str]) -> str:
    old, new = comparison.old.version, comparison.new.version
    head = [f"%% {old} -> {new}, drafted from the two releases. Read it before you use it."]
    head += [f"%% {remark}" for remark in remarks]
    kept = list(lines)
    body = [
        f"        %% {line.why}\n        {line.instruction}{',' if position < len(kept) else ''}"
        for position, line in enumerate(kept, start=1)
    ]
    return "\n".join(
        [
            *head,
            "#{",
            f'    from_version => "{old}",',
            f'    target_version => "{new}",',
            "    code_changes => [",
            *body,
            "    ],",
            "    post_upgrade_callbacks => []",
            "}.",
            "",
        ]
    )
