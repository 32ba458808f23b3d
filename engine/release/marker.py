"""`<RootDir>/relup/current`: the version that the next start boots. Read, written and removed here only.

The write is old or new and never torn: a temporary file beside it, fsync, rename, fsync of the folder.
EMQX's own boot wrapper trusts the content blindly, so nothing but a version is ever written.
"""

import os
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from engine.place import Place
from engine.release.errors import CannotWriteMarker
from engine.release.version import is_version

TEMPORARY_NAME = ".current-new"


class Marker(msgspec.Struct, frozen=True):
    """What lies at relup/current.

    Attributes:
        state: `version` when it names one; `invalid` when it holds anything else or is no readable file.
        version: The version it names.
        problem: Why it is invalid, for people.
    """

    state: Literal["absent", "empty", "invalid", "version"]
    version: str | None = None
    problem: str = ""


class Files(Protocol):
    """The file operations of a marker write, as the `os` module has them."""

    def open(self, path: Path, flags: int, mode: int = 0o777, /) -> int: ...
    def write(self, descriptor: int, content: bytes, /) -> int: ...
    def fsync(self, descriptor: int, /) -> None: ...
    def close(self, descriptor: int, /) -> None: ...
    def rename(self, source: Path, target: Path, /) -> None: ...
    def unlink(self, path: Path, /) -> None: ...


def read_marker(root: Path) -> Marker:
    """What the marker of a RootDir says; one newline at its end is tolerated. Never raises."""
    try:
        descriptor = os.open(Place(root).marker, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        if Place(root).marker.is_symlink():
            return Marker("invalid", problem="it is a symlink to nothing")
        return Marker("absent")
    except OSError as fault:
        return Marker("invalid", problem=f"it cannot be read: {fault.strerror}")
    try:
        content = os.read(descriptor, 4096)
    except OSError as fault:
        return Marker("invalid", problem=f"it cannot be read: {fault.strerror}")
    finally:
        os.close(descriptor)
    return _meaning(content)


def _meaning(content: bytes) -> Marker:
    text = content.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    if not text.strip():
        return Marker("empty")
    if not is_version(text):
        return Marker("invalid", problem="it does not hold a version")
    return Marker("version", text)


def write_marker(root: Path, version: str, *, files: Files = os) -> None:
    """Make a version the one that boots next; on disk when this returns.

    Raises:
        CannotWriteMarker: A file operation failed; the marker is as it was, or, when only the last
            fsync failed, already the new one.
    """
    assert is_version(version), version
    marker = Place(root).marker
    temporary = marker.with_name(TEMPORARY_NAME)
    try:
        _write_file(temporary, version.encode(), files)
        files.rename(temporary, marker)
        _sync_folder(marker.parent, files)
    except OSError as fault:
        raise _cannot(f"the marker {marker} could not be written: {fault.strerror}") from fault


def remove_marker(root: Path, *, files: Files = os) -> None:
    """Let the base release boot next; nothing to do when there is no marker.

    Raises:
        CannotWriteMarker: It could not be removed.
    """
    marker = Place(root).marker
    try:
        files.unlink(marker)
    except FileNotFoundError:
        return
    except OSError as fault:
        raise _cannot(f"the marker {marker} could not be removed: {fault.strerror}") from fault
    try:
        _sync_folder(marker.parent, files)
    except OSError as fault:
        raise _cannot(f"the removal of {marker} may not outlive a power cut: {fault.strerror}") from fault


def _write_file(path: Path, content: bytes, files: Files) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = files.open(path, flags, 0o644)
    try:
        if files.write(descriptor, content) != len(content):
            raise OSError(0, "short write")
        files.fsync(descriptor)
    finally:
        files.close(descriptor)


def _sync_folder(folder: Path, files: Files) -> None:
    descriptor = files.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        files.fsync(descriptor)
    finally:
        files.close(descriptor)


def _cannot(happened: str) -> CannotWriteMarker:
    return CannotWriteMarker(
        happened, next="Look at the disk and the permissions of relup/, then run 'relup recover'."
    )
