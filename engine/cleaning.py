"""What may be removed under relup/: trees and leftovers that are neither live, next boot nor fallback."""

import os
from pathlib import Path

import msgspec

from engine.finished import last_success
from engine.history import last_upgrade
from engine.incarnation import is_same
from engine.place import Place
from engine.release.deploy import remove_tree
from engine.release.manifest import manifest_path
from engine.release.staging import leftovers, remove_staging
from engine.reserve import ENTRY_BYTES
from engine.rollback import UNCHANGED
from engine.run import House, leaving
from engine.state import UpgradeState
from engine.truth import Versions, known_trees
from journal.door import Entries
from journal.events import TreeRemoved


class Removable(msgspec.Struct, frozen=True, kw_only=True):
    """One folder under relup/ that nothing needs.

    Attributes:
        bytes: Size of its files.
        why: Why nothing needs it, for people.
    """

    path: Path
    bytes: int
    why: str


def removable(place: Place, versions: Versions, journal: Entries) -> list[Removable]:
    """Everything that may go, in order of the paths.

    Args:
        place: Where to look.
        versions: The facts of now; when what runs is in no known tree, none is removable.
        journal: Tells which upgrade is open and which hop can still be undone.
    """
    needed = _needed(place, versions) | _needed_to_undo(place, versions, journal)
    found = [
        Removable(path=path, bytes=_size(path), why="left behind by an upgrade that ended")
        for path in leftovers(place.relup)
        if path not in needed
    ]
    if versions.live is not None and versions.live.tree is not None:
        trees, _ = known_trees(place)
        found += [
            Removable(path=path, bytes=_size(path), why="neither live, nor booted, nor booted next")
            for path in trees
            if path != place.root and path not in needed
        ]
    return sorted(found, key=lambda each: each.path)


def remove(house: House, items: list[Removable]) -> None:
    """Remove them, one event each.

    Raises:
        JournalFull: There is no room to write it down; nothing was changed.
        BadPlace: A file operation failed; those before it are gone, and written down.
    """
    if not items:
        return
    with leaving(UNCHANGED):
        house.journal.reserve(len(items) * ENTRY_BYTES)
    try:
        for item in items:
            _remove(item)
            with leaving(f"what it ran before; {item.path} is removed, but the journal does not know it"):
                removed = TreeRemoved(path=str(item.path), bytes=item.bytes, by=house.by)
                house.journal.append(removed, upgrade_id=None)
    finally:
        house.journal.release()


def _remove(item: Removable) -> None:
    if item.path.name.startswith("."):
        remove_staging(item.path)
    else:
        remove_tree(item.path)


def _needed(place: Place, versions: Versions) -> set[Path]:
    needed = {place.root}
    if versions.live is not None and versions.live.tree is not None:
        needed.add(versions.live.tree)
    for version in (versions.next_boot, versions.booted, versions.marker):
        if version is not None:
            needed.add(place.tree(version))
    return needed


def _needed_to_undo(place: Place, versions: Versions, journal: Entries) -> set[Path]:
    """What the open upgrade works on, and what the rollback of the finished hop would load again in its VM."""
    state = last_upgrade(journal)
    if state is None or not state.is_open:
        state = last_success(journal)
    if state is None:
        return set()
    staging = place.staging(state.upgrade_id)
    needed = {staging, manifest_path(staging)}
    if state.plan is not None and (state.is_open or _lives(state, versions)):
        needed |= {place.tree(state.plan.from_version), place.tree(state.plan.target_version)}
    return needed


def _lives(state: UpgradeState, versions: Versions) -> bool:
    """The VM of the hop still runs, or nobody can tell."""
    return state.node is None or versions.node is None or is_same(state.node, versions.node)


def _size(path: Path) -> int:
    folders = os.walk(path)
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in folders for name in names)
