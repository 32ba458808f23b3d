"""What a member of the archive may be called, and how names may stand beside each other. Pure.

A path here is text with single slashes, relative, no `.` or `..` part; the top of the archive is "".
"""

import re
import unicodedata

from engine.release.archive_errors import (
    AbsoluteName,
    CollidingNames,
    ControlInName,
    DuplicateMember,
    EmptyName,
    FileAsFolder,
    NameNotUtf8,
    NameTooDeep,
    NameTooLong,
    ParentInName,
    UnnormalisedName,
)
from engine.release.limits import Limits

_ASCII_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNWANTED_CATEGORIES = {"Cc", "Cf", "Zl", "Zp", "Cs"}
_RUNTIME_FOLDERS = {"bin", "lib", "releases"}


def is_runtime_path(path: str) -> bool:
    """Whether a path belongs to what is deployed: bin, erts-*, lib and releases."""
    top = path.partition("/")[0]
    return top in _RUNTIME_FOLDERS or (top.startswith("erts-") and len(top) > len("erts-"))


def path_of(raw: bytes, *, folder: bool, limits: Limits) -> str:
    """The path that a stored name means; "" for the top itself (`.` or `./`).

    A leading `./` and, on folders, a trailing slash are taken off.

    Raises:
        BadMember: One of its kinds, when the name is none that may be written.
    """
    name = text_of(raw)
    name = name.removeprefix("./")
    if name.startswith("/"):
        raise AbsoluteName(raw)
    if folder:
        name = name.removesuffix("/")
        if name in ("", "."):
            return ""
    parts = name.split("/")
    if ".." in parts:
        raise ParentInName(raw)
    if "" in parts or "." in parts:
        raise UnnormalisedName(raw)
    _refuse_too_long(raw, name, parts, limits)
    return name


def text_of(raw: bytes) -> str:
    """A stored name as text.

    Raises:
        EmptyName, NameNotUtf8, ControlInName
    """
    if not raw:
        raise EmptyName(raw)
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise NameNotUtf8(raw) from None
    if _ASCII_CONTROL.search(name):
        raise ControlInName(raw)
    if not name.isascii() and any(unicodedata.category(sign) in _UNWANTED_CATEGORIES for sign in name):
        raise ControlInName(raw)
    return name


def _refuse_too_long(raw: bytes, name: str, parts: list[str], limits: Limits) -> None:
    if len(raw) > limits.path_bytes:
        raise NameTooLong(raw, f"more than {limits.path_bytes} bytes")
    if len(parts) > limits.depth:
        raise NameTooDeep(raw, f"more than {limits.depth} folders")
    if len(raw) > limits.component_bytes and any(
        len(part.encode()) > limits.component_bytes for part in parts
    ):
        raise NameTooLong(raw, f"one part has more than {limits.component_bytes} bytes")


def _likeness(path: str) -> str:
    """Equal for paths that a case- or form-insensitive filesystem would take for one (Unicode D146)."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


class Census:
    """Every path met so far, and what each is; refuses the second that would take another's place."""

    def __init__(self) -> None:
        self._folders: dict[str, bool] = {"": True}
        """Path to "was a member itself", not only the folder of one."""
        self._by_likeness: dict[str, str] = {}
        """Every path, folder or not, by what it would collide as."""

    def add_folder(self, path: str) -> None:
        """Take in a folder member. The top may come again; any other folder only once.

        Raises:
            DuplicateMember, FileAsFolder, CollidingNames
        """
        if path and self._folders.get(path):
            raise DuplicateMember(path)
        self._require_folder(path)
        self._folders[path] = True

    def add_other(self, path: str) -> None:
        """Take in a file or symlink.

        Raises:
            DuplicateMember, FileAsFolder, CollidingNames
        """
        self._require_folder(path.rpartition("/")[0])
        if not self._take(path):
            raise FileAsFolder(path) if path in self._folders else DuplicateMember(path)

    def _require_folder(self, path: str) -> None:
        if path in self._folders:
            return
        self._require_folder(path.rpartition("/")[0])
        if not self._take(path):
            raise FileAsFolder(path)
        self._folders[path] = False

    def _take(self, path: str) -> bool:
        """Whether the path was not there yet; one that is alike but not the same is refused."""
        like = _likeness(path)
        taken = self._by_likeness.setdefault(path if like == path else like, path)
        if taken is path:
            return True
        if taken != path:
            raise CollidingNames(path, f"the other is '{taken}'")
        return False
