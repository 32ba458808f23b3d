"""From the staging to the tree: whole or not there, durable first, and removed without half a tree in its name."""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from engine.place import Place
from engine.release import deploy as deploying
from engine.release.deploy import deploy_tree, remove_tree
from engine.release.errors import CannotReadManifest, CannotWriteTree, StagingDamaged, TargetTreeExists
from engine.release.manifest import (
    Difference,
    Manifest,
    manifest_path,
    read_manifest,
    verify_tree,
    write_manifest,
)
from engine.release.package import open_package
from engine.release.staging import leftovers, remains, remove_staging
from fixtures.hostile.case import honest_package
from tests.engine.release.packages import STAGING, laid, snapshot


class _Room:
    """A RootDir with a package unpacked into its staging."""

    def __init__(self, tmp_path: Path) -> None:
        self.place = Place(tmp_path / "root")
        self.place.root.mkdir()
        self.tree = self.place.tree("5.10.5")
        self.staging = self.place.root / STAGING
        self._tarball = laid(tmp_path, honest_package())
        self.manifest = self.unpack()

    def unpack(self) -> Manifest:
        with open_package(self._tarball) as package:
            return package.unpack(self.staging)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.place.relup.iterdir())


@pytest.fixture
def room(tmp_path: Path) -> _Room:
    return _Room(tmp_path)


def test_the_staged_tree_gets_its_name_with_its_manifest_beside_it(room: _Room) -> None:
    """After the deploy relup/ holds the tree and its manifest, and nothing of the staging."""
    staged = snapshot(room.staging)
    assert deploy_tree(room.staging, room.tree) == room.manifest
    assert snapshot(room.tree) == staged
    assert room.names() == [".5.10.5.manifest", "5.10.5"]
    assert read_manifest(room.tree) == room.manifest
    assert verify_tree(room.tree, room.manifest) == []
    assert stat.S_IMODE(room.tree.stat().st_mode) == 0o755


def test_a_tree_that_is_there_is_not_replaced_unasked(room: _Room) -> None:
    """It may run or boot next: refused, and both are as they were."""
    room.tree.mkdir()
    (room.tree / "theirs").write_text("kept")
    before = snapshot(room.place.relup)
    with pytest.raises(TargetTreeExists):
        deploy_tree(room.staging, room.tree)
    assert snapshot(room.place.relup) == before


def test_a_replaceable_tree_is_put_aside_and_removed(room: _Room) -> None:
    """The old tree of the same version is gone whole, the new one is there whole."""
    deploy_tree(room.staging, room.tree)
    (room.tree / "bin" / "old").write_text("old")
    room.unpack()
    deploy_tree(room.staging, room.tree, replaceable=True)
    assert verify_tree(room.tree, room.manifest) == []
    assert room.names() == [".5.10.5.manifest", "5.10.5"]


class _Death(BaseException):
    """Nothing of ours may catch it."""


class _Breaking:
    """The k-th rename is the last thing that is tried: it is not done, or done, and then this is raised."""

    def __init__(self, patched: pytest.MonkeyPatch, at: int, fault: BaseException, *, done: bool) -> None:
        self.count = 0
        real = Path.rename

        def rename(source: Path, target: Path) -> Path:
            self.count += 1
            if self.count == at and not done:
                raise fault
            renamed = real(source, target)
            if self.count == at:
                raise fault
            return renamed

        patched.setattr(Path, "rename", rename)


def _replacing(room: _Room, at: int, fault: BaseException, *, done: bool = False) -> bool:
    """Deploy over a tree that is there, breaking off at a rename; did it break off?"""
    with pytest.MonkeyPatch.context() as patched:
        breaking = _Breaking(patched, at, fault, done=done)
        try:
            deploy_tree(room.staging, room.tree, replaceable=True)
        except (CannotWriteTree, _Death):
            assert breaking.count >= at
            return True
    assert breaking.count < at
    return False


RENAMES = 6
"""The new manifest when it is written, the older tree, its manifest, the new manifest, the new tree; one for none."""


def _older_tree(room: _Room, *, manifest: bool) -> Manifest | None:
    """Another tree of the same version, perhaps without a manifest."""
    deploy_tree(room.staging, room.tree)
    (room.tree / "bin" / "emqx").write_bytes(b"older")
    manifest_path(room.tree).unlink()
    room.unpack()
    if not manifest:
        return None
    entries = tuple(
        msgspec.structs.replace(entry, sha256=hashlib.sha256(b"older").hexdigest(), size=5)
        if entry.path == "bin/emqx"
        else entry
        for entry in room.manifest.entries
    )
    older = msgspec.structs.replace(room.manifest, entries=entries)
    write_manifest(room.tree, older)
    assert verify_tree(room.tree, older) == []
    return older


@pytest.mark.parametrize("manifest", [True, False], ids=["with-manifest", "without"])
@pytest.mark.parametrize("at", range(1, RENAMES + 1))
def test_a_tree_that_could_not_be_replaced_is_there_as_before(room: _Room, at: int, manifest: bool) -> None:
    """Whichever rename fails: the older tree has its name and its own manifest, the staging is whole."""
    _older_tree(room, manifest=manifest)
    room.staging.chmod(0o755)
    before = snapshot(room.place.relup)
    if _replacing(room, at, OSError(errno.EIO, "Input/output error")):
        for leftover in remains(room.place.relup):
            remove_staging(leftover)
        assert snapshot(room.place.relup) == before
        deploy_tree(room.staging, room.tree, replaceable=True)
    assert read_manifest(room.tree) == room.manifest
    assert verify_tree(room.tree, room.manifest) == []
    assert room.names() == [".5.10.5.manifest", "5.10.5"]


@pytest.mark.parametrize("at", [1, 2])
def test_a_tree_whose_giving_way_cannot_be_made_durable_is_there_as_before(
    room: _Room, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """The folder cannot be synced after the older tree gave way, or after the new manifest took its place."""
    _older_tree(room, manifest=True)
    room.staging.chmod(0o755)
    before = snapshot(room.place.relup)
    left = [at]

    def broken(folder: Path) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(deploying, "_sync_folder", broken)
    with pytest.raises(CannotWriteTree):
        deploy_tree(room.staging, room.tree, replaceable=True)
    for leftover in remains(room.place.relup):
        remove_staging(leftover)
    assert snapshot(room.place.relup) == before


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, RENAMES + 1))
def test_a_death_while_a_tree_is_replaced_leaves_no_tree_with_anothers_manifest(
    room: _Room, at: int, done: bool
) -> None:
    """Either tree has its own beside it, or none has the name; deployed again, the new one is there whole."""
    _older_tree(room, manifest=True)
    broke_off = _replacing(room, at, _Death(), done=done)
    beside = read_manifest(room.tree)
    assert not room.tree.exists() or (beside is not None and verify_tree(room.tree, beside) == [])
    if broke_off and room.staging.exists():
        deploy_tree(room.staging, room.tree, replaceable=True)
    for leftover in leftovers(room.place.relup):
        remove_staging(leftover)
    assert read_manifest(room.tree) == room.manifest
    assert verify_tree(room.tree, room.manifest) == []
    assert room.names() == [".5.10.5.manifest", "5.10.5"]


def test_everything_is_on_disk_before_the_tree_has_its_name(
    room: _Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file and folder of the staging is fsynced, then renamed, then the folder above is fsynced."""
    done: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    def rename(source: Path, target: Path) -> Path:
        done.append(f"rename to {target.name}")
        return real_rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    deploy_tree(room.staging, room.tree)
    named = done.index("rename to 5.10.5")
    regular = {f"{room.staging}/{entry.path}" for entry in room.manifest.entries if entry.kind != "symlink"}
    assert regular | {str(room.staging)} <= set(done[:named])
    assert done.index("rename to .5.10.5.manifest") < named
    assert str(room.place.relup) in done[named:]


def test_progress_counts_the_entries_on_disk(room: _Room) -> None:
    """One count for each file and folder, up to all of them and the top."""
    told: list[int] = []
    deploy_tree(room.staging, room.tree, progress=told.append)
    folders_and_files = [entry for entry in room.manifest.entries if entry.kind != "symlink"]
    assert told == list(range(1, len(folders_and_files) + 2))


def _edit(staging: Path) -> None:
    (staging / "bin/emqx").write_bytes(b"#!/bin/no\n")


def _cut(staging: Path) -> None:
    os.truncate(staging / "lib/emqx-5.10.5/ebin/emqx.beam", 0)


def _forget_manifest(staging: Path) -> None:
    manifest_path(staging).unlink()


@pytest.mark.parametrize("damage", [_edit, _cut, _forget_manifest])
def test_a_staging_left_by_an_earlier_run_is_compared_first(
    room: _Room, damage: Callable[[Path], None]
) -> None:
    """What a power cut or a hand has changed is not deployed."""
    damage(room.staging)
    with pytest.raises(StagingDamaged):
        deploy_tree(room.staging, room.tree)
    assert not room.tree.exists()


def test_a_tree_is_removed_with_its_manifest(room: _Room) -> None:
    """Afterwards relup/ is as before the upgrade; a second removal does nothing."""
    deploy_tree(room.staging, room.tree)
    remove_tree(room.tree)
    assert room.names() == []
    remove_tree(room.tree)


def test_a_removal_that_breaks_off_leaves_no_tree_under_its_name(
    room: _Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name goes first; what is left is listed as a leftover."""
    deploy_tree(room.staging, room.tree)

    def broken(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shutil, "rmtree", broken)
    with pytest.raises(CannotWriteTree):
        remove_tree(room.tree)
    assert not room.tree.exists()
    assert [path.name for path in leftovers(room.place.relup)] == [".5.10.5.manifest", ".removed-5.10.5-0"]


def test_a_link_in_the_place_of_a_tree_is_removed_and_not_followed(room: _Room, tmp_path: Path) -> None:
    """What it leads to is left alone."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    room.tree.symlink_to(elsewhere)
    remove_tree(room.tree)
    assert not room.tree.is_symlink()
    assert (elsewhere / "kept").read_text() == "kept"


def test_leftovers_are_staging_folders_and_half_removed_trees(room: _Room) -> None:
    """Deployed trees, their manifests, the marker and the journal are none."""
    deploy_tree(room.staging, room.tree)
    room.unpack()
    (room.place.relup / "journal").mkdir()
    room.place.marker.write_text("5.10.5")
    assert leftovers(room.place.relup) == sorted([room.staging, manifest_path(room.staging)])
    remove_staging(room.staging)
    assert leftovers(room.place.relup) == []
    assert leftovers(room.place.root / "none") == []
    remove_staging(room.staging)


def test_every_leftover_can_be_removed(room: _Room) -> None:
    """A staging, a manifest without its staging, a half-removed tree, a link: whatever the list names."""
    manifest_path(room.staging).rename(manifest_path(room.staging.with_name(".staging-gone")))
    room.place.relup.joinpath(".removed-5.10.4-0", "bin").mkdir(parents=True)
    room.place.relup.joinpath(".staging-link").symlink_to(room.place.root)
    for leftover in leftovers(room.place.relup):
        remove_staging(leftover)
    assert room.names() == []
    assert room.place.root.is_dir()


def _chmod(tree: Path) -> None:
    (tree / "bin/emqx").chmod(0o700)


def _retarget(tree: Path) -> None:
    (tree / "lib/emqx").unlink()
    (tree / "lib/emqx").symlink_to("elsewhere")


def _folder_for_file(tree: Path) -> None:
    (tree / "bin/emqx").unlink()
    (tree / "bin/emqx").mkdir()


def _grow(tree: Path) -> None:
    (tree / "bin/emqx").write_bytes(b"longer than before")


def _delete(tree: Path) -> None:
    (tree / "bin/emqx").unlink()


def _add(tree: Path) -> None:
    (tree / "bin/more").mkdir()
    (tree / "bin/more/x").write_text("x")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_edit, [Difference("bin/emqx", "contents")]),
        (_chmod, [Difference("bin/emqx", "mode")]),
        (_grow, [Difference("bin/emqx", "size")]),
        (_delete, [Difference("bin/emqx", "missing")]),
        (_folder_for_file, [Difference("bin/emqx", "kind")]),
        (_retarget, [Difference("lib/emqx", "target")]),
        (_add, [Difference("bin/more", "extra"), Difference("bin/more/x", "extra")]),
    ],
)
def test_every_difference_from_the_manifest_is_seen(
    room: _Room, change: Callable[[Path], None], found: list[Difference]
) -> None:
    """Contents, mode, size, kind, target, what is missing and what is too much."""
    deploy_tree(room.staging, room.tree)
    change(room.tree)
    assert verify_tree(room.tree, room.manifest) == found


def test_a_missing_tree_differs_by_every_entry(room: _Room) -> None:
    """Nothing there: everything is missing."""
    assert {found.what for found in verify_tree(room.tree, room.manifest)} == {"missing"}
    assert len(verify_tree(room.tree, room.manifest)) == len(room.manifest.entries)


@pytest.mark.parametrize("content", [b"", b"{", b'{"format":1}', b"\xff\xfe"])
def test_a_damaged_manifest_is_said(room: _Room, content: bytes) -> None:
    """Not taken for "no manifest"."""
    manifest_path(room.staging).write_bytes(content)
    with pytest.raises(CannotReadManifest):
        read_manifest(room.staging)
    assert read_manifest(room.tree) is None


def test_a_failed_fsync_keeps_the_tree_unnamed(room: _Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO while syncing: refused, the staging still there to be removed."""

    def broken(path: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(deploying, "_sync", broken)
    with pytest.raises(CannotWriteTree):
        deploy_tree(room.staging, room.tree)
    assert not room.tree.exists()
    assert room.staging.is_dir()
