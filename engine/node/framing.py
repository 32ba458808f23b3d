"""Cuts a byte stream into length-prefixed frames and puts the prefix on. Pure.

Handshake frames over TCP carry 2-byte lengths, over TLS 4-byte ones; once connected always 4. A frame of
length 0 is a tick: it only says that the other side lives.
"""

from engine.node.errors import ProtocolViolation

MAX_FRAME_BYTES = 512 * 1024 * 1024
TICK = b"\0\0\0\0"


class FrameReader:
    """Collects bytes until frames are whole.

    `length_bytes` may be changed between two frames: it counts for the next one cut.
    """

    def __init__(self, *, length_bytes: int) -> None:
        self.length_bytes = length_bytes
        self._bytes = bytearray()

    def feed(self, received: bytes | memoryview) -> None:
        """Add what came from the stream."""
        self._bytes += received

    def next_frame(self) -> bytes | None:
        """The next whole frame without its length, None when more bytes are needed.

        Raises:
            ProtocolViolation: The length announced cannot be meant.
        """
        held = len(self._bytes)
        if held < self.length_bytes:
            return None
        size = int.from_bytes(self._bytes[: self.length_bytes], "big")
        if size > MAX_FRAME_BYTES:
            raise ProtocolViolation(
                f"The node announced a message of {size} bytes.",
                next="Check that the port is an Erlang node's distribution port.",
            )
        end = self.length_bytes + size
        if held < end:
            return None
        frame = bytes(memoryview(self._bytes)[self.length_bytes : end])
        del self._bytes[:end]
        return frame


def framed(payload: bytes, *, length_bytes: int) -> bytes:
    """The payload with its length before it."""
    return len(payload).to_bytes(length_bytes, "big") + payload
