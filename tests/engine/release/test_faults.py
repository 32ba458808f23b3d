"""A disk that fails at the k-th operation, for every k of an unpacking and of a deploy."""

import errno
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadPlace
from engine.place import Place
from engine.release import deploy, manifest, space, staging, tree_writer
from engine.release.archive_errors import DuplicateMember
from engine.release.deploy import deploy_tree
from engine.release.errors import NotEnoughInodes, NotEnoughSpace
from engine.release.manifest import Manifest, read_manifest, verify_tree
from engine.release.package import open_package
from engine.release.space import Need, Room, require_room
from engine.release.staging import remove_staging
from fixtures.hostile.case import honest_package
from fixtures.hostile.tarball import file
from tests.engine.release.packages import STAGING, honest, laid, snapshot

_WRITING = ("open", "write", "mkdir", "symlink", "fchmod", "fsync")
_WRITING_PATHS = ("mkdir", "chmod", "rename")


class _FailingDisk:
    """Counts the operations that write, in all modules of the room, and fails one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, failing: int, fault: int) -> None:
        self.count = 0
        self._failing = failing
        self._fault = fault
        disk = self

        class Os:
            def __getattr__(self, name: str) -> Any:
                real = getattr(os, name)
                return disk.counted(real) if name in _WRITING else real

        for module in (tree_writer, staging, manifest, deploy):
            monkeypatch.setattr(module, "os", Os())
        for name in _WRITING_PATHS:
            monkeypatch.setattr(Path, name, self.counted(getattr(Path, name)))

    def counted(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            if self.count == self._failing:
                raise OSError(self._fault, os.strerror(self._fault))
            return operation(*arguments, **named)

        return call


def _unpack(root: Path, tarball: Path) -> Manifest:
    with open_package(tarball) as package:
        return package.unpack(root / STAGING, low_priority=False)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_whichever_operation_of_the_unpacking_fails_nothing_is_left(tmp_path: Path, fault: int) -> None:
    """For every k: an error of ours that speaks of the place, and RootDir as before."""
    tarball = laid(tmp_path, honest(file(b"lib/large", os.urandom(1 << 20))))
    root = tmp_path / "root"
    (root / "relup").mkdir(parents=True)
    (root / "relup" / "current").write_text("5.10.4")
    before = snapshot(root)
    for failing in itertools.count(1):
        with pytest.MonkeyPatch.context() as patched:
            disk = _FailingDisk(patched, failing=failing, fault=fault)
            try:
                _unpack(root, tarball)
            except BadPlace:
                assert disk.count >= failing
            else:
                assert disk.count < failing
                break
        assert snapshot(root) == before, f"operation {failing}"
    assert failing > 25


def test_whichever_operation_of_the_deploy_fails_the_tree_is_whole_or_not_there(tmp_path: Path) -> None:
    """For every k: no tree and a staging that can be removed, or the whole tree."""
    tarball = laid(tmp_path, honest_package())
    for failing in itertools.count(1):
        place = Place(tmp_path / str(failing))
        place.root.mkdir()
        staged = place.root / STAGING
        unpacked = _unpack(place.root, tarball)
        tree = place.tree("5.10.5")
        with pytest.MonkeyPatch.context() as patched:
            _FailingDisk(patched, failing=failing, fault=errno.EIO)
            try:
                deploy_tree(staged, tree, manifest=unpacked, low_priority=False)
            except BadPlace:
                has_failed = True
            else:
                has_failed = False
        if tree.exists():
            assert verify_tree(tree, unpacked) == []
            assert read_manifest(tree) == unpacked
        else:
            assert verify_tree(staged, unpacked) == []
            remove_staging(staged)
        if not has_failed:
            break
    assert failing > 20


def test_a_relup_folder_made_for_a_staging_that_cannot_be_made_goes_again(tmp_path: Path) -> None:
    """mkdir of the staging fails: RootDir is as before, without relup/."""
    tarball = laid(tmp_path, honest_package())
    root = tmp_path / "root"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patched:
        _FailingDisk(patched, failing=2, fault=errno.ENOSPC)
        with pytest.raises(NotEnoughSpace):
            _unpack(root, tarball)
    assert list(root.iterdir()) == []


def test_a_staging_that_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal stays what it is; what to do next names the folder that is left."""
    tarball = laid(tmp_path, honest(file(b"bin/emqx")))
    (tmp_path / "root").mkdir()

    def broken(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shutil, "rmtree", broken)
    with pytest.raises(DuplicateMember) as refused:
        _unpack(tmp_path / "root", tarball)
    assert str(tmp_path / "root" / STAGING) in refused.value.next
    assert "Input/output error" in refused.value.next


def test_a_disk_without_room_is_refused_before_the_first_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size in gzip's trailer and a tenth more must be free; nothing is left."""
    tarball = laid(tmp_path, honest(file(b"lib/large", bytes(100_000))))
    (tmp_path / "root").mkdir()
    monkeypatch.setattr(space, "room_at", lambda _: Room(bytes=105_000, inodes=None))
    with pytest.raises(NotEnoughSpace):
        _unpack(tmp_path / "root", tarball)
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize(
    ("room", "refusal"),
    [
        (Room(bytes=1100, inodes=10), None),
        (Room(bytes=1099, inodes=10), NotEnoughSpace),
        (Room(bytes=1100, inodes=9), NotEnoughInodes),
        (Room(bytes=1100, inodes=None), None),
    ],
)
def test_a_tenth_more_than_the_tree_must_be_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: Room, refusal: type[BadPlace] | None
) -> None:
    """Bytes with a margin, inodes exactly, and no question of inodes where a filesystem makes them as needed."""
    monkeypatch.setattr(space, "room_at", lambda _: room)
    if refusal is None:
        require_room(tmp_path, Need(bytes=1000, inodes=10))
    else:
        with pytest.raises(refusal):
            require_room(tmp_path, Need(bytes=1000, inodes=10))


def test_room_is_asked_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    """RootDir/relup may not be there yet; the real numbers of the filesystem come back."""
    status = os.statvfs(tmp_path)
    room = space.room_at(tmp_path / "not" / "yet")
    assert room.bytes <= status.f_blocks * status.f_frsize
    assert room.bytes > 0
