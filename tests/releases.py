"""The built releases, and nodes made of them, for every test that wants a real one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from fixtures.build import Built, build
from fixtures.node import Dist, RunningNode


class NodeFactory(Protocol):
    """Makes nodes that end with the test."""

    def __call__(
        self, version: str = "5.10.4", *, tree: Path | None = None, dist: Dist = "fixed", start: bool = True
    ) -> RunningNode:
        """A node in a folder of its own.

        Args:
            version: The release to install.
            tree: Another tree instead, such as one of a variant.
            dist: How it is reached.
            start: False leaves it installed and down.
        """
        ...


@pytest.fixture(scope="session")
def releases() -> Built:
    """All releases, built once for each state of the sources, whatever worker asks first."""
    return build()


@pytest.fixture
def node(releases: Built, tmp_path: Path) -> Iterator[NodeFactory]:
    """A factory of running nodes; none outlives the test."""
    made: list[RunningNode] = []

    def make(
        version: str = "5.10.4", *, tree: Path | None = None, dist: Dist = "fixed", start: bool = True
    ) -> RunningNode:
        folder = tmp_path / f"node{len(made) + 1}"
        made.append(RunningNode.install(tree or releases.tree(version), folder, dist=dist))
        return made[-1].start() if start else made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture(scope="module")
def running(releases: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A running 5.10.4 for all tests of a module."""
    root = tmp_path_factory.mktemp("running") / "node"
    with RunningNode.install(releases.tree("5.10.4"), root) as node:
        yield node.start()
