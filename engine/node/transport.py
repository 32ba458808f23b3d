"""Opens the socket to a node and leads the handshake over it, all of it before one deadline."""

import os
import socket
import time
from typing import TYPE_CHECKING

from engine.node.address import Address
from engine.node.cookie import Cookie
from engine.node.errors import CallTimedOut, NodeDown, TlsRefused
from engine.node.framing import FrameReader, framed
from engine.node.handshake import Handshake, Peer

if TYPE_CHECKING:
    import ssl  # only nodes that encrypt their distribution need it, and it takes long to import

_TCP_LENGTH_BYTES = 2
_TLS_LENGTH_BYTES = 4
_READ_BYTES = 64 * 1024


def opened(
    address: Address, *, cookie: Cookie, tls: "ssl.SSLContext | None", timeout_s: float
) -> tuple[socket.socket, FrameReader, Peer]:
    """A connected socket, the reader that holds what came behind the handshake, and who is there.

    Raises:
        NodeDown, TlsRefused, WrongCookie, HandshakeRefused, ProtocolViolation: No connection, and why.
        CallTimedOut: The node took the connection and then said nothing in time.
    """
    deadline = time.monotonic() + timeout_s
    connected = _connected(address, timeout_s)
    try:
        if tls is not None:
            connected = _secured(connected, tls, address)
        reader = FrameReader(length_bytes=_TCP_LENGTH_BYTES if tls is None else _TLS_LENGTH_BYTES)
        peer = _shaken(connected, reader, address, cookie=cookie, deadline=deadline)
    except BaseException:
        connected.close()
        raise
    reader.length_bytes = 4
    return connected, reader, peer


def _connected(address: Address, timeout_s: float) -> socket.socket:
    try:
        connected = socket.create_connection((address.host, address.port), timeout=timeout_s)
    except OSError as why:
        raise NodeDown(
            f"Node {address.node} does not answer at {address.host}:{address.port} ({why.strerror or why}).",
            next="Start the node, or check its name and port.",
        ) from None
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def _secured(connected: socket.socket, tls: "ssl.SSLContext", address: Address) -> "ssl.SSLSocket":
    try:
        return tls.wrap_socket(connected, server_hostname=address.node.partition("@")[2])
    except TimeoutError:
        raise _silent(address) from None
    except OSError as why:
        reason = getattr(why, "reason", None) or why.strerror or why
        raise TlsRefused(
            f"No TLS session with node {address.node} at {address.host}:{address.port} ({reason}).",
            next="Check the certificates of the node's ssl_dist_optfile, and whether it uses TLS.",
        ) from None


def _shaken(
    connected: socket.socket, reader: FrameReader, address: Address, *, cookie: Cookie, deadline: float
) -> Peer:
    handshake = Handshake(address.node, cookie=cookie, challenge=int.from_bytes(os.urandom(4)))
    answer: bytes | None = handshake.first_frame()
    while handshake.peer is None:
        try:
            if answer is not None:
                connected.sendall(framed(answer, length_bytes=reader.length_bytes))
            frame = _next_frame(connected, reader, deadline)
        except TimeoutError:
            raise _silent(address) from None
        except OSError:
            frame = None
        if frame is None:
            raise handshake.closed()
        answer = handshake.receive(frame)
    return handshake.peer


def _next_frame(connected: socket.socket, reader: FrameReader, deadline: float) -> bytes | None:
    """The next handshake frame; None when the node hung up."""
    while (frame := reader.next_frame()) is None:
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        connected.settimeout(remaining_s)
        received = connected.recv(_READ_BYTES)
        if not received:
            return None
        reader.feed(received)
    return frame


def _silent(address: Address) -> CallTimedOut:
    return CallTimedOut(
        f"Node {address.node} takes connections at {address.host}:{address.port} but says nothing.",
        next="See whether the node is stopped or overloaded, and whether it wants TLS.",
    )
