"""Captured conversations, fed whole and byte by byte, give what the node said; and framing on its own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.node import control
from engine.node.cookie import Cookie
from engine.node.errors import ProtocolViolation
from engine.node.framing import MAX_FRAME_BYTES, TICK, FrameReader, framed
from engine.node.handshake import Handshake
from engine.term import format_term
from fixtures.frames.capture import CHALLENGE, COOKIE, FOLDER

CAPTURES = sorted(FOLDER.glob("*.json"))
PIECES = [1, 2, 3, 7, 1000, 10**9]
HANDSHAKE_FRAMES = 3
"""Of the node: status, challenge, proof."""


def frames(capture: dict[str, Any], side: str) -> list[bytes]:
    return [bytes.fromhex(frame) for whose, frame in capture["frames"] if whose == side]


def cut(stream: bytes, size: int) -> Iterator[bytes]:
    for offset in range(0, len(stream), size):
        yield stream[offset : offset + size]


def heard(capture: dict[str, Any], pieces: int) -> tuple[Handshake, list[bytes], list[bytes]]:
    """Handshake, our frames in it, and the node's frames after it, from its byte stream."""
    theirs = frames(capture, "theirs")
    stream = b"".join(framed(frame, length_bytes=2) for frame in theirs[:HANDSHAKE_FRAMES])
    stream += b"".join(framed(frame, length_bytes=4) for frame in theirs[HANDSHAKE_FRAMES:])
    handshake = Handshake(capture["node"], cookie=Cookie(COOKIE), challenge=CHALLENGE)
    ours, after = [handshake.first_frame()], []
    reader = FrameReader(length_bytes=2)
    for piece in cut(stream, pieces):
        reader.feed(piece)
        while (frame := reader.next_frame()) is not None:
            if reader.length_bytes == 4:
                after.append(frame)
                continue
            answer = handshake.receive(frame)
            ours += [answer] if answer is not None else []
            reader.length_bytes = 2 if handshake.peer is None else 4
    return handshake, ours, after


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_a_captured_conversation_reads_the_same_however_it_arrives(path: Path, pieces: int) -> None:
    """Same handshake, byte for byte, and the same terms from single bytes, odd pieces and one whole."""
    capture = json.loads(path.read_text())
    handshake, ours, after = heard(capture, pieces)
    assert handshake.peer is not None
    assert handshake.peer.own_name == capture["own_name"]
    assert ours == frames(capture, "ours")[: len(ours)]
    operations = [control.parsed(frame)[0] for frame in after if frame and not control.is_begun(frame)]
    answers = [operation for operation in operations if operation[0] == control.Operation.MONITOR_P_EXIT]
    assert list(map(format_term, answers)) == capture["answers"]
    assert b"" in after, "no tick was captured"


def test_there_are_captures() -> None:
    """The parametrised test above has something to read."""
    assert CAPTURES


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_a_start_is_told_without_decoding_and_only_a_start(path: Path) -> None:
    """`is_begun` agrees with a full reading of every captured frame, and of a start that failed."""
    capture = json.loads(path.read_text())
    for frame in filter(None, frames(capture, "theirs")[HANDSHAKE_FRAMES:]):
        operation, _ = control.parsed(frame)
        assert control.is_begun(frame) == (operation[0] == control.Operation.SPAWN_REPLY)
    begun = next(frame for frame in frames(capture, "theirs") if control.is_begun(frame))
    result = begun.rindex(b"Xw")
    failed = begun[:result] + b"w\x06badopt"
    assert not control.is_begun(failed)
    assert control.parsed(failed)[0][-1] == "badopt"
    assert not control.is_begun(begun[:20])


def test_frames_that_are_no_frames_are_violations() -> None:
    """Another type byte, no control tuple, something behind the message, and garbage say so."""
    for frame in (b"q\x83j", b"p\x83j", b"p\x83h\x00", b"p\x83h\x01a\x02\x83jx", b"p", b"p\x83h\x01w\x01a"):
        with pytest.raises(ProtocolViolation):
            control.parsed(frame)


def test_a_length_that_cannot_be_meant_is_a_violation() -> None:
    """Three gigabytes announced, for example by an HTTP server's text, are not waited for."""
    reader = FrameReader(length_bytes=4)
    reader.feed(b"HTTP/1.1")
    with pytest.raises(ProtocolViolation):
        reader.next_frame()
    assert int.from_bytes(b"HTTP", "big") > MAX_FRAME_BYTES


def test_a_tick_is_an_empty_frame() -> None:
    """Four zero bytes, whatever stands around them."""
    reader = FrameReader(length_bytes=4)
    reader.feed(TICK + framed(b"x", length_bytes=4) + TICK[:3])
    assert [reader.next_frame(), reader.next_frame(), reader.next_frame()] == [b"", b"x", None]
    reader.feed(TICK[3:])
    assert reader.next_frame() == b""
