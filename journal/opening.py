"""Opening the journal for writing: what is checked, in which order, and how a new one comes to be.

A new journal is durable from its first record: the environment by LMDB, its folders by fsync, and the
pointer to it last, so that a crash in between leaves no journal rather than half of one.
"""

import uuid
from pathlib import Path

from journal import codec, generation, place
from journal.environment import Identity, require_own, translated
from journal.errors import SALVAGE, JournalDamaged
from journal.events import Head, JournalOpened
from journal.store import Clock, Store


def create_or_open(folder: Path, *, clock: Clock, node: str | None, root: str) -> Store:
    """Open the journal of a RootDir for writing, or begin one.

    Args:
        folder: `<RootDir>/relup/journal`; its parent may be missing too, RootDir not.
        clock: Nanoseconds since the epoch.
        node: The node's name, None when it is not known.
        root: RootDir, resolved.

    The caller holds relup's lock.

    Raises:
        JournalError: It cannot be trusted or used; the group says why. Nothing was changed.
    """
    _require_fit(folder)
    _make_folders(folder)
    number = generation.current(folder)
    if number is None:
        return _begin(folder, clock=clock, node=node, root=root, previous_head=None)
    store = Store(folder, number, clock=clock)
    try:
        if store.identity is None:
            raise JournalDamaged(f"generation {number} of {folder} has no identity", next=SALVAGE)
        require_own(store.identity, node=node, root=root, folder=folder)
        generation.sweep(folder, keep=number)
    except BaseException:
        store.close()
        raise
    return store


def _require_fit(folder: Path) -> None:
    place.refuse_link(folder.parent)
    place.refuse_link(folder)
    place.refuse_network(folder)
    if folder.exists():
        place.refuse_others(folder)


def _make_folders(folder: Path) -> None:
    for path, mode in ((folder.parent, 0o755), (folder, 0o700)):
        if not path.exists():
            place.require_space(path.parent)
            path.mkdir(mode=mode)
            place.fsync_folder(path.parent)


def _begin(folder: Path, *, clock: Clock, node: str | None, root: str, previous_head: Head | None) -> Store:
    _remove_unfinished(folder, clock)
    first = folder / "1"
    first.mkdir(mode=0o700)
    store = Store(folder, 1, clock=clock)
    try:
        identity = Identity(journal_id=uuid.uuid4().hex, format=codec.FORMAT, node=node, root=root)
        with translated(folder), store.environment.lmdb.begin(write=True) as transaction:
            store.environment.write_identity(identity, transaction)
        store.identity = identity
        store.append(
            JournalOpened(
                journal_id=identity.journal_id,
                format=codec.FORMAT,
                node=node,
                root=root,
                previous_head=previous_head,
            ),
            upgrade_id=None,
        )
        store.settle()
        place.fsync_folder(first)
        generation.point_to(folder, 1)
    except BaseException:
        store.close()
        raise
    return store


def _remove_unfinished(folder: Path, clock: Clock) -> None:
    """Remove what a crash left of a journal that was never begun; keep anything that holds a history.

    Raises:
        JournalDamaged: There are records, but no pointer to them.
    """
    for number in generation.numbered(folder):
        try:
            store = Store(folder, number, clock=clock)
        except JournalDamaged as error:
            raise _lost_pointer(folder) from error
        head = store.head()
        store.close()
        if head is not None and head.seq > 1:
            raise _lost_pointer(folder)
    (folder / "head").unlink(missing_ok=True)
    generation.sweep(folder, keep=0)


def _lost_pointer(folder: Path) -> JournalDamaged:
    return JournalDamaged(f"{folder} holds a history, but the file `generation` is missing", next=SALVAGE)
