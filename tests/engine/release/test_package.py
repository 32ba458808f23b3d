"""One descriptor: the tarball cannot change between its hashing and its extraction without being refused."""

import gc
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from engine.release.errors import MissingSidecar, PackageChanged, Sha256Mismatch, TarballNotFound
from engine.release.package import Package, open_package
from engine.release.stream import READ_BYTES
from fixtures.hostile.case import honest_package
from fixtures.hostile.tarball import file
from tests.engine.release.packages import STAGING, honest, laid

_PIECES = 6
_NOISE = os.urandom((_PIECES - 1) * READ_BYTES)
_OTHER_NOISE = os.urandom(len(_NOISE))


def _content(noise: bytes = _NOISE) -> bytes:
    """A package of six pieces that cannot be compressed."""
    return honest(file(b"lib/noise", noise))


def _swap(tarball: Path) -> None:
    """Another, equally honest package is renamed to the tarball's path."""
    other = tarball.with_name("other")
    other.write_bytes(_content(_OTHER_NOISE))
    other.rename(tarball)


def _swap_same_bytes(tarball: Path) -> None:
    """A copy of the same bytes takes its place: not the file that was opened."""
    other = tarball.with_name("other")
    other.write_bytes(tarball.read_bytes())
    other.rename(tarball)


def _truncate(tarball: Path) -> None:
    os.truncate(tarball, tarball.stat().st_size - 1)


def _truncate_to_nothing(tarball: Path) -> None:
    os.truncate(tarball, 0)


def _grow(tarball: Path) -> None:
    """Zero padding, which would be accepted in a package."""
    with tarball.open("ab") as stream:
        stream.write(bytes(512))


def _rewrite(tarball: Path) -> None:
    """Another honest package written into the same file, of the same length."""
    with tarball.open("r+b") as stream:
        stream.write(_content(_OTHER_NOISE))


def _rewrite_and_set_back_the_time(tarball: Path) -> None:
    status = tarball.stat()
    _rewrite(tarball)
    os.utime(tarball, ns=(status.st_atime_ns, status.st_mtime_ns))


def _flip_last_byte(tarball: Path) -> None:
    status = tarball.stat()
    with tarball.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last[0] ^ 1]))
    os.utime(tarball, ns=(status.st_atime_ns, status.st_mtime_ns))


def _remove(tarball: Path) -> None:
    tarball.unlink()


def _replace_by_link(tarball: Path) -> None:
    tarball.rename(tarball.with_name("kept"))
    tarball.symlink_to("kept")


_CHANGES = [
    _swap,
    _swap_same_bytes,
    _truncate,
    _truncate_to_nothing,
    _grow,
    _rewrite,
    _rewrite_and_set_back_the_time,
    _flip_last_byte,
    _remove,
    _replace_by_link,
]


def _link(tarball: Path) -> None:
    tarball.with_name("linked").hardlink_to(tarball)


def _make_readable(tarball: Path) -> None:
    tarball.chmod(0o444)


def _rename_there_and_back(tarball: Path) -> None:
    tarball.rename(tarball.with_name("elsewhere")).rename(tarball)


_NO_CHANGES = [_link, _make_readable, _rename_there_and_back]


class _After:
    """Changes the tarball after so many pieces have been read."""

    def __init__(self, pieces: int, change: Callable[[], None]) -> None:
        self._left = pieces
        self._change = change

    def __call__(self, _: int) -> None:
        self._left -= 1
        if self._left == 0:
            self._change()


def _unpack(package: Package, tmp_path: Path, *, progress: Callable[[int], None] = lambda _: None) -> None:
    package.unpack(tmp_path / "root" / STAGING, progress=progress, low_priority=False)


@pytest.mark.parametrize("change", _NO_CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_a_tarball_whose_bytes_stay_is_unpacked(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """A backup that links it, or a mode that is set meanwhile, moves only the inode's time of change."""
    (tmp_path / "root").mkdir()
    with open_package(laid(tmp_path, _content())) as package:
        package.verify(_After(1, lambda: change(package.path)))
        _unpack(package, tmp_path, progress=_After(1, lambda: _make_readable(package.path)))
    assert (tmp_path / "root" / STAGING / "releases").is_dir()


@pytest.mark.parametrize("change", _CHANGES, ids=lambda change: change.__name__.strip("_"))
@pytest.mark.parametrize("pieces", range(_PIECES + 1))
def test_a_tarball_that_changes_while_it_is_unpacked_is_refused(
    tmp_path: Path, change: Callable[[Path], None], pieces: int
) -> None:
    """Between verify and unpack (0), and after every piece of the extraction: package_changed, nothing left."""
    (tmp_path / "root").mkdir()
    tarball = laid(tmp_path, _content())
    with open_package(tarball) as package:
        package.verify()
        if pieces == 0:
            change(tarball)
        with pytest.raises(PackageChanged):
            _unpack(package, tmp_path, progress=_After(pieces, lambda: change(tarball)))
    assert list((tmp_path / "root").iterdir()) == []


def test_a_tarball_that_changes_while_it_is_verified_is_refused(tmp_path: Path) -> None:
    """Rewritten behind the reader's back, the digest is another or the file is."""
    for pieces in range(1, _PIECES + 1):
        tarball = laid(tmp_path / str(pieces), _content())
        with open_package(tarball) as package, pytest.raises((PackageChanged, Sha256Mismatch)):
            package.verify(_After(pieces, partial(_rewrite, tarball)))


def test_without_a_verify_before_the_digest_is_checked_all_the_same(tmp_path: Path) -> None:
    """unpack alone refuses a package that its sidecar does not speak of."""
    (tmp_path / "root").mkdir()
    tarball = laid(tmp_path, _content(), sidecar="0" * 64)
    with open_package(tarball) as package, pytest.raises(Sha256Mismatch):
        _unpack(package, tmp_path)
    assert list((tmp_path / "root").iterdir()) == []


def test_a_mismatch_names_both_digests(tmp_path: Path) -> None:
    """The operator can compare: what the sidecar says and what the file is."""
    tarball = laid(tmp_path, honest_package(), sidecar="0" * 64)
    with open_package(tarball) as package, pytest.raises(Sha256Mismatch) as refused:
        package.verify()
    assert "0" * 64 in refused.value.happened
    assert package.expected_sha256 == "0" * 64


def test_the_tarball_comes_before_its_sidecar(tmp_path: Path) -> None:
    """Without both, the missing tarball is what is said; with the tarball alone, the sidecar."""
    with pytest.raises(TarballNotFound):
        open_package(tmp_path / "none.tar.gz")
    (tmp_path / "some.tar.gz").write_bytes(honest_package())
    with pytest.raises(MissingSidecar):
        open_package(tmp_path / "some.tar.gz")


def test_a_refused_opening_leaks_no_descriptor(tmp_path: Path) -> None:
    """Opened files are closed when the sidecar is refused, and by `close`, also twice."""
    tarball = laid(tmp_path, honest_package(), sidecar="")
    gc.collect()  # what other tests have dropped is closed now, not meanwhile
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(Exception, match="empty"):
            open_package(tarball)
    package = open_package(laid(tmp_path, honest_package()))
    package.close()
    package.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_unpacking_at_low_priority_leaves_the_callers_thread_alone(tmp_path: Path) -> None:
    """The reading thread is nice, the caller's is not, and no thread is left."""
    (tmp_path / "root").mkdir()
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    seen: dict[bool, int] = {}
    for low in (True, False):
        with open_package(laid(tmp_path, honest_package())) as package:

            def note(_: int, low: bool = low) -> None:
                seen[low] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

            package.unpack(tmp_path / "root" / f"{STAGING}{low}", progress=note, low_priority=low)
    assert seen == {True: max(mine, 15), False: mine}
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine
