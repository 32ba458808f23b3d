"""Whether a filesystem has room, asked before it is written to."""

import os
from pathlib import Path

import msgspec

from engine.release.errors import NotEnoughInodes, NotEnoughSpace

_MARGIN_PERCENT = 10


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What a tree takes: bytes of contents, and inodes."""

    bytes: int
    inodes: int


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What a filesystem has left for this user; `inodes` is None where it makes them as needed."""

    bytes: int
    inodes: int | None


def room_at(folder: Path) -> Room:
    """What is free where a folder lies (the nearest one above that exists)."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    status = os.statvfs(folder)
    return Room(
        bytes=status.f_bavail * status.f_frsize,
        inodes=status.f_favail if status.f_files else None,
    )


def require_room(folder: Path, need: Need) -> None:
    """Refuse what does not fit with a margin of a tenth.

    Raises:
        NotEnoughSpace, NotEnoughInodes
    """
    room = room_at(folder)
    wanted = need.bytes + need.bytes * _MARGIN_PERCENT // 100
    if room.bytes < wanted:
        raise NotEnoughSpace(
            f"the target release needs {wanted} bytes under {folder} (10 % spare), {room.bytes} are free",
            next="Free disk space, for instance with 'relup clean', and run it again.",
        )
    if room.inodes is not None and room.inodes < need.inodes:
        raise NotEnoughInodes(
            f"the target release needs {need.inodes} inodes under {folder}, {room.inodes} are free",
            next="Remove files that are no longer needed and run it again.",
        )
