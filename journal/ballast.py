"""Disk space put aside before live steps, so that a full disk cannot stop the record of what was done."""

import errno
import os
from pathlib import Path

from journal.errors import JournalFull

FILE = "ballast"


class Ballast:
    """A file of real blocks beside the journal, removed when the journal needs them."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def reserve(self, size_bytes: int) -> None:
        """Make the ballast at least this large.

        Raises:
            JournalFull: The disk has not that much left; an earlier ballast is given up then.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
            os.fsync(descriptor)
        except OSError as error:
            self.release()
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise JournalFull(
                f"{self._path.parent} has no room for the {size_bytes} bytes that this work may record",
                next="free some disk space, then repeat the command",
            ) from error
        finally:
            os.close(descriptor)

    def release(self) -> bool:
        """Remove the ballast; was there one?"""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True
