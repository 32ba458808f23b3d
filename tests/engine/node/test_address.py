"""Where a node listens: EMQX's fixed ports, and an epmd of the test's own."""

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from engine.errors import BadRequest
from engine.node.address import Address, address_from_epmd, fixed_address, fixed_port
from engine.node.connection import Connection
from engine.node.cookie import Cookie
from engine.node.errors import NodeDown, ProtocolViolation
from fixtures.ports import free_port, give_back
from tests.engine.node.plain import COOKIE


@pytest.mark.parametrize(
    ("node", "port"),
    [
        ("emqx@127.0.0.1", 4370),
        ("emqx1@127.0.0.1", 4371),
        ("emqx12@h.example", 4382),
        ("e9mqx@h", 4370),
        ("emqx007@h", 4377),
        ("7@h", 4377),
    ],
)
def test_emqx_listens_at_4370_plus_the_digits_before_the_at(node: str, port: int) -> None:
    """Only the digits that end the part before the @ count."""
    assert fixed_port(node) == port
    assert fixed_address(node) == Address(node, node.partition("@")[2], port)
    assert fixed_address(node, host="127.0.0.1").host == "127.0.0.1"


@pytest.mark.parametrize("node", ["emqx", "@host", "emqx@", "emqx99999@host"])
def test_a_name_without_a_port_or_host_is_refused(node: str) -> None:
    """Short names and impossible ports are the operator's to correct."""
    with pytest.raises(BadRequest):
        fixed_address(node)


@pytest.fixture
def epmd_port() -> Iterator[int]:
    """An epmd of this test alone, ended by pid."""
    port = free_port()
    epmd = subprocess.Popen(["epmd", "-port", str(port), "-address", "127.0.0.1"])
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield port
    epmd.kill()
    epmd.wait()
    give_back(port)


def test_epmd_tells_where_a_node_listens(epmd_port: int) -> None:
    """A node known to an epmd is found through it and spoken to; another name is not known."""
    line = ["erl", "-noinput", "-name", "known@127.0.0.1", "-setcookie", COOKIE, "-start_epmd", "false"]
    line += ["-kernel", "inet_dist_use_interface", "{127,0,0,1}"]
    node = subprocess.Popen(line, env={**os.environ, "ERL_EPMD_PORT": str(epmd_port)})
    try:
        address = found("known@127.0.0.1", epmd_port)
        with Connection(address, cookie=Cookie(COOKIE), timeout_s=20) as connection:
            assert connection.call("erlang", "node", timeout_s=60) == "known@127.0.0.1"
        with pytest.raises(NodeDown, match=r"knows no node unknown@127\.0\.0\.1"):
            address_from_epmd("unknown@127.0.0.1", epmd_port=epmd_port)
    finally:
        node.kill()
        node.wait()


def found(node: str, epmd_port: int) -> Address:
    """Its address, as soon as it has told epmd of it."""
    until = time.monotonic() + 60
    while True:
        try:
            return address_from_epmd(node, epmd_port=epmd_port)
        except NodeDown:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def test_no_epmd_means_no_node() -> None:
    """Nobody at epmd's port: the error names host and port, and starts nothing."""
    port = free_port()
    with pytest.raises(NodeDown, match=f"127.0.0.1:{port}"):
        address_from_epmd("x@127.0.0.1", epmd_port=port)
    give_back(port)


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], int]]:
    """A listener that gives one answer to one request and hangs up; its port."""
    listeners: list[socket.socket] = []

    def listen(answer: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            asked, _ = listener.accept()
            with asked, contextlib.suppress(OSError):  # who has read enough hangs up
                asked.recv(1000)
                for byte in answer:
                    asked.sendall(bytes([byte]))

        threading.Thread(target=serve, daemon=True).start()
        return int(listener.getsockname()[1])

    yield listen
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize("answer", [b"", b"w", b"HTTP/1.1 400"])
def test_what_is_no_epmd_is_told(answering: Callable[[bytes], int], answer: bytes) -> None:
    """Another server at epmd's port is a violation, not a node that is down."""
    with pytest.raises(ProtocolViolation, match="no epmd"):
        address_from_epmd("x@127.0.0.1", epmd_port=answering(answer))


def test_an_answer_in_single_bytes_is_put_together(answering: Callable[[bytes], int]) -> None:
    """TCP may cut epmd's answer anywhere."""
    port = answering(b"w\x00\x12\x34" + b"M\x00\x00\x06\x00\x05\x00\x01x\x00\x00")
    assert address_from_epmd("x@127.0.0.1", epmd_port=port).port == 0x1234
