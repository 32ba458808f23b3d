"""What was unpacked, entry by entry, and whether a tree on disk still is that.

A manifest lies beside its tree as `.<name>.manifest`: a regular file whose name is no version, so that nobody
takes it for a tree or for the marker. Its digest is taken over its canonical bytes: entries in
order of their paths, JSON as msgspec writes it.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from engine.release.errors import CannotReadManifest

MANIFEST_SUFFIX = ".manifest"
_FORMAT = 1
_LARGEST_FILE_BYTES = 256 << 20
_READ_BYTES = 1 << 20

Kind = Literal["file", "folder", "symlink"]


class ManifestEntry(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One path of a tree.

    Attributes:
        path: Relative to the tree.
        kind: What lies there.
        mode: Permission bits as written (0 for symlinks, which have none).
        size: Bytes of a file.
        sha256: Of a file's contents, hexadecimal.
        target: Of a symlink.
    """

    path: str
    kind: Kind
    mode: int = 0
    size: int = 0
    sha256: str = ""
    target: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Every path of a tree, in order of the paths."""

    format: int = _FORMAT
    package_sha256: str
    entries: tuple[ManifestEntry, ...]

    @property
    def files(self) -> tuple[ManifestEntry, ...]:
        return tuple(entry for entry in self.entries if entry.kind == "file")

    @property
    def total_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.entries)

    def encoded(self) -> bytes:
        """The canonical bytes: what lies on disk and what the digest is of."""
        return msgspec.json.encode(self)

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical bytes, hexadecimal."""
        return hashlib.sha256(self.encoded()).hexdigest()


class Difference(msgspec.Struct, frozen=True):
    """One way in which a tree is not as its manifest says.

    Attributes:
        what: `missing`, `extra`, `kind`, `mode`, `size`, `contents`, `target` or `unreadable`.
    """

    path: str
    what: Literal["missing", "extra", "kind", "mode", "size", "contents", "target", "unreadable"]


def manifest_path(tree: Path) -> Path:
    """Where the manifest of a tree lies."""
    return tree.with_name(f".{tree.name.removeprefix('.')}{MANIFEST_SUFFIX}")


def write_manifest(tree: Path, manifest: Manifest) -> None:
    """Put a manifest beside its tree, old or new and never torn; on disk when this returns.

    Raises:
        OSError: A file operation failed.
    """
    path = manifest_path(tree)
    temporary = path.with_name(path.name + "-new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o644), "wb") as file:
            file.write(manifest.encoded())
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def read_manifest(tree: Path) -> Manifest | None:
    """The manifest beside a tree; None when there is none.

    Raises:
        CannotReadManifest: It is there and cannot be read or understood.
    """
    path = manifest_path(tree)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return msgspec.json.decode(file.read(_LARGEST_FILE_BYTES), type=Manifest)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as fault:
        raise CannotReadManifest(
            f"the manifest {path} cannot be read: {fault}",
            next="Remove it; the tree can then only be checked by deploying it again.",
        ) from fault


def differences(tree: Path, manifest: Manifest) -> Iterator[Difference]:
    """How a tree differs from its manifest, in order of the paths; reads every file.

    A tree that is not there differs by every entry.
    """
    found = _kinds_below(tree)
    for entry in manifest.entries:
        seen = found.pop(entry.path, None)
        if seen is None:
            yield Difference(entry.path, "missing")
        elif (what := _difference(tree / entry.path, entry, seen)) is not None:
            yield Difference(entry.path, what)
    for path in sorted(found):
        yield Difference(path, "extra")


def verify_tree(tree: Path, manifest: Manifest) -> list[Difference]:
    """All differences of a tree from its manifest; none when it is as it was deployed."""
    return list(differences(tree, manifest))


def _kinds_below(tree: Path) -> dict[str, Kind | None]:
    found: dict[str, Kind | None] = {}
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            scan = os.scandir(tree / folder)
        except OSError:
            continue
        with scan:
            for item in scan:
                path = f"{folder}/{item.name}" if folder else item.name
                found[path] = _kind_of(item)
                if found[path] == "folder":
                    waiting.append(path)
    return found


def _kind_of(item: "os.DirEntry[str]") -> Kind | None:
    if item.is_symlink():
        return "symlink"
    if item.is_dir(follow_symlinks=False):
        return "folder"
    return "file" if item.is_file(follow_symlinks=False) else None


def _difference(
    path: Path, entry: ManifestEntry, seen: Kind | None
) -> Literal["kind", "mode", "size", "contents", "target", "unreadable"] | None:
    if seen != entry.kind:
        return "kind"
    try:
        if entry.kind == "symlink":
            target = os.readlink(path)  # noqa: PTH115 - Path.readlink would tidy "./x" and "x/" up
            return None if target == entry.target else "target"
        status = os.lstat(path)
        if stat.S_IMODE(status.st_mode) != entry.mode:
            return "mode"
        if entry.kind == "folder":
            return None
        if status.st_size != entry.size:
            return "size"
        return None if _sha256_of(path) == entry.sha256 else "contents"
    except OSError:
        return "unreadable"


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while piece := os.read(descriptor, _READ_BYTES):
            digest.update(piece)
    finally:
        os.close(descriptor)
    return digest.hexdigest()
