"""A journal folder of its own for every test, in memory where the machine has a filesystem there.

The tests append many thousands of entries, each waiting for its disk; none of them proves durability by
looking at the disk (the one that does looks at the system calls).
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from journal.store import Store
from tests.journal.stories import begin, folder_of

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def new_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Path]]:
    """Makes another empty folder."""
    where = SHARED_MEMORY if SHARED_MEMORY.is_dir() else tmp_path_factory.getbasetemp()
    base = Path(tempfile.mkdtemp(prefix="relup-journal-", dir=where))
    try:
        yield lambda: Path(tempfile.mkdtemp(dir=base))
    finally:
        shutil.rmtree(base)


@pytest.fixture
def tmp_path(new_root: Callable[[], Path]) -> Path:
    """Stands for pytest's own, so that all of a test lies in one place."""
    return new_root()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with begin(tmp_path) as opened:
        yield opened
