"""The file side of an upgrade: staging, deploying, the marker, and taking them back.

The manifest of a staged tree lies beside it from the moment it is complete, so that a later run can tell a
whole staging from a torn one.
"""

from pathlib import Path

from engine.errors import BadPlace, StepFailure
from engine.failures import advice_of
from engine.incarnation import require_same
from engine.release.deploy import deploy_tree, remove_tree
from engine.release.errors import StagingDamaged, TargetTreeExists
from engine.release.marker import read_marker, remove_marker, write_marker
from engine.release.package import Package
from engine.release.staging import remains, remove_staging
from engine.run import Run
from journal.events import Evidence


def verify(run: Run, package: Package) -> Evidence:
    """The package's digest equals its sidecar's."""
    progress = run.house.progress
    progress.total(package.size, unit="bytes")
    sha256 = package.verify(
        progress.reached, interrupted=lambda: asked_to_stop(run), low_priority=not run.options.full_speed
    )
    run.package_sha256 = sha256
    return Evidence(sha256=sha256, bytes=package.size)


def unpack(run: Run, package: Package) -> Evidence:
    """The runtime folders of the package lie in the staging folder, their manifest beside it."""
    staging = run.house.place.staging(run.upgrade_id)
    progress = run.house.progress
    progress.total(package.size, unit="bytes")
    manifest = package.unpack(
        staging,
        progress=progress.reached,
        interrupted=lambda: asked_to_stop(run),
        low_priority=not run.options.full_speed,
    )
    run.manifest = manifest
    return Evidence(
        path=str(staging),
        members=len(manifest.files),
        bytes=manifest.total_bytes,
        manifest_sha256=manifest.digest,
    )


def discard_staging(run: Run) -> None:
    """Nothing of the staging is left."""
    _remove(run, run.house.place.staging(run.upgrade_id))


def tidy(run: Run) -> None:
    """Nothing lies about under relup/ that an interrupted write or removal has left."""
    discard_staging(run)
    for path in remains(run.house.place.relup):
        _remove(run, path)


def _remove(run: Run, path: Path) -> None:
    """What cannot be removed is told, and is no reason to call the upgrade anything else."""
    try:
        remove_staging(path)
    except BadPlace as fault:
        run.house.progress.note(f"{fault.happened}; 'relup clean' removes what is left")


def asked_to_stop(run: Run) -> bool:
    return run.house.interrupts() > 0


def deploy(run: Run, version: str) -> Evidence:
    """The staged tree gets its name, durably. A tree of that version that neither runs nor boots gives way.

    Raises:
        StepFailure: It cannot, and nothing was done: a tree is in the way, or the staging is damaged.
        BadPlace: A file operation failed.
    """
    place = run.house.place
    tree = place.tree(version)
    if run.manifest is not None:
        synced = sum(entry.kind != "symlink" for entry in run.manifest.entries)
        run.house.progress.total(synced + 1, unit="files and folders")  # and the tree's own
    try:
        manifest = deploy_tree(
            place.staging(run.upgrade_id),
            tree,
            manifest=run.manifest,
            replaceable=not is_in_use(run, tree),
            progress=run.house.progress.reached,
            low_priority=not run.options.full_speed,
        )
    except (TargetTreeExists, StagingDamaged) as refusal:
        raise StepFailure(refusal.happened, next=refusal.next, name=refusal.name, reverted=True) from refusal
    return Evidence(path=str(tree), manifest_sha256=manifest.digest)


def is_in_use(run: Run, tree: Path) -> bool:
    """The tree runs, or boots next."""
    boots_next = read_marker(run.house.place.root).version == tree.name
    return boots_next or Path(run.node.observe().boot_tree) == tree


def remove_deployed(run: Run, version: str) -> Evidence:
    """Remove the deployed tree and what is left of the staging.

    Raises:
        StepFailure: It runs, or boots next.
    """
    place = run.house.place
    tree = place.tree(version)
    if is_in_use(run, tree):
        raise StepFailure(
            f"The tree {tree} runs or boots next and is not removed.",
            name="tree_in_use",
            next=advice_of("tree_in_use"),
            reverted=True,
        )
    remove_tree(tree)
    return Evidence(path=str(tree))


def make_permanent(run: Run, version: str) -> Evidence:
    """The next start boots `version`.

    Raises:
        NodeUnreachable: The VM that was upgraded is gone: the base release boots again, as it did with it.
    """
    require_same(run.state.node, run.node.observe())
    write_marker(run.house.place.root, version)
    return Evidence(path=str(run.house.place.marker))


def restore_marker(run: Run) -> Evidence:
    """relup/current is as it was before the hop."""
    assert run.state.plan is not None, "only a planned upgrade writes the marker"
    put_marker_back(run.house.place.root, run.state.plan.previous_marker)
    return Evidence(path=str(run.house.place.marker))


def put_marker_back(root: Path, previous: str | None) -> None:
    """Write the marker that was there, or remove the one that is there now."""
    if previous is None:
        remove_marker(root)
    else:
        write_marker(root, previous)
