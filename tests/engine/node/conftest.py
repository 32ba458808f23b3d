"""Plain nodes for the tests of the client: one for all that leave it as it was, fresh ones for the others."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.node.connection import Connection
from fixtures.ports import free_port, give_back
from tests.engine.node.bare_node import BareNode, compile_all
from tests.engine.node.plain import PlainNode

PlainNodes = Callable[..., PlainNode]


@pytest.fixture(scope="session")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainNode]:
    """A node that every test may ask and none may harm."""
    port = free_port()
    node = PlainNode.start(tmp_path_factory.mktemp("shared") / "node", port)
    yield node
    node.end()
    give_back(port)


@pytest.fixture
def plain_node(tmp_path: Path) -> Iterator[PlainNodes]:
    """A factory of nodes that may be harmed; takes `erl` flags and `name`."""
    made: list[PlainNode] = []

    def make(*flags: str, name: str | None = None) -> PlainNode:
        made.append(PlainNode.start(tmp_path / f"plain{len(made)}", free_port(), *flags, name=name))
        return made[-1]

    yield make
    for node in made:
        node.end()
        give_back(node.port)


@pytest.fixture
def connection(shared_node: PlainNode) -> Iterator[Connection]:
    """A connection to the shared node."""
    with shared_node.connect() as opened:
        yield opened


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both versions of the applications that the agent's tests change."""
    return compile_all(tmp_path_factory.mktemp("builds"))


@pytest.fixture
def node(builds: Path) -> Iterator[BareNode]:
    """A fresh node with the probe application running in version 1, for the agent's tests."""
    with BareNode(builds) as running:
        running.eval("{ok, _} = application:ensure_all_started(probe)")
        yield running


@pytest.fixture(scope="session")
def shared_connection(shared_node: PlainNode) -> Iterator[Connection]:
    """One connection to the shared node for tests that ask very often."""
    with shared_node.connect() as opened:
        yield opened
