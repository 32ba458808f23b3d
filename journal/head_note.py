"""The note of the newest record that lies beside the environment.

LMDB's pages carry no checksum: a bit that flips in its root, or an older copy of the file, shows an older
journal that is whole in itself. So after each durable append the head is written into a small file as well.
It is not waited for (a machine that loses power may find an older note, never a newer one), so it is no
proof of anything but this: whatever it names was once acknowledged and must still be there.
"""

import os
from contextlib import suppress
from pathlib import Path

import lmdb

from journal import walk
from journal.environment import Identity
from journal.errors import SALVAGE, JournalDamaged
from journal.events import Head

FILE = "head"


class HeadNote:
    """The writer's hand on the note."""

    def __init__(self, folder: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(folder / FILE, flags, 0o600), "r+b", buffering=0)

    def write(self, seq: int, chain_hash: bytes) -> None:
        """Note a record that is durable; one write in place, not waited for.

        A note that cannot be written is an older note: the record it would name is acknowledged all the same.
        """
        with suppress(OSError):
            os.pwrite(self._file.fileno(), b"%020d %s\n" % (seq, chain_hash.hex().encode()), 0)

    def settle(self) -> None:
        """Wait until the note is durable too."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def noted(folder: Path) -> Head | None:
    """The head that was noted last; None without a note, or with one that a crash left unreadable."""
    try:
        seq, _, chain_hash = (folder / FILE).read_text(errors="replace").strip().partition(" ")
    except OSError:
        return None
    if not seq.isdecimal() or len(chain_hash) != 64:
        return None
    return Head(seq=int(seq), hash=chain_hash)


def require_whole(
    transaction: "lmdb.Transaction[bytes]",
    identity: Identity,
    found: Head | None,
    note: Head | None,
    folder: Path,
) -> Head:
    """Refuse a journal that has no record, or lacks one which was acknowledged.

    Args:
        transaction: A read of the entries, begun after the note was read.
        found: The head it shows.

    Returns:
        That head.

    Raises:
        JournalDamaged: The noted record is not there, or is another one.
    """
    if found is None or found == identity.anchor:
        raise JournalDamaged(f"{folder} holds no record, but a journal begins with one", next=SALVAGE)
    if note is None or note.seq < walk.first_kept(identity) - 1:
        return found
    if note.seq > found.seq:
        raise _missing_records(folder, note, found)
    if walk.hash_of(transaction, identity, note.seq).hex() != note.hash:
        raise _missing_records(folder, note, found)
    return found


def _missing_records(folder: Path, noted_head: Head, found: Head) -> JournalDamaged:
    """The error for a journal that lacks what was once acknowledged."""
    return JournalDamaged(
        f"{folder} ends at record {found.seq}, but record {noted_head.seq} ({noted_head.hash[:16]}…) was "
        "acknowledged: its newest records are lost or an older copy was put in its place",
        next=SALVAGE,
        seq=noted_head.seq,
    )
