"""The module md5s of one tree, taken by a child process while this one imports, finds and asks the node.

Both take about as long, and `relup status` has a quarter of a second for everything. A child that fails
costs nothing but time: whoever asks gets no answer and hashes for himself.
"""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import msgspec

from engine.errors import RelupError
from engine.place import Place
from engine.release.beam import file_md5s
from engine.release.marker import read_marker
from engine.release.tree import ReleaseTree

_answers = msgspec.msgpack.Decoder(dict[str, str])


class Hashing:
    """A child that hashes the modules of `root`.

    Attributes:
        root: The tree's folder.
    """

    def __init__(self, root: Path, child: int, reading: int) -> None:
        self.root = root
        self._child = child
        self._reading = reading

    def md5s(self) -> Mapping[str, str] | None:
        """Module to md5, lower-case hex; None when the child has failed. Waits for it; to be asked once."""
        with os.fdopen(self._reading, "rb") as stream:
            self._reading = -1
            answer = stream.read()
        with suppress(msgspec.DecodeError):
            return _answers.decode(answer)
        return None

    def end(self) -> None:
        """The child is no longer needed."""
        if self._reading >= 0:
            os.close(self._reading)
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)


@contextmanager
def hashing(root: Path) -> Iterator[Hashing | None]:
    """Hash the tree at `root` for the length of the block; None where there is no second core to do it on."""
    if len(os.sched_getaffinity(0)) < 2:
        yield None
        return
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _hash(root, writing)
    os.close(writing)
    begun = Hashing(root, child, reading)
    try:
        yield begun
    finally:
        begun.end()


def hashing_of_likely(place: Place) -> AbstractContextManager[Hashing | None]:
    """The same for the tree that runs most likely: the one that was made permanent last, else the base."""
    marked = read_marker(place.root).version
    return hashing(place.tree(marked) if marked else place.root)


def _hash(root: Path, writing: int) -> NoReturn:
    """The child's whole life. What goes wrong here is told by the one who has to do it again."""
    try:
        with suppress(RelupError, BrokenPipeError), os.fdopen(writing, "wb") as stream:
            stream.write(msgspec.msgpack.encode(file_md5s(ReleaseTree.read(root).modules)))
    finally:
        os._exit(0)
