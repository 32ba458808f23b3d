"""From a running release to a connection: fixed port, epmd and TLS, with what discovery found alone."""

import contextlib
import time
from pathlib import Path

import pytest

from engine.node.cookie import Cookie
from engine.node.dial import connect
from engine.node.discovery import KnownNode, running_node
from engine.node.errors import HandshakeRefused, NodeDown, TlsRefused, WrongCookie
from fixtures.node import Dist
from tests.engine.node.conftest import PlainNodes
from tests.engine.node.plain import IPV6
from tests.releases import NodeFactory
from tests.releases import node as emqx

__all__ = ["emqx"]


@pytest.mark.parametrize("dist", ["fixed", "epmd", "tls"])
def test_an_emqx_node_is_found_and_spoken_to(emqx: NodeFactory, dist: Dist) -> None:
    """RootDir is all that is given; name, cookie, port and certificates come from the running node."""
    running = emqx(dist=dist)
    known = running_node(running.root)
    with connect(known, timeout_s=20) as connection:
        assert connection.call("erlang", "node", timeout_s=60) == running.name
    with pytest.raises(WrongCookie):
        connect(known, cookie=Cookie("wrong"), timeout_s=20)
    running.end()
    with pytest.raises(NodeDown):
        dial_until_down(known)


def dial_until_down(known: KnownNode) -> None:
    """Dial a killed node; while its threads die, its port still takes connections and resets them."""
    while True:
        with contextlib.suppress(TlsRefused, HandshakeRefused):
            connect(known, timeout_s=20).close()
        time.sleep(0.05)


def test_a_node_that_is_spoken_to_by_ipv6_is_found_and_spoken_to(
    plain_node: PlainNodes, tmp_path: Path
) -> None:
    """Its address is the host of its name, as for every other node."""
    node = plain_node("-proto_dist", "inet6_tcp", "-emqx_data_dir", str(tmp_path), name=f"six@{IPV6}")
    with connect(running_node(name=node.name), timeout_s=20) as connection:
        assert connection.call("erlang", "node", timeout_s=60) == node.name


def test_tls_without_an_option_file_is_told() -> None:
    """A node that encrypts and does not say with what cannot be spoken to."""
    with pytest.raises(TlsRefused, match="ssl_dist_optfile"):
        connect(KnownNode(name="a@127.0.0.1", cookie=Cookie("x"), base_root=Path("/r"), is_tls=True))
