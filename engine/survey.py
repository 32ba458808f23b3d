"""The survey: everything a plan rests on, looked at before anything is touched. Reads only.

It asks the staged tree, the live node, the catalog and RootDir, refuses what cannot be done, and hands the
findings to the pure plan maker. `plan`, `upgrade` and a recovery that begins again all pass here.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.changes import Changes
from engine.errors import BadRelease, BadRequest, UnfitNode
from engine.incarnation import observation
from engine.live_facts import live_facts
from engine.node.door import HeldFuns
from engine.node.errors import RemoteException
from engine.patches import fingerprint, patch_files
from engine.plan import ResolvedHop, differing_parts, plan_id, planned_steps, recorded_steps
from engine.prospect import Prospect
from engine.readback import listed
from engine.release.analysis import case_of, findings_of
from engine.release.case import Case
from engine.release.catalog import catalog_folders, read_catalog
from engine.release.comparison import compare_trees
from engine.release.compatibility import Check, check_trees, check_versions, require
from engine.release.findings import judge, require_safe
from engine.release.folders import folders_of
from engine.release.hop import Hop
from engine.release.marker import read_marker
from engine.release.rehearsal import rehearse
from engine.release.resolution import resolve
from engine.release.tree import ReleaseTree, check_whole
from engine.release.version import parse_version
from engine.run import Run
from engine.term import Term
from engine.truth import known_trees, live_release, live_troubles
from journal.events import PlanResolved


class UpgradeOpen(BadRequest):
    """An upgrade has not ended; recover is asked for first."""

    name = "upgrade_unfinished"


class LiveReleaseUnknown(UnfitNode):
    """No tree under RootDir is what the node runs."""

    name = "live_release_unknown"


class ProcessesSuspended(UnfitNode):
    """Somebody has suspended processes in the node already."""

    name = "processes_suspended"


class ScriptRaised(BadRelease):
    """A hop file that is a script was trusted, evaluated, and raised."""

    name = "script_raised"


class PlanChanged(BadRequest):
    """Something is not as it was when the plan was made."""

    name = "plan_changed"


def surveyed(run: Run) -> tuple[PlanResolved, Prospect]:
    """The plan for the staged package on the live node, and what was seen on the way to it.

    Raises:
        Refusal: It cannot be done; nothing was touched but the staging folder.
        NodeUnreachable: The node was lost while it was asked.
    """
    place, node, progress = run.house.place, run.node, run.house.progress
    progress.step("check the target against the node")
    target = ReleaseTree.read(place.staging(run.upgrade_id))
    run.target_version = str(target.version)
    check_whole(target)
    live = live_tree(run)
    run.from_version = str(live.version)
    marker = read_marker(place.root).version
    checks = _checks(run, live=live, target=target, marker=marker)
    require(checks)
    _check_nobody_suspended(run)
    progress.step("resolve the hop")
    hop = _hop(run, str(live.version), str(target.version))
    loaded = node.module_md5s()
    resolution = resolve(hop, live=live, target=target, loaded=loaded)
    comparison = compare_trees(live, target)
    facts, held = live_facts(run, hop, resolution=resolution, comparison=comparison, loaded=loaded)
    prospect = _looked_ahead(
        run,
        checks,
        held,
        case_of(hop, live_tree=live, target=target, live=facts, comparison=comparison, resolution=resolution),
    )
    for waiver in prospect.judgement.unused:
        progress.note(f"--allow {waiver}: no finding is called this")
    require_safe(prospect.judgement)
    progress.step("rehearse the boot")
    rehearse(
        target.root,
        version=str(target.version),
        erts_version=target.erts_version,
        root=place.root,
        folders=folders_of(place.root),
    )
    changes = Changes(node, live=live, target=target, deployed=place.tree(str(target.version)), loaded=loaded)
    return _recorded(run, changes.resolved(hop, resolution), marker, loaded, prospect), prospect


def _hop(run: Run, from_version: str, target_version: str) -> Hop:
    """The hop of the catalog; a script is evaluated only when it is trusted and no plain file has the hop."""
    catalog = read_catalog(catalog_folders(run.house.place.root, given=run.house.catalog))
    if run.options.trust_script and (from_version, target_version) not in catalog.pairs:
        catalog = catalog.trusting(
            lambda text: _value_of_script(run, text), from_version=from_version, target_version=target_version
        )
    return catalog.hop(from_version, target_version)


def _value_of_script(run: Run, text: str) -> Term:
    try:
        return run.node.evaluate_script(text)
    except RemoteException as raised:
        raise ScriptRaised(
            f"A trusted hop script raised in the node: {raised.happened}", next="Correct the script."
        ) from raised


def _checks(run: Run, *, live: ReleaseTree, target: ReleaseTree, marker: str | None) -> tuple[Check, ...]:
    node = run.node.observe()
    has_booted_it = marker is not None and Path(node.boot_tree) == run.house.place.tree(marker)
    pending = parse_version(marker) if marker and not has_booted_it else None
    return (
        check_versions(live=live.version, target=target.version, pending=pending),
        *check_trees(live=live, target=target, otp_release=node.otp_release),
    )


def _looked_ahead(run: Run, checks: tuple[Check, ...], held: HeldFuns, case: Case) -> Prospect:
    run.house.progress.step("look for what would go wrong")
    switched = sorted(case.switched)
    return Prospect(
        checks=tuple((check.name, check.evidence) for check in checks),
        judgement=judge(findings_of(case), waivers=run.options.waivers, strict=run.options.strict),
        blockers=run.node.lingering(switched),
        held_funs=held,
        processes=dict(case.live.processes or {}),
        disk_bytes=run.manifest.total_bytes if run.manifest else 0,
    )


def live_tree(run: Run) -> ReleaseTree:
    """The tree whose code the node runs: base, or a deployed one after a hop without a restart.

    Raises:
        LiveReleaseUnknown: No readable tree matches, not even roughly.
    """
    trees, troubles = known_trees(run.house.place)
    live = live_release(run.node, run.node.observe(), trees)
    if live.tree is None:
        why = listed([*troubles, *live_troubles(live)])
        raise LiveReleaseUnknown(
            f"No tree under {run.house.place.root} is what the node runs: {why}.",
            next="Check with --root that this is the install root of the node; when its package was replaced "
            "underneath, restart the node first.",
        )
    return trees[live.tree]


def _check_nobody_suspended(run: Run) -> None:
    suspended = [f"{process.pid} ({process.name})" for process in run.node.suspended()]
    if suspended:
        raise ProcessesSuspended(
            f"Processes in the node are suspended already: {listed(suspended)}.",
            next="Resume them (sys:resume/1) or find out who suspended them, then upgrade again.",
        )


def _recorded(
    run: Run, resolved: ResolvedHop, marker: str | None, loaded: Mapping[str, str], prospect: Prospect
) -> PlanResolved:
    hop = resolved.hop
    steps = recorded_steps(planned_steps(resolved))
    package = run.package_sha256
    facts = observation(run.node.observe())
    identity = plan_id(
        {
            "package": package,
            "hop": hop.sha256,
            "node": msgspec.to_builtins(facts),
            "steps": msgspec.to_builtins(steps),
            "marker": marker,
            "live": dict(loaded),
            "patches": {path.name: fingerprint(path) for path in patch_files(run)},
        }
    )
    _check_plan(run.options.plan_id, now=identity)
    return PlanResolved(
        plan_id=identity,
        from_version=hop.from_version,
        target_version=hop.target_version,
        package_sha256=package,
        hop_file=str(hop.file),
        hop_sha256=hop.sha256,
        steps=steps,
        previous_marker=marker,
        hop_text=hop.text,
        may_end=prospect.may_end(steps, kill_blockers=run.options.kill_blockers),
    )


def _check_plan(planned: str | None, *, now: str) -> None:
    """Refuse when the operator planned something else.

    Raises:
        PlanChanged: The text names the parts that differ.
    """
    if planned in (None, now):
        return
    differing = differing_parts(str(planned), now)
    what = (
        f"what differs is {listed(list(differing))}"
        if differing
        else "it is no plan of this node and this relup"
    )
    raise PlanChanged(
        f"The plan {planned} no longer holds: {what}. As things are now, the plan is {now}.",
        next="Run 'relup plan' again, look at what has changed, and upgrade by the new id.",
    )
