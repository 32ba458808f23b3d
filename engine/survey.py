"""The survey: everything a plan rests on, looked at before anything is touched. Reads only.

It asks the staged tree, the live node, the catalog and RootDir, refuses what cannot be done, and hands the
findings to the pure plan maker. `plan`, `upgrade` and a recovery that begins again all pass here.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.errors import BadRequest, UnfitNode
from engine.incarnation import observation
from engine.plan import ApplicationChange, ResolvedHop, plan_id, planned_steps, recorded_steps
from engine.readback import listed
from engine.release.beam import read_beam
from engine.release.catalog import catalog_folders, read_catalog
from engine.release.compatibility import check_trees, check_versions, require
from engine.release.errors import CorruptBeam
from engine.release.hop import Hop
from engine.release.marker import read_marker
from engine.release.rehearsal import rehearse
from engine.release.resolution import FoundApplication, FoundModule, Resolution, resolve
from engine.release.tree import ReleaseTree, check_whole
from engine.release.version import parse_version
from engine.run import Run
from engine.steps import PathMove
from engine.truth import known_trees, live_release
from journal.events import ModuleChange, PlanResolved


class UpgradeOpen(BadRequest):
    """An upgrade has not ended; recover is asked for first."""

    name = "upgrade_unfinished"


class PatchesPresent(BadRequest):
    """data/patches holds beams that shadow the release."""

    name = "patches_dir_not_empty"


class LiveReleaseUnknown(UnfitNode):
    """No tree under RootDir is what the node runs."""

    name = "live_release_unknown"


class ProcessesSuspended(UnfitNode):
    """Somebody has suspended processes in the node already."""

    name = "processes_suspended"


class PlanChanged(BadRequest):
    """Something is not as it was when the plan was made."""

    name = "plan_changed"


def check_patches(run: Run) -> None:
    """Refuse while hot patches shadow the release, unless forced.

    Raises:
        PatchesPresent
    """
    patches = sorted((run.house.data_dir / "patches").glob("*.beam"))
    if patches and not run.options.force:
        names = listed([patch.name for patch in patches])
        raise PatchesPresent(
            f"{run.house.data_dir / 'patches'} holds hot patches that shadow the release: {names}.",
            next="Move those away that the target contains already; --force upgrades all the same.",
        )


def resolved_plan(run: Run) -> PlanResolved:
    """The plan for the staged package on the live node.

    Raises:
        Refusal: It cannot be done; nothing was touched but the staging folder.
        NodeUnreachable: The node was lost while it was asked.
    """
    progress = run.house.progress
    progress.step("check the target against the node")
    target = ReleaseTree.read(run.house.place.staging(run.upgrade_id))
    check_whole(target)
    live = live_tree(run)
    marker = read_marker(run.house.place.root).version
    facts = run.node.observe()
    version_check = check_versions(
        live=live.version, target=target.version, pending=parse_version(marker) if marker else None
    )
    require((version_check, *check_trees(live=live, target=target, otp_release=facts.otp_release)))
    _check_nobody_suspended(run)
    folders = catalog_folders(run.house.place.root, given=run.house.catalog)
    hop = read_catalog(folders).hop(str(live.version), str(target.version))
    progress.step("resolve the hop")
    loaded = run.node.module_md5s()
    resolution = resolve(hop, live=live, target=target, loaded=loaded)
    progress.step("rehearse the boot")
    rehearse(
        target.root,
        version=str(target.version),
        erts_version=target.erts_version,
        root=run.house.place.root,
    )
    return _recorded(run, hop, _Findings(run, live, target, loaded).resolved(hop, resolution), marker)


def live_tree(run: Run) -> ReleaseTree:
    """The tree whose code the node runs: base, or a deployed one after a hop without a restart.

    Raises:
        LiveReleaseUnknown: No readable tree matches, not even roughly.
    """
    trees, troubles = known_trees(run.house.place)
    live = live_release(run.node, run.node.observe(), trees)
    if live.tree is None:
        raise LiveReleaseUnknown(
            f"No tree under {run.house.place.root} is what the node runs: {listed(troubles)}.",
            next="Check with --root that this is the install root of the node.",
        )
    return trees[live.tree]


def _check_nobody_suspended(run: Run) -> None:
    suspended = [f"{process.pid} ({process.name})" for process in run.node.suspended()]
    if suspended:
        raise ProcessesSuspended(
            f"Processes in the node are suspended already: {listed(suspended)}.",
            next="Resume them (sys:resume/1) or find out who suspended them, then upgrade again.",
        )


class _Findings:
    """Turns what names mean into what changes: where each module comes from and goes to."""

    def __init__(self, run: Run, live: ReleaseTree, target: ReleaseTree, loaded: Mapping[str, str]) -> None:
        self._live = live
        self._target = target
        self._loaded = loaded
        self._node = run.node
        self._deployed = run.house.place.tree(str(target.version))
        self._files: Mapping[str, str] = {}

    def resolved(self, hop: Hop, resolution: Resolution) -> ResolvedHop:
        removed = [module for app in resolution.applications.values() for module in app.removed]
        self._files = self._node.module_files([*resolution.becomes_live(), *removed])
        modules = {name: self._change(found) for name, found in resolution.modules.items()}
        applications = {name: self._application(found) for name, found in resolution.applications.items()}
        return ResolvedHop(
            hop=hop, modules=modules, applications=applications, path_moves=self._moves(resolution)
        )

    def _change(self, found: FoundModule) -> ModuleChange:
        return ModuleChange(
            module=found.module,
            from_md5=self._loaded.get(found.module),
            to_md5=found.md5,
            from_file=self._old_file(found.module),
            to_file=str(self._place_of(found.file)),
        )

    def _application(self, found: FoundApplication) -> ApplicationChange:
        gone = [
            ModuleChange(
                module=module,
                from_md5=self._loaded[module],
                to_md5=None,
                from_file=self._old_file(module),
            )
            for module in found.removed
            if module in self._loaded
        ]
        return ApplicationChange(
            application=found.new.name,
            version=found.new.version,
            old_app_file=str(found.old.app_file) if found.old else "",
            new_app_file=str(self._place_of(found.new.app_file)),
            modules=(*(self._change(module) for module in found.modules), *gone),
        )

    def _old_file(self, module: str) -> str | None:
        """The file that holds the very code that runs now; None when there is none: no way back."""
        md5 = self._loaded.get(module)
        if md5 is None:
            return None
        loaded_from = self._files.get(module)
        for file in (Path(loaded_from) if loaded_from else None, self._live.module_file(module)):
            if file is not None and _md5_of(file) == md5:
                return str(file)
        return None

    def _place_of(self, staged: Path) -> Path:
        """Where a file of the staging will lie once it is deployed; a file of the hop's package stays."""
        if staged.is_relative_to(self._target.root):
            return self._deployed / staged.relative_to(self._target.root)
        return staged

    def _moves(self, resolution: Resolution) -> tuple[PathMove, ...]:
        """The ebin folders of the changed applications: old to new."""
        on_path = {_application_of(entry): entry for entry in reversed(self._node.code_path())}
        changed = {
            app.name: app
            for module in resolution.becomes_live()
            if (app := self._target.app_of(module)) is not None
        }
        return tuple(
            PathMove(application=name, old=on_path.get(name), new=str(self._place_of(app.ebin)))
            for name, app in sorted(changed.items())
        )


def _application_of(entry: str) -> str:
    """The application whose ebin folder a code path entry is: `…/lib/emqx-5.10.4/ebin` is emqx."""
    return Path(entry).parent.name.partition("-")[0]


def _md5_of(file: Path) -> str | None:
    try:
        return read_beam(file).md5
    except (OSError, CorruptBeam):
        return None


def _recorded(run: Run, hop: Hop, resolved: ResolvedHop, marker: str | None) -> PlanResolved:
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
            "patches": sorted(path.name for path in (run.house.data_dir / "patches").glob("*.beam")),
        }
    )
    if run.options.plan_id not in (None, identity):
        raise PlanChanged(
            f"The plan {run.options.plan_id} no longer holds: as things are now, it is {identity}.",
            next="Run 'relup plan' again, look at what has changed, and upgrade by the new id.",
        )
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
    )
