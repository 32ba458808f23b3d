"""What the folder of a journal must be, and how folders are made durable. Nothing here knows LMDB."""

import os
import stat
from pathlib import Path

from journal.errors import JournalFull, JournalPlace

MIN_FREE_BYTES = 256 * 1024
"""Room a new environment needs for its first pages and its reader table."""

NETWORK_FILESYSTEMS = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "sshfs", "davfs", "afs", "coda", "ncpfs", "9p"),
    *("ceph", "glusterfs", "lustre", "beegfs", "gpfs", "ocfs2", "gfs2", "orangefs"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.davfs", "fuse.davfs2"),
    *("fuse.s3fs", "fuse.rclone", "fuse.juicefs"),
}
"""Where a shared memory map or a POSIX lock is not what LMDB takes it for."""

_LOCAL_ADVICE = "keep RootDir on a local filesystem"


def refuse_link(path: Path) -> None:
    """Refuse a symbolic link where the journal, or a file of it, should stand.

    Raises:
        JournalPlace: It is one, or may not be looked at.
    """
    try:
        is_link = path.is_symlink()
    except PermissionError as error:
        raise not_readable(path) from error
    if is_link:
        raise JournalPlace(
            f"{path} is a symbolic link: the journal could be led away from its RootDir",
            next="replace the link by the folder itself",
        )


def not_readable(folder: Path) -> JournalPlace:
    """The error for a reader who may not read."""
    return JournalPlace(
        f"user id {os.geteuid()} may not read {folder}",
        next="run the command as the user of the node, or as root",
    )


def refuse_network(folder: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> None:
    """Refuse a folder on a network filesystem.

    Args:
        folder: Need not exist yet.
        mountinfo: The kernel's table of mounts (proc(5)).

    Raises:
        JournalPlace: It is on one.
    """
    kind = _filesystem(os.path.realpath(folder), mountinfo)
    if kind in NETWORK_FILESYSTEMS:
        raise JournalPlace(
            f"{folder} is on a network filesystem ({kind}), where LMDB loses records", next=_LOCAL_ADVICE
        )


def _filesystem(path: str, mountinfo: Path) -> str | None:
    """The type of the last and deepest mount above `path`; None where the kernel has no table."""
    try:
        lines = mountinfo.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    best, kind = -1, None
    for line in lines:
        fields = line.split(" ")
        point = fields[4].encode(errors="surrogateescape").decode("unicode_escape").rstrip("/")
        if (path == point or path.startswith(point + "/")) and len(point) >= best:
            best, kind = len(point), fields[fields.index("-") + 1]
    return kind


def refuse_others(folder: Path) -> None:
    """Refuse to write where another user owns the folder or may enter it.

    Raises:
        JournalPlace: Wrong owner or mode.
    """
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise JournalPlace(
            f"{folder} belongs to user id {found.st_uid}, but relup runs as {os.geteuid()}",
            next="run relup as the user of the node, or as root, which becomes that user",
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise JournalPlace(
            f"{folder} has mode {mode:04o}: others could change the record",
            next=f"look who changed it, then chmod 700 {folder}",
        )


def require_space(folder: Path, needed_bytes: int = MIN_FREE_BYTES) -> None:
    """Refuse when the disk has no room; LMDB would not fail but be killed by SIGBUS.

    Raises:
        JournalFull: Too little is free.
    """
    free = free_bytes(folder)
    if free < needed_bytes:
        raise JournalFull(
            f"{folder} has {free} bytes free, the journal needs {needed_bytes}",
            next="free some disk space, then repeat the command",
        )


def free_bytes(folder: Path) -> int:
    """What this user may still write below `folder`."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_text(path: Path, text: str) -> None:
    """Write a small file so that it is either the old or the new one, durably."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    fsync_folder(path.parent)
