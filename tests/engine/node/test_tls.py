"""Distribution over TLS, with the node's own option file and certificates made here."""

import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from engine.node.connection import Connection
from engine.node.cookie import Cookie
from engine.node.dial import connect
from engine.node.discovery import running_node
from engine.node.errors import CallTimedOut, HandshakeRefused, ProtocolViolation, TlsRefused
from engine.node.tls import TlsOptions, client_context, context_from_optfile, options_of
from engine.release.terms import read_term
from fixtures.ports import free_port, give_back
from fixtures.tls import make_dist_optfile
from tests.engine.node.plain import COOKIE, IPV6, PlainNode

PlainNodes = Callable[..., PlainNode]


@pytest.fixture
def optfile(tmp_path: Path) -> Path:
    return make_dist_optfile(tmp_path / "certificates")


class TlsNode(PlainNode):
    """A node that speaks TLS; its boot is watched through TLS as well."""

    optfile: Path

    def connect(self, *, cookie: str = COOKIE, timeout_s: float = 20.0) -> Connection:
        tls = context_from_optfile(self.optfile)
        return Connection(self.address, cookie=Cookie(cookie), tls=tls, timeout_s=timeout_s)


def start(
    folder: Path, port: int, optfile: Path, *, dist: str = "inet_tls", name: str | None = None
) -> TlsNode:
    TlsNode.optfile = optfile
    flags = ("-proto_dist", dist, "-ssl_dist_optfile", str(optfile), "-kernel", "net_ticktime", "6")
    node = TlsNode.start(folder, port, *flags, "-emqx_data_dir", str(folder), name=name)
    assert isinstance(node, TlsNode)
    return node


def test_a_node_that_wants_tls_and_our_certificate_is_spoken_to(
    optfile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides check each other; calls, megabytes both ways and ticks work as over TCP."""
    monkeypatch.setattr("engine.node.wire._TICK_INTERVAL_S", 60.0)  # the node's ticks are to be answered
    port = free_port()
    node = start(tmp_path / "node", port, optfile)
    try:
        with node.connect() as connection:
            assert connection.call("erlang", "node", timeout_s=60) == node.name
            large = bytes(range(256)) * 16_384
            assert connection.call("erlang", "hd", [[large]], timeout_s=60) == large
            for number in range(50):
                assert connection.call("erlang", "abs", [-number], timeout_s=60) == number
            ask_from_many_threads(node)
            time.sleep(8)  # longer than the node waits for a sign of life
            assert connection.call("erlang", "abs", [-1], timeout_s=60) == 1
        stranger = make_dist_optfile(tmp_path / "strangers")
        TlsNode.optfile = stranger
        with pytest.raises(TlsRefused, match="CERTIFICATE"):
            node.connect()
        TlsNode.optfile = optfile
        with pytest.raises((HandshakeRefused, ProtocolViolation, CallTimedOut)):
            Connection(node.address, cookie=Cookie(COOKIE), timeout_s=5)
    finally:
        node.end()
        give_back(port)


def test_tls_by_ipv6_is_seen_and_spoken_too(optfile: Path, tmp_path: Path) -> None:
    """`inet6_tls` is no plain TCP. The certificate here names no IPv6 address, so its name is not checked."""
    last = "{verify, verify_peer}]}]."
    unnamed = last.replace("}]}]", "}, {server_name_indication, disable}]}]")
    optfile.write_text(optfile.read_text().replace(last, unnamed))
    port = free_port()
    node = start(tmp_path / "node", port, optfile, dist="inet6_tls", name=f"six{port}@{IPV6}")
    try:
        with connect(running_node(name=node.name), timeout_s=20) as connection:
            assert connection.call("erlang", "node", timeout_s=60) == node.name
    finally:
        node.end()
        give_back(port)


class WatchedSocket(ssl.SSLSocket):
    """Remembers which threads sent and received over it once it did not block any more."""

    users: ClassVar[set[str]] = set()

    def send(self, *args: Any, **named: Any) -> int:
        self._note()
        return super().send(*args, **named)

    def recv_into(self, *args: Any, **named: Any) -> int:
        self._note()
        return super().recv_into(*args, **named)

    def _note(self) -> None:
        if not self.getblocking():
            self.users.add(threading.current_thread().name)


def ask_from_many_threads(node: "TlsNode") -> None:
    """A TLS session may break when one thread reads it while another writes: only the I/O thread may."""
    tls = context_from_optfile(node.optfile)
    tls.sslsocket_class = WatchedSocket
    wrong: list[object] = []

    def ask(thread: int) -> None:
        for number in range(20):
            question = (thread, number, bytes(100_000))
            if connection.call("erlang", "hd", [[question]], timeout_s=60) != question:
                wrong.append((thread, number))

    with Connection(node.address, cookie=Cookie(COOKIE), tls=tls, timeout_s=20) as connection:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert WatchedSocket.users == {f"node {node.name}"}


def test_tls_to_a_node_that_has_none_is_told(shared_node: PlainNode, optfile: Path) -> None:
    """A plain node does not answer a TLS hello: TlsRefused or the deadline, never a hang."""
    with pytest.raises((TlsRefused, CallTimedOut)):
        Connection(shared_node.address, cookie=Cookie(COOKIE), tls=context_from_optfile(optfile), timeout_s=2)


def test_the_client_part_of_the_file_counts() -> None:
    """Paths as lists and binaries, verify, a password and a switched-off name check are read."""
    text = """[{server, [{certfile, "server.pem"}]},
               {client, [{certfile, "c.pem"}, {keyfile, <<"k.pem">>}, {cacertfile, "ca.pem"},
                         {password, "hidden"}, {verify, verify_peer}, {secure_renegotiate, true},
                         {server_name_indication, disable}]}]."""
    options = options_of(read_term(text))
    assert options == TlsOptions("c.pem", "k.pem", "ca.pem", "hidden", True, False)
    assert "hidden" not in repr(options)
    assert options_of(read_term("[{server, []}].")) == TlsOptions()


@pytest.mark.parametrize("text", ["{client, []}.", "[{client, here}].", "[{client, [{certfile, {x}}]}]."])
def test_a_file_of_another_form_is_refused(text: str) -> None:
    """Not a list of sides, not a list of options, not a path."""
    with pytest.raises(TlsRefused):
        options_of(read_term(text))


def test_a_missing_or_damaged_certificate_is_named(tmp_path: Path, optfile: Path) -> None:
    """The error says which file; a key with a password that we lack does not ask at the terminal."""
    with pytest.raises(TlsRefused, match=r"nowhere\.pem"):
        client_context(TlsOptions(certfile="nowhere.pem"), folder=tmp_path)
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(TlsRefused, match=r"bad\.pem"):
        client_context(TlsOptions(cacertfile="bad.pem"), folder=tmp_path)
    with pytest.raises(TlsRefused, match="cannot be read"):
        context_from_optfile(tmp_path / "no.conf")


def test_relative_paths_are_relative_to_the_file(optfile: Path) -> None:
    """A file that names its neighbours without a folder is read from wherever we are."""
    moved = optfile.with_name("relative.conf")
    moved.write_text(optfile.read_text().replace(f"{optfile.parent}/", ""))
    assert context_from_optfile(moved).check_hostname
