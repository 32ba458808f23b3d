"""Cross-reference over import tables: calls that worked before the hop and find nothing after it.

After the hop the VM runs the target's code of the modules that were switched and the old code of those that
stay. Seen are calls by name that stand in an import table; `apply` with computed names is not.
"""

from collections.abc import Iterator, Mapping

from engine.release.beam import Function
from engine.release.case import Case, some
from engine.release.findings import Finding
from engine.release.hop import Apply


def call_findings(case: Case) -> Iterator[Finding]:
    """Calls that will find nothing: of functions the switch removes, and of functions that never come."""
    yield from _removed_but_called(case)
    yield from _called_but_not_live(case)


def _removed_but_called(case: Case) -> Iterator[Finding]:
    """Functions that the new code has no more, called by modules that stay."""
    removed = {module: gone for module in case.really_switched() if (gone := _gone(case, module))}
    if not removed:
        return
    for caller, calls in _calls_of_staying(case, removed):
        for module, name, arity in sorted(calls):
            yield Finding(
                code="removed_function_called",
                severity="error",
                subject=f"{caller}->{module}:{name}/{arity}",
                happened=f"{caller} stays as it is and calls {module}:{name}/{arity}, which the target's {module}"
                " does not have: the call will fail with undef",
                next=f"Switch {caller} in the same hop if the target's calls something else, or keep the function.",
            )


def _gone(case: Case, module: str) -> frozenset[Function]:
    old, new = case.old_beam(module), case.new_beam(module)
    return old.exports - new.exports if old is not None and new is not None else frozenset()


def _calls_of_staying(
    case: Case, removed: Mapping[str, frozenset[Function]]
) -> Iterator[tuple[str, set[tuple[str, str, int]]]]:
    """Each module that stays, and which of the removed functions it calls."""
    importers = case.comparison.importers
    for caller in sorted({caller for module in removed for caller in importers.get(module, ())}):
        beam = case.old_beam(caller) if case.stays(caller) else None
        calls = (
            {call for call in beam.imports if call[1:] in removed.get(call[0], ())}
            if beam is not None
            else set()
        )
        if calls:
            yield caller, calls


def _called_but_not_live(case: Case) -> Iterator[Finding]:
    """Functions that only the target's module has, called by switched code, while the old module stays."""
    for caller in sorted(case.switched):
        beam = case.new_beam(caller)
        for module, name, arity in sorted(beam.imports if beam is not None else ()):
            if (
                module in case.switched
                or not case.is_loaded(module)
                or module not in case.comparison.old_md5s
            ):
                continue
            if case.comparison.old_md5s[module] == case.comparison.new_md5s.get(module):
                continue
            old, new = case.old_beam(module), case.new_beam(module)
            if old is None or (name, arity) in old.exports:
                continue
            if new is not None and (name, arity) in new.exports:
                yield Finding(
                    code="function_not_live",
                    severity="error",
                    subject=f"{caller}->{module}:{name}/{arity}",
                    happened=f"the target's {caller} calls {module}:{name}/{arity}, which only the target's {module}"
                    " has, and the hop leaves the old one",
                    next=f"Add {{load_module, {module}}} to the hop, before {caller}.",
                )


def called_by_hop(case: Case) -> Iterator[Finding]:
    """Functions that the hop itself calls: its callbacks, and what it applies."""
    module = case.resolution.callback_module
    for callback in case.hop.callbacks if module is not None else ():
        assert module is not None, "resolved callbacks have a module"
        if not _is_exported(case, module, (callback.function, callback.arity)):
            yield _callback_missing(case, module, f"{callback.function}/{callback.arity}")
    for instruction in case.hop.instructions:
        if isinstance(instruction, Apply):
            function = (instruction.function, len(instruction.arguments))
            if not _is_exported(case, instruction.module, function):
                yield _callback_missing(case, instruction.module, f"{function[0]}/{function[1]}")


def _is_exported(case: Case, module: str, function: Function) -> bool:
    """Whether the code that is live when the hop calls it has the function; True when it cannot be known."""
    beam = case.new_beam(module) if module in case.switched else case.old_beam(module)
    if beam is None:
        return case.is_loaded(module)
    return function in beam.exports


def _callback_missing(case: Case, module: str, function: str) -> Finding:
    beam = case.new_beam(module) if module in case.switched else case.old_beam(module)
    has = [f"{name}/{arity}" for name, arity in sorted(beam.exports)] if beam is not None else []
    return Finding(
        code="callback_missing",
        severity="error",
        subject=f"{module}:{function}",
        happened=f"the hop calls {module}:{function}, but the {module} that is live by then"
        + (
            f" has only {some(f for f in has if not f.startswith('module_info/'))}"
            if has
            else " will not be loaded"
        ),
        next="Correct the hop, or let it load the module that has the function before it calls it.",
    )
