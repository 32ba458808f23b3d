"""The distribution handshake, version 6, as a hidden client that lets the node name it. Pure.

Frames in, frames out, a `Peer` at the end; an error's type says whose fault it was. Nothing here opens a
socket, reads a clock or draws random numbers: our challenge is an argument.

    we                        the node
    N flags creation "host" ->
                             <- s "named:" name creation
                             <- N flags challenge creation name
    r challenge digest      ->
                             <- a digest

Source: ERTS User's Guide, "Distribution Protocol", "Distribution Handshake".
"""

from collections.abc import Callable
from hashlib import md5
from hmac import compare_digest
from struct import Struct

import msgspec

from engine.errors import NodeUnreachable
from engine.node.cookie import Cookie
from engine.node.errors import HandshakeRefused, ProtocolViolation, WrongCookie


class Flag:
    """Capabilities; the names are the guide's without their DFLAG_. An enum would take longer to make than to shake
    hands.
    """

    EXTENDED_REFERENCES = 0x4
    DIST_MONITOR = 0x8
    FUN_TAGS = 0x10
    DIST_MONITOR_NAME = 0x20
    NEW_FUN_TAGS = 0x80
    EXTENDED_PIDS_PORTS = 0x100
    EXPORT_PTR_TAG = 0x200
    BIT_BINARIES = 0x400
    NEW_FLOATS = 0x800
    UTF8_ATOMS = 0x10000
    MAP_TAG = 0x20000
    BIG_CREATION = 0x40000
    HANDSHAKE_23 = 0x1000000
    UNLINK_ID = 0x2000000
    NAME_ME = 1 << 33
    V4_NC = 1 << 34


OUR_FLAGS = (
    Flag.EXTENDED_REFERENCES
    | Flag.DIST_MONITOR
    | Flag.FUN_TAGS
    | Flag.DIST_MONITOR_NAME
    | Flag.NEW_FUN_TAGS
    | Flag.EXTENDED_PIDS_PORTS
    | Flag.EXPORT_PTR_TAG
    | Flag.BIT_BINARIES
    | Flag.NEW_FLOATS
    | Flag.UTF8_ATOMS
    | Flag.MAP_TAG
    | Flag.BIG_CREATION
    | Flag.HANDSHAKE_23
    | Flag.UNLINK_ID
    | Flag.NAME_ME
    | Flag.V4_NC
)
"""DIST_MONITOR*: without both the node never says how a process of ours ended. No PUBLISHED: we are
hidden. No FRAGMENTS, no atom cache: a message is one frame of whole terms."""

_NAME = Struct(">cQIH")
_CHALLENGE = Struct(">cQIIH")
_DIGEST_BYTES = 16


class Peer(msgspec.Struct, frozen=True):
    """Who is who once the handshake is done; `creation` is that of the node's life."""

    node: str
    creation: int
    flags: int
    own_name: str
    own_creation: int


class Handshake:
    """One handshake with the node that should be called `node`.

    Args:
        node: Full node name; another node at the same address is refused.
        cookie: The node's cookie; it is never shown.
        challenge: Our challenge, 32 random bits.
    """

    def __init__(self, node: str, *, cookie: Cookie, challenge: int) -> None:
        self._node = node
        self._cookie = cookie
        self._challenge = challenge
        self._named: tuple[str, int] | None = None
        self._theirs: tuple[int, int] | None = None
        self._expected: Callable[[bytes], bytes | None] | None = self._receive_status
        self.peer: Peer | None = None
        """Set by the last frame."""

    def first_frame(self) -> bytes:
        """What we say first: our capabilities and the host part of the name we shall get."""
        host = self._node.partition("@")[2].encode()
        return _NAME.pack(b"N", OUR_FLAGS, 0, len(host)) + host

    def receive(self, frame: bytes) -> bytes | None:
        """Take one frame of the node; returns the frame to answer with, None for none.

        Raises:
            WrongCookie, HandshakeRefused, ProtocolViolation: It is over, and why.
        """
        assert self._expected is not None, "the handshake is over"
        return self._expected(frame)

    def closed(self) -> NodeUnreachable:
        """The error that the node's hanging up now means."""
        if self._expected == self._receive_proof:
            return WrongCookie(
                f"Node {self._node} refused our cookie.",
                next="Use the cookie of the running node (vm.args, node.cookie, or --cookie-file).",
            )
        return HandshakeRefused(
            f"Node {self._node} hung up during the handshake.",
            next="Look at the node's log; check that the port is its distribution port and TLS is the same.",
        )

    def _receive_status(self, frame: bytes) -> None:
        if frame[:1] != b"s":
            raise _unexpected(frame, "a status")
        status = frame[1:]
        if not status.startswith(b"named:"):
            raise self._refused(status.decode("latin-1"))
        named = status[len(b"named:") :]
        size = int.from_bytes(named[:2], "big")
        if len(named) != 2 + size + 4:
            raise _unexpected(frame, "the name that the node gives us")
        self._named = (_node_name(named[2 : 2 + size]), int.from_bytes(named[2 + size :], "big"))
        self._expected = self._receive_challenge

    def _refused(self, status: str) -> NodeUnreachable:
        match status:
            case "not_allowed":
                why = "it does not allow us (net_kernel:allow, or a release too old for our capabilities)"
            case "nok" | "ok_simultaneous":
                why = "it is just connecting to a node of our name"
            case "alive":
                why = "it believes a node of our name is still connected"
            case "ok":
                why = "it gives no names to clients (Erlang/OTP older than 23)"
            case _:
                return _unexpected(b"s" + status.encode(), "a status")
        return HandshakeRefused(
            f"Node {self._node} answered '{status}': {why}.", next="Try again; then look at the node's log."
        )

    def _receive_challenge(self, frame: bytes) -> bytes:
        if frame[:1] != b"N" or len(frame) < _CHALLENGE.size:
            raise _unexpected(frame, "a challenge")
        _tag, flags, challenge, creation, size = _CHALLENGE.unpack_from(frame)
        name = _node_name(frame[_CHALLENGE.size : _CHALLENGE.size + size])
        if name != self._node:
            raise HandshakeRefused(
                f"The node at this address is {name}, not {self._node}.",
                next="Check node name and port (--node, etc/emqx.conf).",
            )
        self._theirs = (flags, creation)
        self._expected = self._receive_proof
        return b"r" + self._challenge.to_bytes(4, "big") + self._digest(challenge)

    def _receive_proof(self, frame: bytes) -> None:
        if frame[:1] != b"a" or len(frame) != 1 + _DIGEST_BYTES:
            raise _unexpected(frame, "the proof of the cookie")
        if not compare_digest(frame[1:], self._digest(self._challenge)):
            raise WrongCookie(
                f"Node {self._node} could not prove that it knows the cookie.",
                next="Something else may be listening at the node's address; check it before going on.",
            )
        assert self._named is not None
        assert self._theirs is not None
        (own_name, own_creation), (flags, creation) = self._named, self._theirs
        self._expected = None
        self.peer = Peer(self._node, creation, flags, own_name, own_creation)

    def _digest(self, challenge: int) -> bytes:
        secret = self._cookie.reveal().encode("latin-1", "replace") + str(challenge).encode()
        return md5(secret, usedforsecurity=False).digest()


def _node_name(encoded: bytes) -> str:
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        return encoded.decode("latin-1")


def _unexpected(frame: bytes, expected: str) -> ProtocolViolation:
    return ProtocolViolation(
        f"The node sent {frame[:20]!r} where {expected} should be.",
        next="Check that the port is an Erlang node's distribution port and whether it wants TLS.",
    )
