"""Opening the journal for writing: what is checked, in which order, and how a new one comes to be.

A new journal is durable from its first record: the environment by LMDB, its folders by fsync, and the
pointer to it last, so that a crash in between leaves no journal rather than half of one.
"""

import uuid
from itertools import count
from pathlib import Path

from journal import codec, generation, head_note, place
from journal.environment import Environment, Identity, require_own, translated
from journal.errors import SALVAGE, JournalDamaged
from journal.events import Entry, Head, JournalOpened, Sequence
from journal.reader import read
from journal.store import Clock, Store

EMPTY_ENVIRONMENT_BYTES = 8192
"""LMDB's two meta pages, before anything was committed."""


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
    number = generation.required(folder)
    if number is None:
        return _begin(folder, clock=clock, node=node, root=root, previous_head=None)
    store = Store(folder, number, clock=clock)
    try:
        require_own(store.identity, node=node, root=root, folder=folder)
        generation.sweep(folder, keep=number)
    except BaseException:
        store.close()
        raise
    return store


def start_fresh(folder: Path, *, clock: Clock, node: str | None, root: str) -> tuple[Store, Path]:
    """Move a journal that cannot be trusted aside and begin one that links to its last sound record.

    Args:
        folder: As for `create_or_open`; the caller holds relup's lock here too.

    Returns:
        The new journal, and where the old one lies now.

    Raises:
        JournalError: The new one cannot be begun.
    """
    _require_fit(folder)
    last_sound = read(folder, salvage=True).head()
    aside = _free_name(folder)
    folder.rename(aside)
    place.fsync_folder(folder.parent)
    _make_folders(folder)
    return _begin(folder, clock=clock, node=node, root=root, previous_head=last_sound), aside


def _free_name(folder: Path) -> Path:
    for number in count(1):
        candidate = folder.with_name(f"{folder.name}.aside-{number}")
        if not candidate.exists():
            return candidate
    raise AssertionError("there is always another number")


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
    _remove_unfinished(folder)
    place.require_space(folder)
    first = folder / "1"
    first.mkdir(mode=0o700)
    opened = JournalOpened(
        journal_id=uuid.uuid4().hex, format=codec.FORMAT, node=node, root=root, previous_head=previous_head
    )
    _write_first_record(first, opened, clock)
    place.fsync_folder(first)
    generation.point_to(folder, 1)
    return Store(folder, 1, clock=clock)


def _write_first_record(generation_folder: Path, opened: JournalOpened, clock: Clock) -> None:
    identity = Identity(
        journal_id=opened.journal_id, format=opened.format, node=opened.node, root=opened.root
    )
    entry = Entry(seq=Sequence(1), at=clock(), upgrade_id=None, event=opened)
    stored_key, value = codec.record(entry, previous=codec.GENESIS)
    environment = Environment(generation_folder, write=True)
    try:
        with translated(generation_folder), environment.lmdb.begin(write=True) as transaction:
            transaction.put(stored_key, value, append=True, overwrite=False, db=environment.entries)
            environment.write_identity(identity, transaction)
    finally:
        environment.close()


def _remove_unfinished(folder: Path) -> None:
    """Remove what a crash left of a journal that was never begun; keep anything that holds a history.

    Raises:
        JournalDamaged: There are records, but no pointer to them.
    """
    for number in generation.numbered(folder):
        if number != 1 or _holds_history(folder / str(number)):
            raise JournalDamaged(
                f"{folder} holds a history, but the file `generation` is missing", next=SALVAGE
            )
    (folder / head_note.FILE).unlink(missing_ok=True)
    generation.sweep(folder, keep=0)


def _holds_history(generation_folder: Path) -> bool:
    """Whether there is more than a crash can leave before the pointer was written."""
    file = generation_folder / "data.mdb"
    if not file.exists() or file.stat().st_size <= EMPTY_ENVIRONMENT_BYTES:
        return False
    # For writing, because its databases may not all be there yet.
    environment = Environment(generation_folder, write=True)
    try:
        with translated(generation_folder), environment.lmdb.begin(db=environment.entries) as transaction:
            return transaction.stat(environment.entries)["entries"] > 1
    finally:
        environment.close()
