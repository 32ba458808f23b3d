"""What a failed file operation means to the operator: an OSError becomes an error of ours, with advice."""

import errno

from engine.errors import BadPlace, NoWritePermission
from engine.release.errors import CannotWriteTree, NotEnoughSpace

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def cannot_write(fault: OSError, doing: str) -> BadPlace:
    """The error to raise for a failed write.

    Args:
        doing: What was being done, as in "unpacking the target release".
    """
    why = fault.strerror or str(fault)
    if fault.errno in _FULL:
        return NotEnoughSpace(f"{doing} failed: {why}", next="Free disk space under RootDir, then try again.")
    if fault.errno in _FORBIDDEN:
        return NoWritePermission(
            f"{doing} failed: {why}",
            next="Make <RootDir>/relup writable for the user of the node, or run relup as that user.",
        )
    return CannotWriteTree(
        f"{doing} failed: {why}", next="Look at the filesystem under RootDir, then try again."
    )
