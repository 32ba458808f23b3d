"""A disk that is full at the k-th operation on relup's own files: the staging, the tree, its manifest, the marker.

The journal and the lock lie on the same disk but are not counted: how a journal runs full is told apart.
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NEEDING_ROOM = ("mkdir", "symlink", "rename", "fsync", "write", "open")
STILL_FAILING = ("mkdir", "symlink", "write", "open")
"""What a disk that stays full refuses for good; a rename or the fsync of a folder needs no new block."""


class FullDisk:
    """Operations on files under `relup` are counted; number `full_from` fails with ENOSPC.

    Args:
        relup: `<RootDir>/relup`.
        full_from: The first operation for which there is no room; from 1.
        stays_full: All later ones that need a block fail too.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, relup: Path, *, full_from: int, stays_full: bool
    ) -> None:
        self.count = 0
        self.failed: list[str] = []
        self._relup = f"{relup}/"
        self._full_from = full_from
        self._stays_full = stays_full
        for name in NEEDING_ROOM:
            monkeypatch.setattr(os, name, self._counted(name, getattr(os, name)))

    def fill_up(self, *, after: int) -> None:
        """The so many-th operation from now is the first for which there is no room."""
        self._full_from = self.count + after

    def _counted(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if self._concerns(name, *arguments, **named):
                self.count += 1
                if self._is_full_for(name, arguments[0]):
                    self.failed.append(name)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return operation(*arguments, **named)

        return call

    def _is_full_for(self, name: str, on: Any) -> bool:
        if self.count <= self._full_from:
            return self.count == self._full_from
        is_file = name == "fsync" and stat.S_ISREG(os.fstat(on).st_mode)
        return self._stays_full and (name in STILL_FAILING or is_file)

    def _concerns(self, name: str, on: Any, *more: Any, dir_fd: int | None = None, **_named: Any) -> bool:
        if name == "open" and not more[0] & os.O_CREAT:
            return False
        if name == "symlink":
            on = more[0]
        path = self._path(on if dir_fd is None else dir_fd)
        return path.startswith(self._relup) and not path.startswith(
            (f"{self._relup}journal", f"{self._relup}lock")
        )

    @staticmethod
    def _path(on: Any) -> str:
        return os.readlink(f"/proc/self/fd/{on}") if isinstance(on, int) else os.fspath(on)  # noqa: PTH115
