"""A full disk: on a real small filesystem where that can be mounted, and injected where it cannot."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from journal.ballast import FILE
from journal.errors import JournalDamaged, JournalError, JournalFull, JournalPlace
from journal.events import StepFailed, UpgradeId
from journal.opening import create_or_open
from journal.reader import read
from journal.store import Store
from tests.journal.stories import FAILURE, Ticking, begin, folder_of, success, told, write
from tests.small_disk import fill, mounted

BULKY = StepFailed(step=4, name="LoadModules", failure=FAILURE)
U = UpgradeId("u1")
SMALL_BYTES = 1024 * 1024


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of one mebibyte."""
    with mounted(tmp_path / "small", size_bytes=SMALL_BYTES) as place:
        yield place


def append_until_full(store: Store) -> JournalFull:
    """The error that the first entry for which there is no room gets."""
    try:
        while True:
            store.append(BULKY, upgrade_id=U)
    except JournalFull as full:
        return full


def test_a_full_disk_is_an_error_and_loses_nothing(small: Path) -> None:
    """Every acknowledged entry is there, none is half there, and the journal goes on once there is room."""
    with begin(small) as store:
        assert "free some disk space" in append_until_full(store).next
        last = store.head().seq
        assert [entry.seq for entry in read(store.folder).entries()] == list(range(1, last + 1))
        subprocess.run(["mount", "-o", f"remount,size={2 * SMALL_BYTES}", small], check=True)
        store.append(BULKY, upgrade_id=U)
    assert [entry.seq for entry in read(folder_of(small)).entries()] == list(range(1, last + 2))


def test_the_ballast_carries_the_record_over_a_full_disk(small: Path) -> None:
    """With the disk filled by others, what was reserved for is still written."""
    with begin(small) as store:
        store.reserve(200_000)
        fill(small)
        for _ in range(100):
            store.append(BULKY, upgrade_id=U)
        assert not (store.folder / FILE).exists()
        assert len(list(read(store.folder).entries())) == 101


def test_without_the_ballast_the_same_disk_stops_the_record(small: Path) -> None:
    """The test above is about the ballast and nothing else."""
    with begin(small) as store:
        fill(small)
        append_until_full(store)
        assert store.head().seq < 100


def test_reading_needs_no_room(small: Path) -> None:
    """`status` answers on a full disk."""
    with begin(small) as store:
        write(store, told(success))
        expected = list(store.entries())
    fill(small)
    assert list(read(folder_of(small)).entries()) == expected


def test_opening_an_existing_journal_needs_no_room(small: Path) -> None:
    """`recover` can look on a full disk, and is told cleanly when it wants to write."""
    with begin(small) as store:
        write(store, told(success))
    fill(small)
    with begin(small) as store:
        assert store.head().seq > 1


def test_a_new_journal_on_a_full_disk_is_refused(small: Path) -> None:
    """Before anything of LMDB is there to be killed by SIGBUS."""
    fill(small)
    with pytest.raises(JournalFull):
        create_or_open(folder_of(small), clock=Ticking(), node=None, root="/opt/emqx")
    assert not folder_of(small).exists()


def test_a_reserve_larger_than_the_disk_is_refused_and_given_back(small: Path) -> None:
    """Better before the live steps than in them."""
    with begin(small) as store:
        free = shutil.disk_usage(small).free
        with pytest.raises(JournalFull, match="may record"):
            store.reserve(free * 2)
        assert not (store.folder / FILE).exists()
        store.append(BULKY, upgrade_id=U)


def test_the_reserve_is_real_blocks_and_goes_when_it_is_released(store: Store) -> None:
    """A sparse file would reserve nothing."""
    store.reserve(300_000)
    assert (store.folder / FILE).stat().st_blocks * 512 >= 300_000
    store.reserve(100_000)
    assert (store.folder / FILE).stat().st_size >= 300_000
    store.release()
    assert not (store.folder / FILE).exists()
    store.release()


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, JournalFull), (errno.EROFS, JournalPlace)], ids=["full", "other"]
)
def test_a_ballast_that_cannot_even_be_opened_is_an_error_of_the_journal(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[JournalError]
) -> None:
    """A new file needs a block too, and a disk may be read only by then."""

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("journal.ballast.os.open", fail)
    with pytest.raises(expected):
        store.reserve(100_000)


def test_a_record_is_acknowledged_also_when_its_note_cannot_be_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is durable by then: the note is a hint, and an older one claims nothing wrong."""

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr("journal.head_note.os.pwrite", fail)
        entry = store.append(BULKY, upgrade_id=U)
    assert list(read(store.folder).entries())[-1] == entry


def fail_writes(store: Store, error: lmdb.Error, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next write transactions of the store fail as on a full disk."""
    left = [error] * times

    class Failing:
        def __init__(self, real: lmdb.Environment) -> None:
            self._real = real

        def begin(self, **asked: Any) -> Any:
            if asked.get("write") and left:
                raise left.pop()
            return self._real.begin(**asked)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    real_open = lmdb.open
    monkeypatch.setattr("lmdb.open", lambda *place, **how: Failing(real_open(*place, **how)))
    monkeypatch.setattr(store.environment, "lmdb", Failing(store.environment.lmdb))


ENOSPC = lmdb.DiskError("mdb_txn_commit", 28)
SHORT_WRITE = lmdb.Error("mdb_txn_commit", 5)


@pytest.mark.parametrize("error", [ENOSPC, SHORT_WRITE])
def test_a_failed_write_gives_up_the_ballast_and_is_repeated_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: lmdb.Error
) -> None:
    """Also where LMDB calls a write that the disk cut short an input/output error."""
    monkeypatch.setattr("journal.place.free_bytes", lambda folder: 1000)
    store.reserve(10_000)
    fail_writes(store, error, 1, monkeypatch)
    store.append(BULKY, upgrade_id=U)
    assert not (store.folder / FILE).exists()
    assert len(list(store.entries())) == 2


def test_an_input_output_error_with_room_left_is_no_full_disk(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing disk keeps its name, and the ballast."""
    store.reserve(10_000)
    fail_writes(store, SHORT_WRITE, 1, monkeypatch)
    with pytest.raises(JournalDamaged, match="cannot be used"):
        store.append(BULKY, upgrade_id=U)
    assert (store.folder / FILE).exists()


@pytest.mark.parametrize("times", [1, 2])
def test_a_write_that_goes_on_failing_is_an_error(
    store: Store, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Without a ballast at once, with one after the second try; the head stays where it was."""
    head = store.head()
    if times == 2:
        store.reserve(10_000)
    fail_writes(store, ENOSPC, times, monkeypatch)
    with pytest.raises(JournalFull):
        store.append(BULKY, upgrade_id=U)
    assert store.head() == head
    store.append(BULKY, upgrade_id=U)
    assert [entry.seq for entry in read(store.folder).entries()] == [1, 2]


def test_a_commit_that_failed_after_all_was_written_is_not_repeated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is looked for before it is written again: it must not be there twice, nor be an error."""
    real = Store._write

    def write_then_fail(own: Store, stored_key: bytes, value: bytes) -> None:
        real(own, stored_key, value)
        raise JournalFull("no room for the meta page", next="free some disk space")

    monkeypatch.setattr(Store, "_write", write_then_fail)
    store.append(BULKY, upgrade_id=U)
    assert [entry.seq for entry in store.entries()] == [1, 2]


def test_a_full_map_says_what_frees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The map is address space; when it is full after all, clearing the history is the way out."""
    monkeypatch.setattr("journal.environment.MAP_SIZE_BYTES", 256 * 1024)
    with begin(tmp_path) as store:
        full = append_until_full(store)
        assert "largest size" in full.happened
        assert "logs-clear" in full.next
        head = store.head()
    assert read(folder_of(tmp_path)).head() == head


def test_no_block_of_the_lock_file_is_missing(store: Store) -> None:
    """A sparse table of readers kills the reader that touches a missing page on a full disk."""
    found = os.stat(store.folder / "1" / "lock.mdb")  # noqa: PTH116 - the same as everywhere
    assert found.st_blocks * 512 >= found.st_size == 8192
