"""Opening the house: the right to write, the lock, the journal, in this order; and closing it again.

A RootDir that cannot be written is refused before the first byte; a second relup is refused before the
journal is opened.
"""

import getpass
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from engine.clock import Clock
from engine.errors import NoWritePermission
from engine.lock import busy_with, held, holder
from engine.node.door import Node
from engine.place import Place
from engine.release.staging import make_relup_folder
from engine.run import House
from engine.unwritten import Unwritten
from journal.door import Journal
from journal.events import Requester
from journal.opening import create_or_open


def requester(tool_version: str) -> Requester:
    """Who runs this command. Called before privileges are dropped: the journal names the person."""
    user = os.environ.get("SUDO_USER") or _user_name()
    return Requester(user=user, host=socket.gethostname(), pid=os.getpid(), tool_version=tool_version)


def _user_name() -> str:
    """The name of this process's user; its number where the machine knows no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def require_writable(place: Place) -> None:
    """Refuse a RootDir that this user cannot write.

    Raises:
        NoWritePermission
    """
    for folder in (place.root, place.relup):
        # RootDir is asked first: where it cannot be entered, nobody can tell whether relup/ is there.
        if (folder == place.root or folder.exists()) and not os.access(folder, os.W_OK | os.X_OK):
            raise NoWritePermission(
                f"The user {_user_name()} may not write to {folder}.",
                next="Run relup as the user that runs the node, or as root.",
            )


@contextmanager
def open_house(
    place: Place,
    furnish: Callable[[Journal], House],
    *,
    clock: Clock,
    node_name: str | None,
    command: str,
) -> Iterator[House]:
    """A house with its lock held and its journal open for writing, for the length of the block.

    Args:
        place: Its RootDir.
        furnish: Makes the house around the journal.
        clock: Tells the journal the time.
        node_name: The node that the journal is of.
        command: What to tell a second relup that is refused.

    Raises:
        NoWritePermission, Busy, JournalError
    """
    require_writable(place)
    make_relup_folder(place.relup)
    with (
        held(place.lock, command=command),
        create_or_open(place.journal, clock=clock.now_ns, node=node_name, root=str(place.root)) as journal,
        _hanging_up(furnish(journal)) as house,
    ):
        yield house


@contextmanager
def rehearsal_house(place: Place, furnish: Callable[[Journal], House], *, clock: Clock) -> Iterator[House]:
    """A house whose journal is forgotten: for `plan` and `--dry-run`, which leave nothing behind.

    Raises:
        NoWritePermission: The staging could not be written.
        Busy: A relup is at work.
    """
    require_writable(place)
    at_work = holder(place.lock)
    if at_work is not None:
        raise busy_with(at_work)
    with _unless_it_was_there(place.relup), _hanging_up(furnish(Unwritten(clock))) as house:
        yield house


@contextmanager
def _unless_it_was_there(folder: Path) -> Iterator[None]:
    """Remove `folder` afterwards when it was made meanwhile and nobody else has put anything into it."""
    was_there = folder.exists()
    try:
        yield
    finally:
        if not was_there:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _hanging_up(house: House) -> Iterator[House]:
    """The house, whose every connection to the node is closed at the end, however it comes."""
    with ExitStack() as opened:

        def connect() -> Node:
            node = house.connect()
            opened.callback(node.close)
            return node

        yield replace(house, connect=connect)
