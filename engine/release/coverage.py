"""Coverage: does the hop switch what differs, and what does the node run that neither release knows?

Old tree × target tree × live node × hop × data/patches, module by module. Applications are in `applications`.
"""

from collections.abc import Iterator

from engine.release.case import Case, some
from engine.release.findings import Finding
from engine.release.hop import NEVER_RESTARTED


def coverage(case: Case) -> Iterator[Finding]:
    """Every finding about modules that are switched, or are not."""
    yield from _changed_but_not_in_hop(case)
    yield from _in_hop_but_equal(case)
    yield from _new_but_not_loaded(case)
    yield from _removed_but_loaded(case)
    yield from _drifted(case)
    yield from _patched(case)
    yield from _loaded_apart(case)


def _changed_but_not_in_hop(case: Case) -> Iterator[Finding]:
    sticky: dict[str, list[str]] = {}
    for module in case.comparison.changed:
        if module in case.switched or case.live.md5s.get(module) == case.comparison.new_md5s[module]:
            continue
        application = case.comparison.old.app_of(module)
        if application is not None and application.name in NEVER_RESTARTED:
            sticky.setdefault(application.name, []).append(module)
        elif case.is_loaded(module):
            yield Finding(
                code="module_not_in_hop",
                severity="error",
                subject=module,
                happened=f"{module} differs between the releases and is loaded, but the hop does not name it:"
                " it stays old until the next restart",
                next=f"Add {{load_module, {module}}} or an update to the hop; 'relup hop draft' writes one.",
            )
        else:
            yield Finding(
                code="module_not_in_hop",
                severity="warning",
                subject=module,
                happened=f"{module} differs between the releases and the hop does not name it; it is not loaded now",
                next=f"Add {{load_module, {module}}} to the hop, so that it is the target's when it is needed.",
            )
    for name, modules in sticky.items():
        yield Finding(
            code="runtime_stays_old",
            severity="note",
            subject=name,
            happened=f"{len(modules)} modules of {name} differ ({some(modules)}); they change with the restart only",
            next="Restart the node into the target when it suits you.",
        )


def _in_hop_but_equal(case: Case) -> Iterator[Finding]:
    for module in dict.fromkeys(case.hop.modules()):
        if case.comparison.old_md5s.get(module) == case.comparison.new_md5s.get(module, "absent"):
            yield Finding(
                code="module_unchanged",
                severity="note",
                subject=module,
                happened=f"the hop names {module}, which is the same in both releases",
                next="Nothing has to be done; the hop would be shorter without it.",
            )


def _new_but_not_loaded(case: Case) -> Iterator[Finding]:
    missing = [m for m in case.comparison.added if m not in case.switched and not case.is_loaded(m)]
    callers = _callers(case, frozenset(missing)) if missing else {}
    for module in missing:
        called_by = callers.get(module, [])
        yield Finding(
            code="new_module_not_loaded",
            severity="error" if called_by else "warning",
            subject=module,
            happened=f"{module} is new in the target and nothing loads it"
            + (
                f", but {some(called_by)} will call it: in embedded mode it is not found" if called_by else ""
            ),
            next=f"Add {{load_module, {module}}} to the hop, before the modules that call it.",
        )


def _callers(case: Case, wanted: frozenset[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for module in sorted(case.switched):
        beam = case.new_beam(module)
        called = {name for name, _, _ in beam.imports} & wanted if beam is not None else set()
        for name in called:
            found.setdefault(name, []).append(module)
    return found


def _removed_but_loaded(case: Case) -> Iterator[Finding]:
    for module in case.comparison.removed:
        if case.is_loaded(module) and module not in case.switched and module not in case.restarted:
            yield Finding(
                code="removed_module_stays",
                severity="warning",
                subject=module,
                happened=f"{module} is not in the target any more, but stays loaded until the next restart",
                next="Make sure that nothing starts it again; restarting its application removes it.",
            )


def _drifted(case: Case) -> Iterator[Finding]:
    for module, old in case.comparison.old_md5s.items():
        live = case.live.md5s.get(module, old)
        if live == old or module in case.live.patches:
            continue
        if live == case.comparison.new_md5s.get(module):
            yield Finding(
                code="already_live",
                severity="note",
                subject=module,
                happened=f"the node runs {module} of the target already",
                next="Nothing has to be done.",
            )
        else:
            yield Finding(
                code="live_code_differs",
                severity="warning",
                subject=module,
                happened=f"the node runs a {module} that is in neither release (md5 {live[:8]}…):"
                " it was loaded by hand; an undo cannot bring it back",
                next="Find out why it was loaded; put the release's own code back, or accept this finding.",
            )


def _patched(case: Case) -> Iterator[Finding]:
    for module in sorted(case.live.patches):
        known = module in case.comparison.new_md5s or module in case.comparison.old_md5s
        switched = module in case.switched
        yield Finding(
            code="module_patched",
            severity="warning",
            subject=module,
            happened=f"data/patches has {module}.beam, which shadows "
            + ("the release's module" if known else "no module of either release")
            + ("; the hop replaces it now and the next start brings the patch back" if switched else ""),
            next="Remove the patch when the target has its fix; keep it only when it was made for the target.",
        )


def _loaded_apart(case: Case) -> Iterator[Finding]:
    for module in case.really_switched():
        beam = case.new_beam(module)
        if beam is not None and beam.has_on_load:
            yield Finding(
                code="on_load_module",
                severity="note",
                subject=module,
                happened=f"{module} runs a function of its own, in the live VM, when it is loaded: it is switched"
                " alone, and the step fails when the function fails or has not returned after 30 s",
                next="Find out what its on_load function does to a node that serves clients. Nothing has to be done"
                " when it loads a library, as most do.",
            )
