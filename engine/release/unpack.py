"""From the open tarball to a staging folder: the order in which reading, checking and writing happen.

Nothing of the package is visible outside the staging folder, and on any failure the folder is gone again.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from engine.errors import Interrupted
from engine.release.archive import members
from engine.release.archive_errors import NoReleaseTree
from engine.release.limits import Limits
from engine.release.manifest import Manifest, write_manifest
from engine.release.names import is_runtime_path
from engine.release.space import Need, require_room
from engine.release.staging import new_staging
from engine.release.stream import OnRead, ReadAhead, Stream, compressed_pieces, inflated
from engine.release.tree_writer import TreeWriter

_DOING = "unpacking the target release"
_BYTES_PER_INODE_GUESS = 16 << 10


def unpack_into(
    staging: Path, descriptor: int, *, limits: Limits, on_read: OnRead, accept: Callable[[str], None]
) -> Manifest:
    """Unpack the runtime folders of a tarball; the whole of it is read, checked and hashed.

    Args:
        staging: Made here, 0700; its parent too when missing. It must not be there.
        descriptor: The tarball; read by offset, its position is not moved.
        accept: Told the SHA-256 of all that was read, before this returns; raises to refuse it.

    Returns:
        What was written; the same lies beside the staging folder.

    Raises:
        BadArchive, BadMember: The package is refused.
        BadPlace: The staging cannot be made or written.
    """
    digest = hashlib.sha256()
    pieces = inflated(compressed_pieces(descriptor, digest, on_read=on_read), limits)
    with new_staging(staging, doing=_DOING), TreeWriter(staging) as tree:
        require_room(staging, _guessed_need(descriptor, limits))
        with ReadAhead(pieces) as ahead:
            _write_members(Stream(ahead), tree, limits)
        accept(digest.hexdigest())
        tree.finish()
        entries = sorted(tree.entries, key=lambda entry: entry.path)
        manifest = Manifest(package_sha256=digest.hexdigest(), entries=tuple(entries))
        write_manifest(staging, manifest)
        return manifest


def interrupted_while(doing: str) -> Interrupted:
    """The operator stopped it; nothing is left of what was being done."""
    return Interrupted(f"the operator stopped relup while {doing}", next="Run it again when you like.")


def _write_members(stream: Stream, tree: TreeWriter, limits: Limits) -> None:
    written = False
    for member in members(stream, limits):
        if not is_runtime_path(member.path):
            continue
        written = True
        if member.kind == "file":
            tree.add_file(member, stream.parts(member.size))
        elif member.kind == "folder":
            tree.add_folder(member)
        else:
            tree.add_link(member)
    if not written:
        raise NoReleaseTree


def _guessed_need(descriptor: int, limits: Limits) -> Need:
    """What gzip's trailer says of the size (modulo 4 GiB), where that is credible; files of 16 KiB."""
    size = os.fstat(descriptor).st_size
    plain = int.from_bytes(os.pread(descriptor, 4, max(size - 4, 0)), "little")
    plain = min(max(size, plain), size * limits.ratio)
    return Need(bytes=plain, inodes=plain // _BYTES_PER_INODE_GUESS)
