"""The target package: one tarball, opened once, and the digest its sidecar gives.

`open_package` opens and reads what needs the caller's rights (root's, perhaps); `verify` and `unpack` work
on the open descriptor alone and may run as another user. Between them the tarball must stay what it is.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from engine.errors import BadRelease, RelupError
from engine.release.errors import (
    FETCH_AGAIN,
    CannotReadSidecar,
    CannotReadTarball,
    MissingSidecar,
    PackageChanged,
    Sha256Mismatch,
    TarballNotFound,
    TarballNotRegular,
)
from engine.release.limits import Limits
from engine.release.manifest import Manifest
from engine.release.priority import at_priority
from engine.release.sidecar import SIDECAR_LIMIT_BYTES, digest_for
from engine.release.stream import OnRead, compressed_pieces
from engine.release.unpack import interrupted_while, unpack_into

Progress = Callable[[int], None]
"""Told after each piece how many bytes of the tarball have been read; from another thread, perhaps."""

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""O_NONBLOCK: a pipe in the tarball's place must not make us wait; regular files do not care."""
_DEFAULT_LIMITS = Limits()


def _unheard(_: int) -> None:
    """Nobody follows the progress."""


def _never() -> bool:
    return False


def open_package(path: Path) -> "Package":
    """Open a tarball and read its sidecar.

    Args:
        path: The tarball; its sidecar is `<path>.sha256`.

    Raises:
        TarballNotFound, TarballNotRegular, CannotReadTarball: The tarball cannot be opened.
        MissingSidecar, CannotReadSidecar, InvalidSidecar: The sidecar is of no use.
    """
    descriptor = _opened_tarball(path)
    try:
        digest = digest_for(path.name, _sidecar_bytes(path.with_name(path.name + ".sha256")))
        return Package(path, descriptor, digest)
    except BaseException:
        os.close(descriptor)
        raise


class Package:
    """An open tarball. Closed by `close` or at the end of a `with` block.

    Attributes:
        path: As it was given; only to be shown, and to see that the same file still lies there.
        size: Bytes of the tarball.
        expected_sha256: What the sidecar says, 64 lower-case hexadecimal digits.
    """

    def __init__(self, path: Path, descriptor: int, expected_sha256: str) -> None:
        self.path = path
        self.expected_sha256 = expected_sha256
        self._descriptor = descriptor
        self._opened = os.fstat(descriptor)
        self.size = self._opened.st_size
        self._verified = False

    def __enter__(self) -> "Package":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def verify(
        self,
        progress: Progress = _unheard,
        *,
        interrupted: Callable[[], bool] = _never,
        low_priority: bool = False,
    ) -> str:
        """Hash the tarball and compare it with its sidecar; nothing is written.

        Returns:
            The SHA-256, 64 lower-case hexadecimal digits.

        Raises:
            Sha256Mismatch: It is another file than the sidecar speaks of.
            PackageChanged: It changed since it was opened.
            Interrupted: `interrupted` said so.
        """
        on_read = _checked(progress, interrupted, "verifying the tarball")
        found = at_priority(lambda: self._digest(on_read), low=low_priority)
        self._require_digest(found)
        self._require_unchanged()
        self._verified = True
        return found

    def unpack(
        self,
        staging: Path,
        *,
        limits: Limits = _DEFAULT_LIMITS,
        progress: Progress = _unheard,
        interrupted: Callable[[], bool] = _never,
        low_priority: bool = True,
    ) -> Manifest:
        """Extract the runtime folders into a new staging folder, hashing the tarball once more.

        The folder is complete when this returns and gone when it raises. It is not yet on the disk for
        sure: `deploy` sees to that.

        Raises:
            BadArchive, BadMember: The package is refused.
            PackageChanged: It is not, or no longer, what `verify` saw.
            Sha256Mismatch: The same, without a `verify` before.
            BadPlace: The staging cannot be made or written.
            Interrupted: `interrupted` said so.
        """
        on_read = _checked(progress, interrupted, "unpacking the tarball")

        def accept(digest: str) -> None:
            self._require_digest(digest)
            self._require_unchanged()

        def work() -> Manifest:
            return unpack_into(staging, self._descriptor, limits=limits, on_read=on_read, accept=accept)

        try:
            return at_priority(work, low=low_priority)
        except BadRelease as fault:
            self._refuse_changed_rather(fault)
            raise

    def _refuse_changed_rather(self, fault: RelupError) -> None:
        """Damage found in an archive whose digest is another by now is a consequence, not the cause."""
        if isinstance(fault, PackageChanged | Sha256Mismatch):
            return
        try:
            self._require_digest(self._digest(_unheard))
            self._require_unchanged()
        except BadRelease as cause:
            raise cause from fault

    def _digest(self, on_read: OnRead) -> str:
        digest = hashlib.sha256()
        try:
            for _ in compressed_pieces(self._descriptor, digest, on_read=on_read):
                pass
        except OSError as fault:
            raise _unreadable(self.path, fault) from fault
        return digest.hexdigest()

    def _require_digest(self, found: str) -> None:
        if found == self.expected_sha256:
            return
        if self._verified:
            raise self._changed("its bytes are others than those that were verified")
        raise Sha256Mismatch(
            f"the tarball {self.path} has the SHA-256 {found}, its .sha256 file says {self.expected_sha256}",
            next=FETCH_AGAIN,
        )

    def _require_unchanged(self) -> None:
        """The same file with the same bytes. A new hard link or mode is no change: then the bytes are asked."""
        now = os.fstat(self._descriptor)
        if _identity(now) != _identity(self._opened):
            raise self._changed("its size or its time of change is another")
        if now.st_ctime_ns != self._opened.st_ctime_ns:
            if self._digest(_unheard) != self.expected_sha256:
                raise self._changed("its bytes are others than those that were verified")
            self._opened = now
        try:
            there = self.path.lstat()
        except PermissionError:
            return  # opened with rights that are gone by now; the descriptor is what counts
        except OSError:
            raise self._changed("it is no longer there") from None
        if _identity(there) != _identity(self._opened):
            raise self._changed("another file lies at its path")

    def _changed(self, how: str) -> PackageChanged:
        return PackageChanged(
            f"the tarball {self.path} changed while it was being used: {how}",
            next="See who writes to it, put the right file there and run it again.",
        )


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Which file it is, and when its bytes were last changed as far as its owner lets that be seen."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _checked(progress: Progress, interrupted: Callable[[], bool], doing: str) -> OnRead:
    def on_read(done: int) -> None:
        progress(done)
        if interrupted():
            raise interrupted_while(doing)

    return on_read


def _opened_tarball(path: Path) -> int:
    try:
        descriptor = os.open(path, _OPEN | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        raise TarballNotFound(f"there is no tarball {path}", next="Check the path.") from None
    except OSError as fault:
        if fault.errno in (errno.ELOOP, errno.ENXIO):
            raise _not_regular(path) from None
        raise _unreadable(path, fault) from fault
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_regular(path)
    return descriptor


def _not_regular(path: Path) -> TarballNotRegular:
    return TarballNotRegular(
        f"the tarball {path} is a symlink, a folder, a pipe or a device, not a file",
        next="Give the path of the file itself.",
    )


def _unreadable(path: Path, fault: OSError) -> CannotReadTarball:
    return CannotReadTarball(
        f"the tarball {path} cannot be read: {fault.strerror}", next="Check its permissions and its disk."
    )


def _sidecar_bytes(path: Path) -> bytes:
    """The sidecar, at most one byte more than is allowed. A symlink to a regular file will do."""
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        if path.is_symlink():
            raise _sidecar_unreadable(path, "it is a symlink to nothing") from None
        raise MissingSidecar(
            f"the tarball has no SHA-256 file beside it: {path}",
            next="Copy the .sha256 file from where the tarball was published.",
        ) from None
    except OSError as fault:
        raise _sidecar_unreadable(path, fault.strerror) from fault
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _sidecar_unreadable(path, "it is not a regular file")
        return _read_up_to(descriptor, SIDECAR_LIMIT_BYTES + 1)
    except OSError as fault:
        raise _sidecar_unreadable(path, fault.strerror) from fault
    finally:
        os.close(descriptor)


def _read_up_to(descriptor: int, limit: int) -> bytes:
    content = b""
    while len(content) < limit and (piece := os.read(descriptor, limit - len(content))):
        content += piece
    return content


def _sidecar_unreadable(path: Path, why: str | None) -> CannotReadSidecar:
    return CannotReadSidecar(
        f"the tarball's SHA-256 file {path} cannot be read: {why}",
        next="Make it a plain file that this user may read.",
    )
