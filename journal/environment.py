"""The LMDB environment of one generation: how it is opened, and what its errors mean.

One environment per process, never across a fork. `sync` and `metasync` stay on, `writemap` off; the map is
address space, not disk, so it is large and never resized. The data format is pinned to LMDB 0.9's, which
every tool reads, whatever the environment variables of the machine say.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from weakref import WeakSet

import lmdb
import msgspec

from journal import codec, place
from journal.errors import (
    SALVAGE,
    JournalDamaged,
    JournalError,
    JournalForeign,
    JournalFull,
    JournalNewer,
    JournalPlace,
)
from journal.events import Head

MAP_SIZE_BYTES = 64 * 1024**3
MAX_DBS = 16
MAX_READERS = 126
LOCK_FILE_BYTES = 8192
"""What LMDB makes of MAX_READERS: two pages."""
ENTRIES, META, SNAPSHOTS = b"entries", b"meta", b"snapshots"
_IDENTITY = b"identity"


_open_here: "WeakSet[Environment]" = WeakSet()


def drop_inherited() -> None:
    """In a forked child: let go of the parent's environments, so that the child may open its own.

    None of them is inside a transaction then: no transaction of ours outlives a call.
    """
    for environment in list(_open_here):
        environment.close()


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a generation says of itself, beside its records.

    Attributes:
        anchor: The last record that was dropped; the chain goes on from its hash.
        cleared_at: Sequence number of the HistoryCleared that holds the folded state at the anchor.
    """

    journal_id: str
    format: int
    node: str | None
    root: str
    anchor: Head | None = None
    cleared_at: int | None = None


class Environment:
    """One open generation and its named databases."""

    def __init__(self, generation: Path, *, write: bool, sync: bool = True) -> None:
        """Open it; a writer creates what is missing.

        Args:
            generation: Its folder, which exists.
            write: Whether records will be written.
            sync: False only while a new generation is filled that nobody points to yet.

        Raises:
            JournalError: It cannot be opened; the group says why.
        """
        self.path = generation
        for name in ("data.mdb", "lock.mdb"):
            place.refuse_link(generation / name)
        if not _lock_file_is_allocated(generation):
            place.require_space(generation)
        with translated(generation):
            fresh = write and not (generation / "data.mdb").exists()
            if write and not _lock_file_is_allocated(generation):
                _allocate_lock_file(generation)
            # What exists chooses its own format; naming one is for what does not exist yet.
            choose_format = partial(lmdb.open, lib_version=0) if fresh else lmdb.open
            self.lmdb = choose_format(
                os.fspath(generation),
                map_size=MAP_SIZE_BYTES,
                max_dbs=MAX_DBS,
                max_readers=MAX_READERS,
                mode=0o600,
                create=False,
                readonly=not write,
                sync=sync,
                metasync=sync,
            )
            try:
                self.entries = self.lmdb.open_db(ENTRIES, create=write)
                self.meta = self.lmdb.open_db(META, create=write)
                self.snapshots = self.lmdb.open_db(SNAPSHOTS, create=write)
            except BaseException:
                self.lmdb.close()
                raise
        _open_here.add(self)

    def close(self) -> None:
        """Close it; the object is of no use afterwards."""
        _open_here.discard(self)
        self.lmdb.close()

    def identity(self) -> Identity | None:
        """What the generation says of itself; None in one that was never finished.

        Raises:
            JournalDamaged: It does not read as its own checksum says.
            JournalNewer: A newer relup wrote it.
        """
        with translated(self.path), self.lmdb.begin(db=self.meta) as transaction:
            stored = transaction.get(_IDENTITY)
        if stored is None:
            return None
        return _identity(self.path, stored)

    def write_identity(self, identity: Identity, transaction: "lmdb.Transaction[bytes]") -> None:
        """Put what the generation says of itself into a running transaction."""
        transaction.put(_IDENTITY, sealed(_IDENTITY, msgspec.msgpack.encode(identity)), db=self.meta)


def sealed(label: bytes, payload: bytes) -> bytes:
    """A value outside the chain with its own checksum before it."""
    return codec.chain_hash(codec.GENESIS, label, payload) + payload


def unsealed(label: bytes, stored: bytes) -> bytes | None:
    """The payload of a sealed value; None when the checksum is wrong."""
    payload = stored[codec.HASH_SIZE :]
    return payload if sealed(label, payload) == stored else None


def _identity(path: Path, stored: bytes) -> Identity:
    payload = unsealed(_IDENTITY, stored)
    if payload is None:
        raise JournalDamaged(f"the identity of {path} does not match its checksum", next=SALVAGE)
    written_format = msgspec.msgpack.decode(payload).get("format")
    if written_format != codec.FORMAT:
        raise JournalNewer(
            f"{path} has format {written_format}, this relup writes and reads {codec.FORMAT}",
            next="use the relup that wrote it, or a newer one",
        )
    return msgspec.msgpack.decode(payload, type=Identity)


def require_own(identity: Identity, *, node: str | None, root: str, folder: Path) -> None:
    """Refuse the journal of another node or RootDir.

    Raises:
        JournalForeign: It is another's.
    """
    for what, written, own in (("RootDir", identity.root, root), ("node", identity.node, node)):
        if written is not None and own is not None and written != own:
            raise JournalForeign(
                f"{folder} is the journal of {what} {written}, not of {own}",
                next="if it was copied or moved here on purpose, move it aside and start a fresh one "
                "with `relup journal fresh`",
            )


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what LMDB and the operating system raise into the journal's own errors.

    Raises:
        JournalError: In place of an lmdb.Error or OSError.
    """
    try:
        yield
    except (lmdb.Error, OSError) as error:
        raise _meaning(path, error) from error


def _meaning(path: Path, error: Exception) -> JournalError:
    number = getattr(error, "code", 0) or getattr(error, "errno", 0)
    if isinstance(error, lmdb.DiskError) or number in (errno.ENOSPC, errno.EDQUOT):
        return JournalFull(
            f"no disk space left to write {path}", next="free some disk space, then repeat the command"
        )
    if isinstance(error, lmdb.MapFullError):
        return JournalFull(
            f"{path} has reached its largest size of {MAP_SIZE_BYTES} bytes",
            next="drop ended history with `relup logs-clear`",
        )
    if isinstance(error, lmdb.ReadersFullError):
        return JournalPlace(
            f"{path} has {MAX_READERS} readers already", next="end some of them, then repeat the command"
        )
    if isinstance(error, lmdb.LockError | PermissionError) or number in (
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
    ):
        return JournalPlace(
            f"user id {os.geteuid()} cannot use {path}: {error} (a reader also needs to write lock.mdb, "
            "LMDB's table of readers)",
            next="run the command as the user of the node, or as root",
        )
    return JournalDamaged(f"{path} cannot be used: {error}", next=SALVAGE)


def _lock_file_is_allocated(generation: Path) -> bool:
    try:
        found = (generation / "lock.mdb").stat()
    except OSError:
        return False
    return 0 < found.st_size <= found.st_blocks * 512


def _allocate_lock_file(generation: Path) -> None:
    """Give every page of the reader table its block, so that no later reader dies on a full disk.

    Only before LMDB has opened it: closing any descriptor of the file drops this process's locks on it.
    """
    descriptor = os.open(
        generation / "lock.mdb", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    try:
        os.posix_fallocate(descriptor, 0, LOCK_FILE_BYTES)
    finally:
        os.close(descriptor)
