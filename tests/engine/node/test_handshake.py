"""The handshake without a socket: every way it can end, and whose fault each is."""

import struct
from hashlib import md5

import pytest

from engine.errors import NodeUnreachable
from engine.node.cookie import Cookie
from engine.node.errors import HandshakeRefused, ProtocolViolation, WrongCookie
from engine.node.handshake import OUR_FLAGS, Flag, Handshake

NODE = "emqx@127.0.0.1"
SECRET = "the-secret"
NAMED = b"snamed:\x00\x05x@h.i" + struct.pack(">I", 77)


def handshake() -> Handshake:
    return Handshake(NODE, cookie=Cookie(SECRET), challenge=1000)


def challenge(node: str = NODE, number: int = 5) -> bytes:
    return b"N" + struct.pack(">QIIH", 0xFF, number, 42, len(node)) + node.encode()


def digest(number: int, cookie: str = SECRET) -> bytes:
    return md5(f"{cookie}{number}".encode()).digest()


def test_we_are_hidden_unnamed_and_want_whole_messages() -> None:
    """The first frame asks for a name on the node's host, and neither PUBLISHED nor FRAGMENTS is set."""
    frame = handshake().first_frame()
    tag, flags, creation, size = struct.unpack_from(">cQIH", frame)
    assert (tag, flags, creation, frame[15:]) == (b"N", OUR_FLAGS, 0, b"127.0.0.1")
    assert size == 9
    assert flags & Flag.NAME_ME
    assert not flags & 0x1  # PUBLISHED
    assert not flags & 0x800000  # FRAGMENTS
    assert not flags & 0x2002  # atom caches


def test_both_sides_prove_the_cookie() -> None:
    """A whole handshake: our digest answers theirs, theirs is checked, and the peer is known."""
    shake = handshake()
    assert shake.receive(NAMED) is None
    answer = shake.receive(challenge(number=5))
    assert answer == b"r" + struct.pack(">I", 1000) + digest(5)
    assert shake.receive(b"a" + digest(1000)) is None
    assert shake.peer is not None
    assert (shake.peer.node, shake.peer.creation, shake.peer.flags) == (NODE, 42, 0xFF)
    assert (shake.peer.own_name, shake.peer.own_creation) == ("x@h.i", 77)


@pytest.mark.parametrize("status", ["not_allowed", "nok", "alive", "ok_simultaneous", "ok"])
def test_a_refusing_status_is_named(status: str) -> None:
    """Each word the node can refuse with is in the error's text."""
    with pytest.raises(HandshakeRefused, match=f"'{status}'") as refused:
        handshake().receive(b"s" + status.encode())
    assert refused.value.next


@pytest.mark.parametrize(
    "frame",
    [b"", b"x", b"sgarbage", b"s\xff", b"snamed:", b"snamed:\x00\xffabc", b"HTTP/1.1 400", NAMED + b"x"],
)
def test_what_is_no_status_is_a_violation(frame: bytes) -> None:
    """Something else listens there: told as such, with the bytes seen."""
    with pytest.raises(ProtocolViolation):
        handshake().receive(frame)


@pytest.mark.parametrize("frame", [b"", b"N", b"n" + bytes(30), b"a" + bytes(16)])
def test_what_is_no_challenge_is_a_violation(frame: bytes) -> None:
    """Also the older challenge of nodes before OTP 23."""
    shake = handshake()
    shake.receive(NAMED)
    with pytest.raises(ProtocolViolation):
        shake.receive(frame)


def test_another_node_is_not_given_our_proof() -> None:
    """A node of another name is refused before anything made with the cookie is sent."""
    shake = handshake()
    shake.receive(NAMED)
    with pytest.raises(HandshakeRefused, match=r"emqx2@127\.0\.0\.1, not emqx@127\.0\.0\.1"):
        shake.receive(challenge("emqx2@127.0.0.1"))


def test_a_node_that_does_not_know_the_cookie_is_refused() -> None:
    """Its digest is compared: an impostor at the node's port is not spoken to."""
    shake = handshake()
    shake.receive(NAMED)
    shake.receive(challenge())
    with pytest.raises(WrongCookie, match="could not prove"):
        shake.receive(b"a" + digest(1000, "another"))
    assert shake.peer is None


@pytest.mark.parametrize("frame", [b"", b"a", b"a" + bytes(15), b"r" + bytes(16)])
def test_what_is_no_proof_is_a_violation(frame: bytes) -> None:
    """The last frame has one form."""
    shake = handshake()
    shake.receive(NAMED)
    shake.receive(challenge())
    with pytest.raises(ProtocolViolation):
        shake.receive(frame)


def test_hanging_up_means_what_was_waited_for() -> None:
    """Before the challenge: refused. After our proof: the cookie is wrong."""
    shake = handshake()
    assert isinstance(shake.closed(), HandshakeRefused)
    shake.receive(NAMED)
    assert isinstance(shake.closed(), HandshakeRefused)
    shake.receive(challenge())
    assert isinstance(shake.closed(), WrongCookie)


def test_no_error_shows_the_cookie() -> None:
    """Neither texts, nor repr of the cookie or its holder."""
    shake = handshake()
    shake.receive(NAMED)
    shake.receive(challenge())
    shown: list[NodeUnreachable] = [shake.closed()]
    with pytest.raises(WrongCookie) as caught:
        shake.receive(b"a" + bytes(16))
    shown.append(caught.value)
    texts = "".join(f"{error!r} {error} {error.next}" for error in shown)
    assert SECRET not in texts + repr(Cookie(SECRET)) + str(Cookie(SECRET)) + f"{Cookie(SECRET)}"
    assert SECRET not in repr(vars(shake))


def test_a_latin_1_cookie_is_sent_as_erlang_sends_it() -> None:
    """The digest is over Latin-1 characters, one byte each."""
    shake = Handshake(NODE, cookie=Cookie("gehe\xefm"), challenge=1)
    shake.receive(NAMED)
    answer = shake.receive(challenge(number=9))
    assert answer is not None
    assert answer[5:] == md5("gehe\xefm9".encode("latin-1")).digest()
