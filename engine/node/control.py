"""The control messages that two connected nodes exchange, as frames. Pure.

A frame is `p`, a control tuple and, for some, a second term. Only what a client needs is named; the rest is
read and left alone. Source: ERTS User's Guide, "Distribution Protocol".
"""

from enum import IntEnum
from typing import Any

from engine.node.decoding import decode_next
from engine.node.encoding import encode
from engine.node.errors import ProtocolViolation
from engine.term import Atom, Pid, Reference, Term

_PASS_THROUGH = ord("p")
_NO_COOKIE = Atom("")


class Operation(IntEnum):
    """First element of a control tuple."""

    SEND = 2
    REG_SEND = 6
    EXIT2 = 8
    MONITOR_P = 19
    DEMONITOR_P = 20
    MONITOR_P_EXIT = 21
    SPAWN_REQUEST = 29
    SPAWN_REPLY = 31
    UNLINK_ID = 35
    UNLINK_ID_ACK = 36


def parsed(frame: bytes) -> tuple[tuple[Any, ...], Term | None]:
    """The control tuple of a frame, and the message that follows it where one does.

    Raises:
        ProtocolViolation: It is no such frame.
    """
    if frame[0] != _PASS_THROUGH:
        raise _violation(f"a message of type {frame[0]}")
    control, end = decode_next(frame, 1)
    if not isinstance(control, tuple) or not control or not isinstance(control[0], int):
        raise _violation("a message without a control tuple")
    if end == len(frame):
        return control, None
    message, end = decode_next(frame, end)
    if end != len(frame):
        raise _violation("a message with something behind it")
    return control, message


def sent(to: Pid, message: Term) -> bytes:
    """Frame: a message to a process."""
    return _frame((int(Operation.SEND), _NO_COOKIE, to), message)


def sent_to_name(name: str, message: Term, *, sender: Pid) -> bytes:
    """Frame: a message to a registered name; without such a name the node drops it."""
    return _frame((int(Operation.REG_SEND), sender, _NO_COOKIE, Atom(name)), message)


def monitored(watched: Pid | Atom, *, watcher: Pid, reference: Reference) -> bytes:
    """Frame: tell us when a process, or the holder of a name, ends."""
    return _frame((int(Operation.MONITOR_P), watcher, watched, reference))


def demonitored(watched: Pid | Atom, *, watcher: Pid, reference: Reference) -> bytes:
    """Frame: tell us no more."""
    return _frame((int(Operation.DEMONITOR_P), watcher, watched, reference))


def down(watcher: Pid, *, watched: Pid | Atom, reference: Reference, reason: Term) -> bytes:
    """Frame: a process of ours that the node watched has ended."""
    return _frame((int(Operation.MONITOR_P_EXIT), watched, watcher, reference, reason))


def unlinked(link_id: int, *, ours: Pid, theirs: Pid) -> bytes:
    """Frame: the answer to UNLINK_ID, without which the node keeps the link's remains."""
    return _frame((int(Operation.UNLINK_ID_ACK), link_id, ours, theirs))


def spawned(
    function: tuple[str, str],
    arguments: list[Any],
    *,
    reference: Reference,
    parent: Pid,
    group_leader: Pid,
) -> bytes:
    """Frame: run a function in a process of its own; MONITOR_P_EXIT with `reference` tells how it ended.

    Nobody is told that it began: the end is the answer.
    """
    entry = (Atom(function[0]), Atom(function[1]), len(arguments))
    options = [Atom("monitor")]
    request = (int(Operation.SPAWN_REQUEST), reference, parent, group_leader, entry, options)
    return _frame(request, arguments)


def _frame(control: tuple[Any, ...], *message: Term) -> bytes:
    return b"p" + encode(control) + b"".join(map(encode, message))


def _violation(what: str) -> ProtocolViolation:
    return ProtocolViolation(
        f"The node sent {what}.",
        next="This is a fault of relup or of the node; report it.",
    )
