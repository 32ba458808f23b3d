"""Nodes to fail on: in memory for every k, real ones for what only a VM can show."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.build import Built
from tests.faults.memory import MakeMemoryNode, MemoryNode
from tests.torture.small import Small, make_small


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder in memory, where the machine has one: hundreds of upgrades wait for no disk there."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="relup-faults-", dir=shm if shm.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def small(releases: Built, memory: Path) -> Small:
    """The small releases, made once."""
    return make_small(releases, memory / "small")


@pytest.fixture
def memory_node(small: Small, memory: Path) -> MakeMemoryNode:
    """A factory of fresh nodes in memory, one after the other in the same RootDir."""

    def make(catalog: Path) -> MemoryNode:
        return MemoryNode(small, memory / "root", catalog)

    return make
