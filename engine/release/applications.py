"""What changes with an application besides its modules: version, environment, dependencies, native code, ERTS.

None of it becomes live by loading modules; a restart of the application makes some of it live, a restart of the
node all.
"""

import filecmp
import os
from collections.abc import Iterator
from pathlib import Path

from engine.release.application import ReleaseApplication
from engine.release.case import Case, some
from engine.release.findings import Finding

_NATIVE_DEPTH = 3
_RESTART_NODE = "Restart the node into the target when it suits you."


def application_findings(case: Case) -> Iterator[Finding]:
    """Every finding about applications and the runtime."""
    old, new = case.comparison.old, case.comparison.new
    for name, target in new.applications.items():
        known = old.applications.get(name)
        if known is None:
            yield from _new_application(case, target)
        else:
            yield from _changed_application(case, known, target)
    for name in old.applications:
        if name not in new.applications:
            yield Finding(
                code="application_removed",
                severity="warning",
                subject=name,
                happened=f"the target has no application {name}; it goes on running until the next restart",
                next=_RESTART_NODE,
            )
    if old.erts_version != new.erts_version:
        yield Finding(
            code="erts_changed",
            severity="note",
            subject=new.erts_version,
            happened=f"the target brings ERTS {new.erts_version} instead of {old.erts_version}:"
            " the running VM cannot change it",
            next=_RESTART_NODE,
        )


def _new_application(case: Case, target: ReleaseApplication) -> Iterator[Finding]:
    if target.name not in case.resolution.applications:
        yield Finding(
            code="application_not_started",
            severity="warning",
            subject=target.name,
            happened=f"the application {target.name} is new in the target and the hop does not start it",
            next=f"Add {{restart_application, {target.name}}} to the hop, before what needs it; or restart the node.",
        )


def _changed_application(case: Case, old: ReleaseApplication, new: ReleaseApplication) -> Iterator[Finding]:
    yield from _native_code(case, old, new)
    if old.version == new.version and _same_file(old.app_file, new.app_file):
        return
    if new.name in case.resolution.applications:
        return
    if old.version != new.version:
        yield Finding(
            code="application_version_changed",
            severity="note",
            subject=new.name,
            happened=f"{new.name} goes from {old.version} to {new.version}; without a restart of the application"
            f" the VM goes on saying {old.version}",
            next="Nothing has to be done: the code is what the hop loads.",
        )
    yield from _environment(old, new)
    yield from _dependencies(case, old, new)


def _environment(old: ReleaseApplication, new: ReleaseApplication) -> Iterator[Finding]:
    before, after = old.env, new.env
    keys = sorted(key for key in {*before, *after} if before.get(key, ...) != after.get(key, ...))
    if keys:
        yield Finding(
            code="application_env_changed",
            severity="warning",
            subject=new.name,
            happened=f"the .app of {new.name} sets other defaults ({some(keys)}), which loading does not bring",
            next=f"Restart the application in the hop, or set them in a callback ({some(keys)}).",
        )


def _dependencies(case: Case, old: ReleaseApplication, new: ReleaseApplication) -> Iterator[Finding]:
    gained = [name for name in new.requires if name not in old.requires]
    unknown = [name for name in gained if name not in case.comparison.old.applications]
    if gained:
        yield Finding(
            code="application_dependency_changed",
            severity="warning" if unknown else "note",
            subject=new.name,
            happened=f"{new.name} depends on {some(gained)} in the target"
            + (f"; {some(unknown)} does not run yet" if unknown else ""),
            next="Start what is missing in the hop before the modules that need it.",
        )


def _native_code(case: Case, old: ReleaseApplication, new: ReleaseApplication) -> Iterator[Finding]:
    before, after = _libraries(old), _libraries(new)
    differing = sorted(
        name
        for name in {*before, *after}
        if name not in before or name not in after or not _same_file(before[name], after[name])
    )
    if differing:
        yield Finding(
            code="native_code_changed",
            severity="warning",
            subject=new.name,
            happened=f"the native libraries of {new.name} differ ({some(differing)}): the VM keeps the loaded ones",
            next=_RESTART_NODE + " Modules of this application must work with the old library until then.",
        )


def _libraries(application: ReleaseApplication) -> dict[str, Path]:
    """Shared libraries under priv, by their path in it; NIFs lie near the top, so deep folders are let be."""
    priv = application.ebin.parent / "priv"
    found: dict[str, Path] = {}
    if not priv.is_dir():
        return found
    for folder, folders, files in os.walk(priv):
        here = Path(folder)
        if len(here.relative_to(priv).parts) >= _NATIVE_DEPTH:
            folders.clear()
        found.update(
            {str((here / f).relative_to(priv)): here / f for f in files if f.endswith((".so", ".dylib"))}
        )
    return found


def _same_file(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False
