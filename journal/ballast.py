"""Disk space put aside before live steps, so that a full disk cannot stop the record of what was done."""

import errno
import os
from pathlib import Path

from journal.errors import JournalFull, JournalPlace

FILE = "ballast"


class Ballast:
    """A file of real blocks beside the journal, removed when the journal needs them."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def reserve(self, size_bytes: int) -> None:
        """Make the ballast at least this large.

        Raises:
            JournalFull: The disk has not that much left; an earlier ballast is given up then.
            JournalPlace: The file cannot be written for another reason.
        """
        try:
            self._allocate(size_bytes)
        except OSError as error:
            self.release()
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise JournalPlace(
                    f"{self._path} cannot be written: {error.strerror}",
                    next="look at who owns the folder and what lies there, then repeat the command",
                ) from error
            raise JournalFull(
                f"{self._path.parent} has no room for the {size_bytes} bytes that this work may record",
                next="free some disk space, then repeat the command",
            ) from error

    def _allocate(self, size_bytes: int) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def release(self) -> bool:
        """Remove the ballast; was there one that could be removed?"""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
