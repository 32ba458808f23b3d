"""The socket after the handshake: one thread reads, writes what is waiting, and keeps the node content.

A sender tries the socket itself first, so that a call costs one change of threads, not two. Ticks are
answered by the I/O thread, whatever the other threads wait for.
"""

import os
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable

from engine.errors import NodeUnreachable
from engine.node.errors import ConnectionLost, ProtocolViolation
from engine.node.framing import TICK, FrameReader, framed

_TICK_INTERVAL_S = 5.0
"""We speak at least this often; the node's own ticks are answered besides (its default is every 15 s)."""
_READ_BYTES = 256 * 1024
_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Wire:
    """Frames to and from one node.

    Args:
        connected: The socket, handshake done.
        reader: Holds what came behind the handshake; cuts 4-byte frames from now on.
        on_frame: Called in the I/O thread for each frame but ticks.
        on_lost: Called once, in the I/O thread, when the connection ends in whatever way.
        node: For error texts.
    """

    def __init__(
        self,
        connected: socket.socket,
        *,
        reader: FrameReader,
        on_frame: Callable[[bytes], None],
        on_lost: Callable[[NodeUnreachable], None],
        node: str,
    ) -> None:
        self._socket = connected
        self._reader = reader
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._node = node
        self._waiting: deque[memoryview] = deque()
        self._sending = threading.Lock()
        self._last_sent = time.monotonic()
        self._error: NodeUnreachable | None = None
        self._closing = False
        self._awake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # A TLS session must not be read by one thread while another one writes.
        self._is_direct = not isinstance(connected, ssl.SSLSocket)
        connected.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"node {node}", daemon=True)

    def start(self) -> None:
        """Begin to read; `on_frame` may be called before this returns."""
        self._thread.start()

    def send(self, payload: bytes) -> None:
        """Hand one frame over; it waits here while the node does not read.

        Raises:
            ConnectionLost: It cannot be sent any more.
        """
        self._send_bytes(framed(payload, length_bytes=4))

    def close(self) -> None:
        """Hang up, after what is waiting was offered to the socket once more, and end the thread."""
        with self._sending:
            self._closing = True
            self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _send_bytes(self, unsent: bytes) -> None:
        with self._sending:
            if self._error is not None or self._closing:
                raise self._error or self._lost_because("closed by us")
            self._waiting.append(memoryview(unsent))
            if self._is_direct and len(self._waiting) == 1:
                self._flush()
            if self._waiting:
                self._wake()

    def _wake(self) -> None:
        """The lock is held: once there is an error, the event's number may belong to another file."""
        if self._error is None:
            os.eventfd_write(self._awake, 1)

    def _flush(self) -> None:
        """Write what the socket takes. The lock is held."""
        try:
            while self._waiting:
                written = self._socket.send(self._waiting[0])
                self._last_sent = time.monotonic()
                if written == len(self._waiting[0]):
                    self._waiting.popleft()
                else:
                    self._waiting[0] = self._waiting[0][written:]
        except _NOT_NOW:
            return
        except ConnectionError:
            self._waiting.clear()  # what the node said before is still to be read; then comes the end

    def _run(self) -> None:
        error: NodeUnreachable
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._awake, selectors.EVENT_READ)
                selector.register(self._socket, selectors.EVENT_READ)
                self._take_frames()
                while not self._closing:
                    self._turn(selector)
                self._write()
                error = self._lost_because("closed by us")
        except EOFError:
            error = self._lost_because("the node hung up")
        except OSError as why:
            error = self._lost_because(why.strerror or type(why).__name__)
        except ProtocolViolation as why:
            error = why
        except Exception as why:  # a fault of ours must not leave callers waiting for their deadline
            error = self._lost_because(f"fault in relup: {why!r}")
        self._end(error)

    def _turn(self, selector: selectors.BaseSelector) -> None:
        """Wait for something to do, at most until the next tick is due, and do it."""
        with self._sending:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._waiting else 0)
        selector.modify(self._socket, wanted)
        due_s = self._last_sent + _TICK_INTERVAL_S - time.monotonic()
        for key, _ in selector.select(max(0.0, due_s)):
            if key.fd == self._awake:
                os.eventfd_read(self._awake)
            else:
                self._read()
        self._write()

    def _read(self) -> None:
        try:
            while True:
                received = self._socket.recv(_READ_BYTES)
                if not received:
                    raise EOFError
                self._reader.feed(received)
                self._take_frames()
                if self._is_direct:
                    return  # the selector says when there is more; TLS may hold some back
        except _NOT_NOW:
            return

    def _take_frames(self) -> None:
        while (frame := self._reader.next_frame()) is not None:
            if frame:
                self._on_frame(frame)
            else:
                self._tick()

    def _write(self) -> None:
        with self._sending:
            self._flush()
        if time.monotonic() - self._last_sent >= _TICK_INTERVAL_S:
            self._tick()

    def _tick(self) -> None:
        with self._sending:
            if not self._waiting:  # else what waits is a sign of life
                self._waiting.append(memoryview(TICK))
                self._last_sent = time.monotonic()

    def _end(self, error: NodeUnreachable) -> None:
        with self._sending:
            self._error = error
            self._waiting.clear()
            self._socket.close()
            os.close(self._awake)
        self._on_lost(error)

    def _lost_because(self, why: str) -> ConnectionLost:
        return ConnectionLost(
            f"Connection to node {self._node} lost ({why}): what was under way has an unknown outcome.",
            next="See whether the node runs; `relup status` and `relup recover` tell what it did.",
        )
