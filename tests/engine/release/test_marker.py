"""The marker is old or new, never torn: not after a failure, not after a kill, not after a power cut."""

import errno
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.place import Place
from engine.release.errors import CannotWriteMarker
from engine.release.marker import Marker, read_marker, remove_marker, write_marker

_OLD, _NEW = "5.10.5", "5.10.6"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "relup").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"5.10.5", Marker("version", "5.10.5")),
        (b"5.10.5\n", Marker("version", "5.10.5")),
        (b"5.10.5\r\n", Marker("version", "5.10.5")),
        (b"5.10.5-rc.1", Marker("version", "5.10.5-rc.1")),
        (b"", Marker("empty")),
        (b"\n", Marker("empty")),
        (b"  \n", Marker("empty")),
        (b"5.10", Marker("invalid", problem="it does not hold a version")),
        (b"5.10.5\n\n", Marker("invalid", problem="it does not hold a version")),
        (b"5.10.5 ", Marker("invalid", problem="it does not hold a version")),
        (b"../5.10.5", Marker("invalid", problem="it does not hold a version")),
        (b"\x00" * 6, Marker("invalid", problem="it does not hold a version")),
        (b"5.10.5\xff", Marker("invalid", problem="it does not hold a version")),
        (b"5" * 5000, Marker("invalid", problem="it does not hold a version")),
    ],
)
def test_what_lies_at_the_marker_is_named(root: Path, content: bytes, expected: Marker) -> None:
    """A version, nothing, or something that EMQX's wrapper would stumble over."""
    Place(root).marker.write_bytes(content)
    assert read_marker(root) == expected


def test_no_marker_is_absent_and_a_wrong_kind_of_file_is_invalid(root: Path) -> None:
    """Missing, a folder, a link to nothing, a pipe: told apart without an exception."""
    marker = Place(root).marker
    assert read_marker(root).state == "absent"
    assert read_marker(root / "nowhere").state == "absent"
    marker.mkdir()
    assert read_marker(root).state == "invalid"
    marker.rmdir()
    marker.symlink_to("nothing")
    assert read_marker(root).state == "invalid"
    marker.unlink()
    os.mkfifo(marker)
    assert read_marker(root).state in {"invalid", "empty"}


def test_a_written_marker_is_read_back_and_removed(root: Path) -> None:
    """Only relup/current is there afterwards, readable for the boot wrapper of any user."""
    write_marker(root, _OLD)
    write_marker(root, _NEW)
    assert read_marker(root) == Marker("version", _NEW)
    assert Place(root).marker.read_bytes() == _NEW.encode()
    assert [path.name for path in Place(root).relup.iterdir()] == ["current"]
    remove_marker(root)
    remove_marker(root)
    assert list(Place(root).relup.iterdir()) == []


class Crash(Exception):
    """The power went."""


class _Disk:
    """The os door over real files that stops at one operation, and keeps what a power cut could leave.

    What is durable: a file's contents as of its last fsync, or any beginning of what was written since; a
    folder's names as of its last fsync, or with any number of the operations since, in their order.
    """

    def __init__(self, crash_at: int, *, fault: int | None = None) -> None:
        self._left = crash_at
        self._fault = fault
        self.count = 0
        self._paths: dict[int, Path] = {}
        self.contents: dict[int, tuple[bytes, bytes]] = {}
        """Inode to (durable, written)."""
        self.durable_names: dict[str, int] = {}
        self.pending: list[tuple[str, str, int]] = []

    def start(self, folder: Path) -> None:
        for path in folder.iterdir():
            inode = path.stat().st_ino
            self.durable_names[path.name] = inode
            self.contents[inode] = (path.read_bytes(), path.read_bytes())

    def _step(self) -> None:
        if self._left == self.count:
            if self._fault is not None:
                self.count += 1
                raise OSError(self._fault, os.strerror(self._fault))
            raise Crash
        self.count += 1

    def open(self, path: Path, flags: int, mode: int = 0o777, /) -> int:
        self._step()
        is_new = flags & os.O_CREAT and not path.exists()
        descriptor = os.open(path, flags, mode)
        self._paths[descriptor] = path
        inode = os.fstat(descriptor).st_ino
        if is_new:
            self.pending.append(("link", path.name, inode))
        if flags & os.O_TRUNC:
            self.contents[inode] = (self.contents.get(inode, (b"", b""))[0], b"")
        return descriptor

    def write(self, descriptor: int, content: bytes, /) -> int:
        self._step()
        inode = os.fstat(descriptor).st_ino
        durable, written = self.contents[inode]
        self.contents[inode] = (durable, written + content)
        return os.write(descriptor, content)

    def fsync(self, descriptor: int, /) -> None:
        self._step()
        if self._paths[descriptor].is_dir():
            for operation in self.pending:
                self._apply(self.durable_names, operation)
            self.pending.clear()
        else:
            inode = os.fstat(descriptor).st_ino
            self.contents[inode] = (self.contents[inode][1],) * 2

    def close(self, descriptor: int, /) -> None:
        os.close(descriptor)
        self._step()

    def rename(self, source: Path, target: Path, /) -> None:
        self._step()
        self.pending.append(("rename", f"{source.name}>{target.name}", source.stat().st_ino))
        source.rename(target)

    def unlink(self, path: Path, /) -> None:
        self._step()
        path.unlink()
        self.pending.append(("unlink", path.name, 0))

    @staticmethod
    def _apply(names: dict[str, int], operation: tuple[str, str, int]) -> None:
        kind, name, inode = operation
        if kind == "rename":
            source, _, target = name.partition(">")
            names.pop(source, None)
            names[target] = inode
        elif kind == "link":
            names[name] = inode
        else:
            names.pop(name, None)

    def after_power_cut(self) -> Iterator[bytes | None]:
        """Every content that relup/current can have when the power comes back."""
        for kept in range(len(self.pending) + 1):
            names = dict(self.durable_names)
            for operation in self.pending[:kept]:
                self._apply(names, operation)
            if "current" not in names:
                yield None
                continue
            durable, written = self.contents[names["current"]]
            yield durable
            if written != durable:
                yield from (written[:length] for length in range(len(written) + 1))


def _crashed(root: Path, crash_at: int, *, remove: bool) -> tuple[_Disk, bool]:
    disk = _Disk(crash_at)
    disk.start(Place(root).relup)
    try:
        if remove:
            remove_marker(root, files=disk)
        else:
            write_marker(root, _NEW, files=disk)
    except Crash:
        return disk, True
    return disk, False


@pytest.mark.parametrize("old", [None, _OLD])
@pytest.mark.parametrize("remove", [False, True], ids=["write", "remove"])
def test_a_crash_or_power_cut_between_any_two_operations_leaves_old_or_new(
    tmp_path: Path, old: str | None, remove: bool
) -> None:
    """Before every file operation of the write: the live file and every state a power cut can leave."""
    if remove and old is None:
        old = _OLD
    allowed = {None if old is None else old.encode(), None if remove else _NEW.encode()}
    for crash_at in itertools.count():
        root = tmp_path / str(crash_at)
        (root / "relup").mkdir(parents=True)
        if old is not None:
            write_marker(root, old)
        disk, has_crashed = _crashed(root, crash_at, remove=remove)
        marker = Place(root).marker
        assert (marker.read_bytes() if marker.exists() else None) in allowed
        assert set(disk.after_power_cut()) <= allowed
        if not has_crashed:
            assert set(disk.after_power_cut()) == {None if remove else _NEW.encode()}
            break
    assert crash_at >= (4 if remove else 7)


def test_a_temporary_file_left_by_a_crash_does_not_stop_the_next_write(root: Path) -> None:
    """Crash before the rename, then write again: the new marker, and no litter."""
    _crashed(root, 4, remove=False)
    assert [path.name for path in Place(root).relup.iterdir()] != []
    write_marker(root, _NEW)
    assert [path.name for path in Place(root).relup.iterdir()] == ["current"]


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO])
def test_a_failed_operation_leaves_old_or_new_and_says_so(tmp_path: Path, fault: int) -> None:
    """Each operation fails once: CannotWriteMarker, the marker whole."""
    for failing in itertools.count():
        root = tmp_path / str(failing)
        (root / "relup").mkdir(parents=True)
        write_marker(root, _OLD)
        disk = _Disk(failing, fault=fault)
        disk.start(Place(root).relup)
        if failing >= 8:
            write_marker(root, _NEW, files=disk)
            assert disk.count == 8
            break
        with pytest.raises(CannotWriteMarker):
            write_marker(root, _NEW, files=disk)
        assert Place(root).marker.read_text() in {_OLD, _NEW}


def test_a_killed_writer_leaves_a_whole_marker(root: Path) -> None:
    """kill -9 at any moment of thousands of writes: always one of the two versions."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from engine.release.marker import write_marker\n"
        "while True:\n"
        "    for version in ('5.10.5', '5.10.6'):\n"
        "        write_marker(Path(sys.argv[2]), version)\n"
        "        print('.', flush=True)\n"
    )
    repository = Path(__file__).resolve().parents[3]
    write_marker(root, _OLD)
    for written_before_kill in (1, 7, 40):
        writer = subprocess.Popen(
            [sys.executable, "-c", script, str(repository), str(root)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(written_before_kill):
            writer.stdout.readline()
        writer.kill()
        writer.wait(timeout=60)
        writer.stdout.close()
        assert read_marker(root).version in {_OLD, _NEW}
