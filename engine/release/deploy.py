"""From a staging folder to the tree of a version: everything on disk first, then one rename.

A tree is never copied and never half there under its final name; one that is taken away leaves its name
before its first file goes. Which tree runs or boots next is known to the caller alone.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from engine.release.errors import StagingDamaged, TargetTreeExists
from engine.release.faults import cannot_write
from engine.release.manifest import Manifest, manifest_path, read_manifest, verify_tree, write_manifest
from engine.release.priority import lower_this_thread
from engine.release.staging import REMOVED_PREFIX

_SYNCING_THREADS = 8
_DOING = "deploying the target release"


def deploy_tree(
    staging: Path,
    tree: Path,
    *,
    manifest: Manifest | None = None,
    replaceable: bool = False,
    progress: Callable[[int], None] = lambda _: None,
    low_priority: bool = True,
) -> Manifest:
    """Make a staged tree durable and give it its name; it is on disk, with its manifest, on return.

    Args:
        staging: As `Package.unpack` left it, beside where `tree` will be.
        tree: `<RootDir>/relup/<version>`.
        manifest: From the same `unpack`, when this process did it. Else the one beside the staging is
            taken, and the staging compared with it first: it may have lived through a power cut.
        replaceable: A tree of that version that is already there neither runs nor boots next.
        progress: Told how many of the manifest's entries are on disk; from several threads, one at a time.

    Returns:
        The manifest of the tree.

    Raises:
        TargetTreeExists: There is a tree and it is not replaceable; nothing was changed.
        StagingDamaged: The staging is not what was unpacked.
        BadPlace: A file operation failed; the staging is still there.
    """
    if os.path.lexists(tree) and not replaceable:
        raise TargetTreeExists(
            f"the tree {tree} is already there", next="Run 'relup clean', or restart into it."
        )
    manifest = manifest or _checked_manifest(staging)
    try:
        staging.chmod(0o755)
        _sync_all(staging, manifest, progress=progress, low_priority=low_priority)
        _name(staging, tree, manifest)
    except OSError as fault:
        raise cannot_write(fault, _DOING) from fault
    return manifest


def _name(staging: Path, tree: Path, manifest: Manifest) -> None:
    """Give the staging its name; a tree that has it gives way first, and has it again when this fails.

    Wherever this breaks off, no tree has another one's manifest beside it. What needs room is written before
    the first rename.
    """
    nobody = tree.with_name(f".naming-{tree.name}")
    write_manifest(nobody, manifest)
    aside = _put_aside_whole(tree) if os.path.lexists(tree) else None
    try:
        _move_manifest(nobody, tree)
        _sync_folder(tree.parent)
        staging.rename(tree)
    except OSError:
        manifest_path(tree).unlink(missing_ok=True)
        if aside is not None:
            _move_manifest(aside, tree)
            aside.rename(tree)
        raise
    _sync_folder(tree.parent)
    manifest_path(staging).unlink(missing_ok=True)
    if aside is not None:
        _remove(aside)
        manifest_path(aside).unlink(missing_ok=True)


def remove_tree(tree: Path) -> None:
    """Remove a deployed tree with its manifest; nothing to do when it is not there.

    Raises:
        BadPlace: A file operation failed; what is left no longer has the name of a tree.
    """
    try:
        if os.path.lexists(tree):
            _remove(_put_aside(tree))
        manifest_path(tree).unlink(missing_ok=True)
        if tree.parent.is_dir():
            _sync_folder(tree.parent)
    except OSError as fault:
        raise cannot_write(fault, f"removing the tree {tree}") from fault


def _checked_manifest(staging: Path) -> Manifest:
    manifest = read_manifest(staging)
    if manifest is None:
        raise _damaged(staging, "its manifest is missing")
    if found := verify_tree(staging, manifest):
        raise _damaged(staging, f"{found[0].path}: {found[0].what}, and {len(found) - 1} more differences")
    return manifest


def _damaged(staging: Path, how: str) -> StagingDamaged:
    return StagingDamaged(
        f"the staging folder {staging} is not what was unpacked ({how})",
        next="Roll back with 'relup recover --rollback' and start the upgrade again.",
    )


def _sync_all(top: Path, manifest: Manifest, *, progress: Callable[[int], None], low_priority: bool) -> None:
    """Bring every file and folder of a tree to the disk, several at a time.

    No syncfs: it would also flush, and wait for, what the broker is writing.
    """
    queue = _Queue(_paths(top, manifest), progress)

    def work() -> None:
        while (path := queue.next()) is not None:
            try:
                _sync(path)
            except BaseException:
                queue.close()
                raise
            queue.note_done()

    lower = lower_this_thread if low_priority else None
    with ThreadPoolExecutor(_SYNCING_THREADS, initializer=lower) as pool:
        for worker in [pool.submit(work) for _ in range(_SYNCING_THREADS)]:
            worker.result()


def _paths(top: Path, manifest: Manifest) -> Iterator[str]:
    for entry in manifest.entries:
        if entry.kind != "symlink":
            yield f"{top}/{entry.path}"
    yield str(top)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Queue:
    """Paths for several threads, handed out one by one; a pool's own queue would hold all of them at once."""

    def __init__(self, paths: Iterator[str], progress: Callable[[int], None]) -> None:
        self._paths = paths
        self._progress = progress
        self._lock = threading.Lock()
        self._done = 0

    def next(self) -> str | None:
        with self._lock:
            return next(self._paths, None)

    def close(self) -> None:
        """Hand out no more."""
        with self._lock:
            self._paths = iter(())

    def note_done(self) -> None:
        with self._lock:
            self._done += 1
            self._progress(self._done)


def _put_aside(tree: Path) -> Path:
    aside = _free_name_beside(tree)
    tree.rename(aside)
    _sync_folder(tree.parent)
    return aside


def _put_aside_whole(tree: Path) -> Path:
    """The tree and then its manifest; both stay when one of them cannot be moved."""
    aside = _free_name_beside(tree)
    try:
        tree.rename(aside)
        _sync_folder(tree.parent)
        _move_manifest(tree, aside)
    except OSError:
        if os.path.lexists(aside):
            aside.rename(tree)
        raise
    return aside


def _free_name_beside(tree: Path) -> Path:
    for number in range(1000):
        aside = tree.with_name(f"{REMOVED_PREFIX}{tree.name}-{number}")
        if not os.path.lexists(aside):
            return aside
    raise OSError(0, f"too many half-removed trees beside {tree}")


def _move_manifest(tree: Path, to: Path) -> None:
    """The manifest of a tree, where it has one, becomes that of another name."""
    with suppress(FileNotFoundError):
        manifest_path(tree).rename(manifest_path(to))


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    else:
        shutil.rmtree(path)


def _sync_folder(folder: Path) -> None:
    _sync(str(folder))
