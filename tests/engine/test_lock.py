"""One relup at a time: with real processes, which are also killed."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from engine.errors import Busy, NoWritePermission
from engine.lock import PATIENCE_S, held, holder
from tests.engine.hold_lock import COMMAND

HOUSE = Path(__file__).resolve().parents[2]


@contextmanager
def another_relup(lock: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that holds the lock, and what it said."""
    command = [sys.executable, "-m", "tests.engine.hold_lock", str(lock), *words]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=HOUSE, stdin=pipe, stdout=pipe, text=True)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_a_second_relup_is_refused_and_told_who_holds_the_lock(tmp_path: Path) -> None:
    """By command and pid; start time and boot id name the process for all time."""
    lock = tmp_path / "lock"
    with another_relup(lock) as (process, _):
        with pytest.raises(Busy, match=f"{COMMAND}, pid {process.pid}") as refused, held(lock, command="x"):
            pass
        assert refused.value.next
        found = holder(lock)
        assert found is not None
        assert (found.pid, found.command) == (process.pid, COMMAND)
        assert found.start_time == psutil.Process(process.pid).create_time()
        assert found.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_killed_holder_frees_the_lock_although_its_name_still_stands_there(tmp_path: Path) -> None:
    """The kernel drops it; nobody has to delete a file."""
    lock = tmp_path / "lock"
    with another_relup(lock) as (process, _):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert str(process.pid) in lock.read_text()
        assert holder(lock) is None
        with held(lock, command="relup recover"):
            assert str(os.getpid()) in lock.read_text()


def test_a_program_started_by_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A rehearsal that outlives a killed relup is not a relup."""
    lock = tmp_path / "lock"
    with another_relup(lock, "--with-child") as (process, child_pid):
        try:
            process.kill()
            process.wait()
            assert psutil.pid_exists(int(child_pid))
            with held(lock, command="relup recover"):
                pass
        finally:
            with suppress(ProcessLookupError):
                os.kill(int(child_pid), signal.SIGKILL)


def test_the_lock_is_free_after_the_block_also_when_it_raised(tmp_path: Path) -> None:
    """And may be taken again by the same process."""
    lock = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), held(lock, command="x"):
        raise ZeroDivisionError
    assert holder(lock) is None
    with held(lock, command="x"):
        pass


def test_nobody_holds_a_lock_that_is_not_there(tmp_path: Path) -> None:
    """Asking makes no file."""
    assert holder(tmp_path / "lock") is None
    assert not list(tmp_path.iterdir())


def test_a_reader_who_asks_does_not_refuse_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks by holding the lock shared for a moment, and an upgrade may begin in that moment."""
    monkeypatch.setattr("engine.lock.PATIENCE_S", 10 * PATIENCE_S)
    lock = tmp_path / "lock"
    lock.touch()
    reader = os.open(lock, os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_SH)
    done = threading.Timer(PATIENCE_S / 5, os.close, [reader])
    done.start()
    with held(lock, command="x"):
        assert holder(lock) is not None
    done.join()


@pytest.mark.parametrize("written", ["", "{", '{"pid": "x"}', "\0" * 40])
def test_a_holder_that_has_not_written_its_name_is_busy_all_the_same(tmp_path: Path, written: str) -> None:
    """Between its locking and its writing, or after a torn write, the lock is what counts."""
    lock = tmp_path / "lock"
    with held(lock, command="x"):
        lock.write_text(written)
        found = holder(lock)
        assert found is not None
        assert found.command
        with pytest.raises(Busy), held(lock, command="y"):
            pass


def test_a_symlink_in_its_place_is_not_followed(tmp_path: Path) -> None:
    """Else who may write there could have any file emptied."""
    precious = tmp_path / "precious"
    precious.write_text("data")
    lock = tmp_path / "lock"
    lock.symlink_to(precious)
    with pytest.raises(NoWritePermission) as refused, held(lock, command="x"):
        pass
    assert refused.value.name == "no_write_permission"
    with pytest.raises(NoWritePermission):
        holder(lock)
    assert precious.read_text() == "data"


def test_the_lock_file_is_private(tmp_path: Path) -> None:
    """Only the node's user may hold it."""
    with held(tmp_path / "lock", command="x"):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
