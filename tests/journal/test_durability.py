"""What is acknowledged is on disk: seen in the system calls, because kill -9 proves no durability."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from journal.reader import read
from journal.verify import verify
from tests.journal.stories import begin, success, told, written

HOME = Path(__file__).resolve().parents[2]
TRACED = "pwrite64,pwritev,pwritev2,write,fdatasync,fsync,openat,rename,renameat,mkdir,mkdirat,msync,sync_file_range"
BEGIN, ACKNOWLEDGED = "BEGIN", "ACKNOWLEDGED"

PROGRAM = """
import os, sys, time
from pathlib import Path
from journal.events import UpgradeInterrupted
from journal.opening import create_or_open
from journal.store import Store
folder, sync = Path(sys.argv[1]), sys.argv[2] == "sync"
store = create_or_open(folder, clock=time.time_ns, node="emqx@127.0.0.1", root="/opt/emqx")
if not sync:
    store.close()
    store = Store(folder, 1, clock=time.time_ns, sync=False)
for _ in range(3):
    os.write(2, b"BEGIN")
    store.append(UpgradeInterrupted(why="test", runs_now="5.10.4"), upgrade_id=None)
    os.write(2, b"ACKNOWLEDGED")
"""


def traced(folder: Path, tmp_path: Path, *, sync: bool = True) -> list[str]:
    """The system calls of a process that begins a journal and appends three events."""
    strace = shutil.which("strace")
    assert strace is not None, "the project's set-up installs strace"
    log = tmp_path / "calls"
    subprocess.run(
        [
            *(strace, "-f", "-y", "-e", f"trace={TRACED}", "-o", str(log)),
            *(sys.executable, "-c", PROGRAM, str(folder), "sync" if sync else "no-sync"),
        ],
        cwd=HOME,
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(HOME)},
    )
    return log.read_text(errors="replace").splitlines()


@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
@pytest.mark.parametrize("when", range(1, 5))
def test_killed_inside_the_commit_the_entry_is_there_whole_or_not_at_all(
    tmp_path: Path, folder: Path, call: str, when: int
) -> None:
    """At each of LMDB's own system calls: pages, their sync, the meta page, and our note after it."""
    written(tmp_path, told(success))
    before = list(read(folder).entries())
    strace = shutil.which("strace")
    assert strace is not None, "the project's set-up installs strace"
    program = PROGRAM.replace("range(3)", "range(2)")
    subprocess.run(
        [
            *(strace, "-f", "-o", "/dev/null", "-e", f"trace={call}"),
            *("-e", f"inject={call}:signal=KILL:when={when}"),
            *(sys.executable, "-c", program, str(folder), "sync"),
        ],
        cwd=HOME,
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(HOME)},
    )
    after = list(read(folder).entries())
    assert after[: len(before)] == before
    assert [entry.seq for entry in after] == list(range(1, len(after) + 1))
    assert len(after) - len(before) <= 2
    with begin(tmp_path) as store:
        assert store.append(success()[0], upgrade_id=None).seq == len(after) + 1
    assert verify(folder).damage is None


def appends(calls: list[str]) -> list[list[str]]:
    """The calls between the beginning of each append and its acknowledgement."""
    found: list[list[str]] = []
    inside = False
    for call in calls:
        if f'"{BEGIN}"' in call:
            found.append([])
            inside = True
        elif f'"{ACKNOWLEDGED}"' in call:
            inside = False
        elif inside:
            found[-1].append(call)
    return found


def is_durable(append: list[str], meta_descriptors: set[str]) -> bool:
    """Data, then fdatasync, then a meta page by a descriptor that waits for the disk."""
    kinds = []
    for call in append:
        name, descriptor = re.findall(r"\b(\w+)\((\d+)<", call)[0]
        if "data.mdb" not in call:
            continue
        if name == "fdatasync":
            kinds.append("sync")
        elif name.startswith("pwrite"):
            kinds.append("meta" if descriptor in meta_descriptors else "pages")
    return re.fullmatch(r"(pages )+sync meta ", "".join(f"{kind} " for kind in kinds)) is not None


def synchronous(calls: list[str]) -> set[str]:
    """Descriptors of the environment whose writes wait for the disk."""
    opened = re.compile(r"openat\(.*data\.mdb\".*O_DSYNC.*= (\d+)<")
    return {match[1] for call in calls if (match := opened.search(call))}


def test_append_waits_for_the_pages_and_for_the_meta_page(folder: Path, tmp_path: Path) -> None:
    """fdatasync and the synchronous meta write both return before `append` does."""
    calls = traced(folder, tmp_path)
    found = appends(calls)
    assert len(found) == 3
    assert all(is_durable(append, synchronous(calls)) for append in found)


def test_this_test_goes_red_with_sync_off(folder: Path, tmp_path: Path) -> None:
    """The same look at a store that does not wait finds that it does not."""
    calls = traced(folder, tmp_path, sync=False)
    found = appends(calls)
    assert len(found) == 3
    assert not any(is_durable(append, synchronous(calls)) for append in found)


@pytest.mark.parametrize(
    ("made", "synced"),
    [
        (r'mkdir\(".*/relup", ', r"fsync\(\d+<{root}>\)"),
        (r'mkdir\(".*/relup/journal", ', r"fsync\(\d+<{root}/relup>\)"),
        (r'openat\(.*/1/data\.mdb", O_RDWR\|O_CREAT', r"fsync\(\d+<{root}/relup/journal/1>\)"),
        (r'rename\w*\(.*/generation\.new".*/generation"', r"fsync\(\d+<{root}/relup/journal>\)"),
        (r'mkdir\(".*/journal/1", ', r"fsync\(\d+<{root}/relup/journal>\)"),
    ],
)
def test_the_names_of_a_new_journal_are_durable_too(
    folder: Path, tmp_path: Path, made: str, synced: str
) -> None:
    """Each folder is fsynced after the name in it was made and before the first append is acknowledged."""
    calls = traced(folder, tmp_path)
    calls = calls[: next(index for index, call in enumerate(calls) if f'"{ACKNOWLEDGED}"' in call)]
    first_made = next(index for index, call in enumerate(calls) if re.search(made, call))
    root = re.escape(os.path.realpath(tmp_path))
    assert any(re.search(synced.format(root=root), call) for call in calls[first_made + 1 :])
