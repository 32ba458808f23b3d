"""The socket after the handshake: read, write, ticks.

One I/O thread waits on the socket, answers ticks and writes what the socket did not take at once. A change
of threads costs more than a call of the node, so a thread that waits for an answer reads in its stead
meanwhile (`pump`): one at a time, whoever gets `_reading`; the I/O thread then only keeps the clock. A TLS
session must not be used by two threads at once, so there the I/O thread does everything.
"""

import contextlib
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from engine.errors import NodeUnreachable
from engine.node.errors import ConnectionLost, ProtocolViolation
from engine.node.framing import TICK, FrameReader, framed

_TICK_INTERVAL_S = 5.0
"""We speak at least this often; the node's own ticks are answered besides (its default is every 15 s)."""
_READ_BYTES = 256 * 1024


def _not_now(*, is_tls: bool) -> tuple[type[OSError], ...]:
    """How a socket says that it has nothing to read, or no room to write, just now."""
    plain = (BlockingIOError, InterruptedError)
    if not is_tls:
        return plain
    import ssl  # takes long to import, and only nodes that encrypt their distribution need it

    return (*plain, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Wire:
    """Frames to and from one node.

    Args:
        connected: The socket, handshake done.
        reader: Holds what came behind the handshake; cuts 4-byte frames from now on.
        on_frame: Called for each frame but ticks, by one thread at a time.
        on_lost: Called once, when the connection ends in whatever way.
        node: For error texts.
        is_tls: The socket is a TLS session.
    """

    def __init__(
        self,
        connected: socket.socket,
        *,
        reader: FrameReader,
        on_frame: Callable[[bytes], None],
        on_lost: Callable[[NodeUnreachable], None],
        node: str,
        is_tls: bool,
    ) -> None:
        self._socket = connected
        self._not_now = _not_now(is_tls=is_tls)
        self._reader = reader
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._node = node
        self._waiting: deque[memoryview] = deque()
        self._sending = threading.Lock()
        self._reading = threading.Lock()
        self._received = memoryview(bytearray(_READ_BYTES))  # kept: to allocate it costs more than to read
        self._last_sent = time.monotonic()
        self._error: NodeUnreachable | None = None
        self._closing = False
        self._is_direct = not is_tls
        connected.setblocking(False)
        self._awake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._write_end = os.dup(
            connected.fileno()
        )  # so that "may write" is waited for apart from "may read"
        self._epoll = select.epoll()
        self._epoll.register(self._awake, select.EPOLLIN)
        self._epoll.register(connected, select.EPOLLIN)
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)
        self._thread = threading.Thread(target=self._run, name=f"node {node}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def send(self, payload: bytes) -> None:
        """Hand one frame over; it waits here while the node does not read.

        Raises:
            ConnectionLost: It cannot be sent any more.
        """
        unsent = framed(payload, length_bytes=4)
        with self._sending:
            if self._error is not None:
                raise self._error
            self._waiting.append(memoryview(unsent))
            if self._is_direct and len(self._waiting) == 1:
                self._flush()
            if self._waiting:
                self._wake()

    def ask(self, payload: bytes, is_done: Callable[[], bool], *, deadline: float) -> None:
        """Send one frame and `pump`: reading is taken over first, lest the answer wakes the I/O thread."""
        with self._reading_here() as is_ours:
            self.send(payload)
            if is_ours:
                self._read_until(is_done, deadline=deadline)

    def pump(self, is_done: Callable[[], bool], *, deadline: float) -> None:
        """Read in this thread until `is_done` or the deadline, unless another thread is at it.

        Returns early for any reason; the caller then waits for what the reading thread brings.
        """
        with self._reading_here() as is_ours:
            if is_ours:
                self._read_until(is_done, deadline=deadline)

    @contextlib.contextmanager
    def _reading_here(self) -> Iterator[bool]:
        """Take the reading over from the I/O thread; False when that is not possible now."""
        if not self._is_direct or not self._reading.acquire(blocking=False):
            yield False
            return
        try:
            if self._error is not None:
                yield False
                return
            self._epoll.unregister(self._socket)
            try:
                yield True
            finally:
                self._epoll.register(self._socket, select.EPOLLIN)
        finally:
            self._reading.release()

    def _read_until(self, is_done: Callable[[], bool], *, deadline: float) -> None:
        while not is_done() and self._error is None:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return
            if self._poll.poll(remaining_s * 1000):
                self._read()

    def close(self) -> None:
        """Hang up, after what is waiting was offered to the socket once more, and end the thread."""
        with self._sending:
            self._closing = True
            self._wake()
        self._thread.join()

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
        except self._not_now:
            return
        except OSError:
            self._waiting.clear()  # what the node said before is still to be read; then comes the end

    # ------------------------------------------------------------ reading; `_reading` is held

    def _read(self) -> None:
        """Read what is there and take its frames; whatever goes wrong ends the connection."""
        try:
            self._receive()
        except EOFError:
            self._fail("the node hung up")
        except OSError as why:
            self._fail(why.strerror or type(why).__name__)
        except ProtocolViolation as why:
            self._fail(why)
        except Exception as why:  # a fault of ours; callers must not wait for their deadline
            self._fail(f"fault in relup: {why!r}")
        except BaseException:  # in the middle of a frame nobody can go on reading
            self._fail("interrupted")
            raise

    def _receive(self) -> None:
        try:
            while True:
                size = self._socket.recv_into(self._received)
                if not size:
                    raise EOFError
                self._reader.feed(self._received[:size])
                self._take_frames()
                if self._is_direct:
                    return  # polling says when there is more; a TLS session may hold some back
        except self._not_now:
            return

    def _take_frames(self) -> None:
        while (frame := self._reader.next_frame()) is not None:
            if frame:
                self._on_frame(frame)
            else:
                self._tick()

    # ------------------------------------------------------------ the I/O thread

    def _run(self) -> None:
        with self._reading:
            self._take_frames()
        watches_writing = False
        while self._error is None and not self._closing:
            if watches_writing != bool(self._waiting):
                watches_writing = not watches_writing
                self._watch_writing(watches_writing)
            due_s = self._last_sent + _TICK_INTERVAL_S - time.monotonic()
            for file_number, _ in self._epoll.poll(max(0.0, due_s)):
                self._serve(file_number)
            if time.monotonic() - self._last_sent >= _TICK_INTERVAL_S:
                self._tick()
            with self._sending:
                self._flush()
        self._fail("closed by us")
        self._release()

    def _watch_writing(self, wanted: bool) -> None:
        if wanted:
            self._epoll.register(self._write_end, select.EPOLLOUT)
        else:
            self._epoll.unregister(self._write_end)

    def _serve(self, file_number: int) -> None:
        if file_number == self._awake:
            os.eventfd_read(self._awake)
        elif file_number == self._socket.fileno() and self._reading.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._reading.release()

    def _tick(self) -> None:
        with self._sending:
            if not self._waiting:  # else what waits is a sign of life
                self._waiting.append(memoryview(TICK))
                self._last_sent = time.monotonic()
            if self._is_direct:
                self._flush()

    def _fail(self, why: str | ProtocolViolation) -> None:
        """Nothing can be sent or received from now on; tell whoever waits. Any thread, first one counts."""
        error = why if isinstance(why, ProtocolViolation) else self._lost_because(why)
        with self._sending:
            if self._error is not None:
                return
            self._wake()
            self._error = error
            self._waiting.clear()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # a thread that pumps sees the end
        self._on_lost(error)

    def _release(self) -> None:
        with self._reading:
            self._epoll.close()
            self._socket.close()
            os.close(self._write_end)
            os.close(self._awake)

    def _lost_because(self, why: str) -> ConnectionLost:
        return ConnectionLost(
            f"Connection to node {self._node} lost ({why}): what was under way has an unknown outcome.",
            next="See whether the node runs; `relup status` and `relup recover` tell what it did.",
        )
