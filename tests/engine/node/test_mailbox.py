"""The router without a socket: what it answers, and to whom it gives what comes."""

import time

import pytest

from engine.node import control
from engine.node.encoding import encode
from engine.node.errors import ConnectionLost
from engine.node.handshake import Peer
from engine.node.mailbox import Router
from engine.term import Atom, Pid, Term

PEER = Peer(node="n@h", creation=1, flags=0, own_name="us@h", own_creation=2)
THEIRS = Pid(Atom("n@h"), 5, 0, 1)


@pytest.fixture
def answers() -> list[bytes]:
    return []


@pytest.fixture
def router(answers: list[bytes]) -> Router:
    return Router(PEER, answer=answers.append, pump=lambda is_done, *, deadline: None)


def frame(*operation: Term) -> bytes:
    return b"p" + encode(operation)


def test_an_unlink_is_acknowledged(router: Router, answers: list[bytes]) -> None:
    """UNLINK_ID gets its UNLINK_ID_ACK with the same number, or the node keeps the link's remains."""
    ours = router.mailbox().pid
    router.route(frame(35, 77, THEIRS, ours))
    assert [control.parsed(answer) for answer in answers] == [((36, 77, ours, THEIRS), None)]


def test_operations_of_no_concern_are_passed_over(router: Router, answers: list[bytes]) -> None:
    """Links, exits, group leaders, names and operations of the future end nothing."""
    ours = router.mailbox().pid
    for operation in (
        (1, THEIRS, ours),
        (3, THEIRS, ours, 1),
        (7, THEIRS, ours),
        (6, THEIRS, 0, ours),
        (99,),
    ):
        router.route(frame(*operation))
    assert answers == []


def test_a_message_to_a_closed_mailbox_is_dropped(router: Router) -> None:
    """It reaches neither the closed one nor another."""
    closed, other = router.mailbox(), router.mailbox()
    closed.close()
    router.route(control.sent(closed.pid, 1))
    assert closed.receive(timeout_s=0) is None
    assert other.receive(timeout_s=0) is None


def test_a_loss_reaches_those_who_come_later(router: Router) -> None:
    """What came before it is received first; then every mailbox, also a new one, tells of it."""
    early = router.mailbox()
    router.route(control.sent(early.pid, 1))
    router.lose(ConnectionLost("gone", next="look"))
    assert early.receive(timeout_s=0) == 1
    for mailbox in (early, early, router.mailbox()):
        with pytest.raises(ConnectionLost):
            mailbox.receive(timeout_s=60)


def test_nothing_to_receive_is_none_at_the_deadline(router: Router) -> None:
    """Not before it."""
    begun = time.monotonic()
    assert router.mailbox().receive(timeout_s=0.2) is None
    assert time.monotonic() - begun >= 0.19
