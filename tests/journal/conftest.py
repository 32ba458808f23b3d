"""A journal folder of its own for every test."""

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
