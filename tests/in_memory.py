"""A folder in memory for tests that write much and ask nothing of the disk."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOM_BYTES = 1 << 30
"""A container's /dev/shm can be too small for a release."""


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A fresh folder in memory, where the machine has room for a node there, else among the temporary ones."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="relup-test-", dir=memory if _is_fit(memory) else None) as folder:
        yield Path(folder)


def _is_fit(memory: Path) -> bool:
    """There is room, and programs may be started from there: containers often forbid it."""
    return (
        memory.is_dir()
        and os.access(memory, os.W_OK)
        and shutil.disk_usage(memory).free >= ROOM_BYTES
        and not os.statvfs(memory).f_flag & os.ST_NOEXEC
    )
