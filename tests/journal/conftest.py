"""A journal folder of its own for every test."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from journal.store import Store
from tests.journal.stories import begin, folder_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with begin(tmp_path) as opened:
        yield opened


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where the machine has one: for what writes thousands of times and proves no durability."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="relup-journal-", dir="/dev/shm"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
