"""Following a journal that is being written: each entry once, in order, without touching the writer."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import lmdb
import pytest

from journal.compaction import clear_history
from journal.environment import ENTRIES, MAP_SIZE_BYTES, MAX_DBS, MAX_READERS
from journal.errors import JournalForeign
from journal.events import Entry, UpgradeInterrupted
from journal.opening import create_or_open, start_fresh
from journal.reader import read
from journal.store import Store
from journal.view import View
from journal.walk import Batch
from tests.journal import raw
from tests.journal.stories import BY, Ticking, begin, folder_of, refused, told, write

EVENT = UpgradeInterrupted(why="test", runs_now="5.10.4")
APPENDS = 3_000
CLEAR_EVERY = 700


def is_read(generation: Path) -> bool:
    """Whether somebody holds that generation for reading."""
    descriptor = os.open(generation, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def writer(root: Path) -> int:
    """A process that appends and clears the history now and then, once it is followed; its pid."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        with create_or_open(folder_of(root), clock=Ticking(), node=None, root="/opt/emqx") as store:
            for number in range(1, APPENDS):
                store.append(EVENT, upgrade_id=None)
                while number == CLEAR_EVERY and not is_read(store.folder / "1"):
                    time.sleep(0.001)  # who comes after a clearing does not see what it dropped
                if number % CLEAR_EVERY == 0:
                    clear_history(store, until=store.head().seq - 50, dropped_upgrades=0, state={}, by=BY)
        code = 0
    finally:
        os._exit(code)


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Path]:
    """A root whose journal is being written."""
    child = writer(tmp_path)
    try:
        yield tmp_path
    finally:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_follower_sees_each_entry_once_and_in_order(busy: Path) -> None:
    """From before the journal is there, through four clearings, to the last entry."""
    expected = APPENDS + APPENDS // CLEAR_EVERY
    followed = read(folder_of(busy)).follow(poll_s=0.001)
    seen = [entry.seq for entry in islice(followed, expected)]
    assert seen == list(range(1, expected + 1))


def test_a_follower_that_falls_behind_several_clearings_misses_nothing(store: Store) -> None:
    """What it had no time to read is kept for it, generation by generation."""
    followed = read(store.folder).follow(poll_s=0.01)
    first = next(followed)
    for _ in range(3):
        write(store, told(*[refused] * 400))
        clear_history(store, until=store.head().seq, dropped_upgrades=400, state={}, by=BY)
    last = store.head().seq
    assert [first.seq, *(entry.seq for entry in islice(followed, last - 1))] == list(range(1, last + 1))


@pytest.mark.parametrize("clearings", [0, 1])
def test_a_fresh_journal_ends_the_following_of_the_old_one(store: Store, clearings: int) -> None:
    """Two histories are never told as one, whatever the number of their generation."""
    write(store, told(refused))
    for _ in range(clearings):
        clear_history(store, until=store.head().seq, dropped_upgrades=1, state={}, by=BY)
    followed = read(store.folder).follow(poll_s=0.01)
    next(followed)
    store.close()
    fresh, _ = start_fresh(store.folder, clock=Ticking(), node=None, root="/opt/emqx")
    with fresh, pytest.raises(JournalForeign, match="another journal"):
        list(followed)


def test_following_can_begin_in_the_middle(store: Store) -> None:
    """`start` is the first sequence number that comes."""
    write(store, told(refused, refused))
    followed = read(store.folder).follow(5, poll_s=0.01)
    assert next(followed).seq == 5


def test_what_is_appended_later_arrives(store: Store) -> None:
    """The follower waits for it."""
    followed = read(store.folder).follow(2, poll_s=0.01)
    for number in range(2, 6):
        appended = store.append(EVENT, upgrade_id=None)
        assert next(followed) == appended
        assert appended.seq == number


def _children() -> list[str]:
    """Pids of this thread's children; nodes of other tests may be among them."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_a_follower_that_is_let_go_leaves_no_process(store: Store) -> None:
    """Its child ends with it."""
    others = set(_children())
    followed = read(store.folder).follow(poll_s=0.01)
    next(followed)
    children = [child for child in _children() if child not in others]
    assert len(children) == 1
    del followed
    assert not Path(f"/proc/{children[0]}").exists()


def test_a_child_whose_follower_was_killed_ends_by_itself(store: Store) -> None:
    """Nobody is left polling for ever."""
    reading, writing = os.pipe()
    follower = os.fork()
    if follower == 0:
        followed: Iterator[Entry] = read(store.folder).follow(poll_s=0.01)
        next(followed)
        children = _children()
        os.write(writing, children[0].encode())
        time.sleep(60)
        os._exit(0)
    child = int(os.read(reading, 20))
    os.kill(follower, signal.SIGKILL)
    os.waitpid(follower, 0)
    deadline = time.monotonic() + 20
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_slow_reader_does_not_make_the_file_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No read transaction stays open between two batches, so pages are used again."""
    monkeypatch.setattr("journal.child.PIPE_BYTES", 4096)  # the reader's child waits early
    with begin(tmp_path) as store:
        write(store, told(*[refused] * 1000))
        slow = read(store.folder).entries()
        next(slow)
        before = store.environment.lmdb.info()["last_pgno"]
        for number in range(600):
            store.save_snapshot("test.1", seq=1, state=number.to_bytes(2, "big") * 1500)
        # A transaction that stayed open would keep three or more pages of each.
        assert store.environment.lmdb.info()["last_pgno"] - before < 1000
        assert len(list(slow)) == 5000


def test_slots_of_readers_that_were_killed_are_freed(tmp_path: Path) -> None:
    """A reader killed inside a transaction would pin its pages for as long as anyone has the journal open."""
    with begin(tmp_path) as store:
        write(store, told(refused))
    other = read(folder_of(tmp_path)).follow(poll_s=0.05)
    next(other)
    stale = os.fork()
    if stale == 0:
        path = str(raw.current(folder_of(tmp_path)))
        environment = lmdb.open(
            path, readonly=True, max_dbs=MAX_DBS, map_size=MAP_SIZE_BYTES, max_readers=MAX_READERS
        )
        entries = environment.open_db(ENTRIES, create=False)
        with environment.begin(db=entries):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(stale, 0)
    with begin(tmp_path) as store:
        assert f" {stale} " not in store.environment.lmdb.readers()
    assert next(other).seq == 2


def test_what_is_written_between_reading_and_looking_for_the_next_generation_is_seen(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The follower asks whether its generation is the last one before it reads it, not after."""
    reached, reach = os.pipe()
    go_on, let_go = os.pipe()
    real = View.batches
    stops = iter([True])

    def stopping(view: View, start: int) -> Iterator[Batch]:
        yield from real(view, start)
        if next(stops, False):
            os.write(reach, b"x")
            os.read(go_on, 1)

    monkeypatch.setattr(View, "batches", stopping)
    followed = read(store.folder).follow(poll_s=0.01)
    assert next(followed).seq == 1
    os.read(reached, 1)
    write(store, told(refused))
    clear_history(store, until=store.head().seq, dropped_upgrades=1, state={}, by=BY)
    os.write(let_go, b"x")
    assert [entry.seq for entry in islice(followed, 6)] == [2, 3, 4, 5, 6, 7]
