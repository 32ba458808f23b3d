"""The only code that writes members of a package to disk.

Every name is opened relative to a folder descriptor, with O_NOFOLLOW and O_EXCL, one part at a time; no
path is ever handed to the kernel whole. Files are written as they come, symlinks at the end, so that no
link exists while anything is written. Owners are never changed.
"""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from engine.release.archive import Member
from engine.release.manifest import ManifestEntry

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FOLDERS_KEPT = 64
_USUAL_FOLDER_MODE = 0o755


class TreeWriter:
    """Writes members below one folder that is already there and empty.

    Args:
        folder: Where the tree is to stand.

    Attributes:
        entries: What has been written, in order of writing.
    """

    def __init__(self, folder: Path) -> None:
        self.entries: list[ManifestEntry] = []
        self._made: dict[str, int] = {}
        """Folders made so far, with the mode that their member asks for."""
        self._links: list[Member] = []
        self._umask = _current_umask()
        self._open: OrderedDict[str, int] = OrderedDict()
        self._top = os.open(folder, _OPEN_FOLDER)

    def __enter__(self) -> "TreeWriter":
        return self

    def __exit__(self, *exc: object) -> None:
        for descriptor in (*self._open.values(), self._top):
            os.close(descriptor)
        self._open.clear()

    def add_folder(self, member: Member) -> None:
        """Make a folder, or give the mode asked for to one that a file in it has already made."""
        mode = 0o700 | (member.mode & 0o055)
        if member.path not in self._made:
            self._folder(member.path)
        self._made[member.path] = mode

    def add_file(self, member: Member, contents: Iterable[memoryview]) -> None:
        """Write a file and hash what is written."""
        above, _, name = member.path.rpartition("/")
        mode = 0o600 | (member.mode & 0o155)
        descriptor = os.open(name, _NEW_FILE, mode, dir_fd=self._folder(above))
        try:
            digest = hashlib.sha256()
            for part in contents:
                digest.update(part)
                written = os.write(descriptor, part)
                while written < len(part):
                    written += os.write(descriptor, part[written:])
            if mode & self._umask:
                os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        self.entries.append(ManifestEntry(member.path, "file", mode, member.size, digest.hexdigest()))

    def add_link(self, member: Member) -> None:
        """Keep a symlink for the end."""
        self._links.append(member)

    def finish(self) -> None:
        """Write the symlinks and give the folders their modes; nothing may be added afterwards."""
        for link in self._links:
            above, _, name = link.path.rpartition("/")
            os.symlink(link.target, name, dir_fd=self._folder(above))
            self.entries.append(ManifestEntry(link.path, "symlink", target=link.target))
        for path, mode in self._made.items():
            if mode != _USUAL_FOLDER_MODE or mode & self._umask:
                os.fchmod(self._folder(path), mode)
            self.entries.append(ManifestEntry(path, "folder", mode))

    def _folder(self, path: str) -> int:
        """A descriptor of a folder below the top, made where it is missing."""
        if not path:
            return self._top
        if (known := self._open.get(path)) is not None:
            self._open.move_to_end(path)
            return known
        above, _, name = path.rpartition("/")
        parent = self._folder(above)
        if path not in self._made:
            os.mkdir(name, _USUAL_FOLDER_MODE, dir_fd=parent)
            self._made[path] = _USUAL_FOLDER_MODE
        descriptor = os.open(name, _OPEN_FOLDER, dir_fd=parent)
        if len(self._open) >= _OPEN_FOLDERS_KEPT:
            os.close(self._open.popitem(last=False)[1])
        self._open[path] = descriptor
        return descriptor


def _current_umask() -> int:
    """The process's umask, read without setting it: other threads create files meanwhile."""
    for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o777
