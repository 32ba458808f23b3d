"""The file side of an upgrade: staging, deploying, the marker, and taking them back.

The manifest of a staged tree lies beside it from the moment it is complete, so that a later run can tell a
whole staging from a torn one.
"""

from pathlib import Path

from engine.errors import StepFailure
from engine.release.deploy import deploy as deploy_tree
from engine.release.deploy import remove_tree
from engine.release.manifest import Manifest, manifest_path, read_manifest, verify_tree
from engine.release.marker import read_marker, remove_marker, write_marker
from engine.release.package import Package
from engine.run import Run
from journal.events import Evidence


def verify(run: Run, package: Package) -> Evidence:
    """The package's digest equals its sidecar's."""
    progress = run.house.progress
    progress.total(package.size, unit="bytes")
    sha256 = package.verify(
        progress.reached, interrupted=lambda: asked_to_stop(run), low_priority=not run.options.full_speed
    )
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
    manifest_path(staging).write_bytes(manifest.encoded())
    return Evidence(
        path=str(staging), members=manifest.files, bytes=manifest.size, manifest_sha256=manifest.digest()
    )


def asked_to_stop(run: Run) -> bool:
    return run.house.interrupts() > 0


def deploy(run: Run, version: str) -> Evidence:
    """The staged tree gets its name, durably. A tree of that version that neither runs nor boots gives way."""
    place = run.house.place
    staging, tree = place.staging(run.upgrade_id), place.tree(version)
    manifest = staged_manifest(staging)
    progress = run.house.progress
    progress.total(len(manifest.entries), unit="files")
    deploy_tree(
        staging,
        tree,
        manifest=manifest,
        replaceable=not is_in_use(run, tree),
        progress=progress.reached,
        low_priority=not run.options.full_speed,
    )
    manifest_path(staging).unlink(missing_ok=True)
    return Evidence(path=str(tree), manifest_sha256=manifest.digest())


def staged_manifest(staging: Path) -> Manifest:
    """The manifest of a staging folder that is as it was unpacked.

    Raises:
        StepFailure: It is not, or there is none.
    """
    manifest = read_manifest(staging)
    if manifest is None or any(verify_tree(staging, manifest)):
        raise StepFailure(
            f"The staging folder {staging} is not what was unpacked.",
            name="staging_damaged",
            next="Upgrade again from the package.",
            reverted=True,
        )
    return manifest


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
            next="Look at 'relup status'.",
            reverted=True,
        )
    remove_tree(tree)
    return Evidence(path=str(tree))


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
