"""The process seen from outside: system calls, memory, failing disks."""

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.hostile.case import honest_package
from fixtures.hostile.corpus import BY_NAME
from fixtures.hostile.tarball import END, file, gz, header
from tests.engine.release.packages import STAGING, honest, laid, snapshot
from tests.engine.release.watched import changed_places, run, traced, unpack_command
from tests.in_memory import folder_in_memory

_TRACED = [
    "name-absolute",
    "name-parent",
    "name-parent-gnu-long",
    "link-then-through",
    "link-escapes",
    "link-escapes-by-link",
    "type-hard-link-outside",
    "type-character-device",
    "twice-link-and-file",
    "tar-behind-end",
    "gzip-bad-crc",
    "sidecar-mismatch",
]


@pytest.mark.parametrize("name", [*_TRACED, "honest"])
def test_the_kernel_is_asked_to_change_nothing_outside_the_staging(tmp_path: Path, name: str) -> None:
    """Under strace: every open for writing, mkdir, rename, symlink, unlink … lies below relup/'s own staging."""
    tarball = (
        laid(tmp_path / "upgrade", honest_package())
        if name == "honest"
        else BY_NAME[name].write(tmp_path / "upgrade")
    )
    staging = tmp_path / "root" / STAGING
    staging.parent.mkdir(parents=True)
    log = tmp_path / "strace.log"
    ended = traced(unpack_command(tarball, staging), log)
    assert ended.returncode == 0, ended.stderr
    refused = ended.stdout.split()[-2]
    assert refused == ("unpacked" if name == "honest" else BY_NAME[name].error)
    own = re.compile(re.escape(str(staging.parent / staging.name)) + r"(/.*)?$")
    manifest = re.compile(re.escape(str(staging)) + r"\.manifest(-new)?$")
    outside = [
        (call, path)
        for call, path in changed_places(log)
        if not (own.match(path) or manifest.match(path)) and (call, path) not in _allowed(staging)
    ]
    assert outside == []
    if name != "sidecar-mismatch":
        assert any(own.match(path) for _, path in changed_places(log))


def _allowed(staging: Path) -> set[tuple[str, str]]:
    """relup/ is made when missing and removed when empty; neither does anything when it is in use."""
    relup = str(staging.parent)
    return {("mkdir", relup), ("rmdir", relup)}


_MEMORY_LIMIT_KIB = 96 << 10


def _large() -> bytes:
    return honest(*(file(b"lib/large%d" % number, os.urandom(20 << 20)) for number in range(4)))


def _one_file() -> bytes:
    """Mostly zeros, just below the ratio, so that compressed pieces grow as much as they may."""
    body = os.urandom(2 << 20) + bytes(100 << 20)
    return honest(header(b"lib/zeros", size=len(body)) + body)


def _many() -> bytes:
    crowd = b"".join(header(b"lib/app/%d-%s" % (n, os.urandom(8).hex().encode())) for n in range(40_000))
    return gz(file(b"bin/emqx") + crowd + END, level=1)


@pytest.fixture
def memory() -> Iterator[Path]:
    """Two hundred thousand files wait for no disk there."""
    with folder_in_memory() as folder:
        yield folder


@pytest.mark.parametrize("make", [_large, _one_file, _many])
def test_memory_stays_under_the_limit_whatever_the_package(
    tmp_path: Path, memory: Path, make: object
) -> None:
    """Peak resident memory of the whole process, interpreter included: under 96 MiB."""
    assert callable(make)
    tarball = laid(tmp_path / "upgrade", make())
    (memory / "root").mkdir()
    ended = run(unpack_command(tarball, memory / "root" / STAGING))
    assert ended.stdout.split()[-2] == "unpacked", ended.stderr
    assert int(ended.stdout.split()[-1]) < _MEMORY_LIMIT_KIB


@pytest.mark.timeout(600)
def test_memory_grows_modestly_with_the_number_of_members(tmp_path: Path, memory: Path) -> None:
    """The names of 200,000 members have to be kept; that is the most, and stays under 160 MiB."""
    tarball = BY_NAME["bomb-members"].write(tmp_path / "upgrade")
    (memory / "root").mkdir()
    ended = run(unpack_command(tarball, memory / "root" / STAGING), timeout=500)
    assert ended.stdout.split()[-2] == "too_many_members", ended.stderr
    assert int(ended.stdout.split()[-1]) < 160 << 10


@pytest.mark.parametrize(
    "name", ["bomb-ratio", "bomb-padding", "gnu-name-too-large", "size-beyond-limit", "sidecar-device"]
)
def test_memory_stays_under_the_limit_for_bombs(tmp_path: Path, name: str) -> None:
    """A bomb is refused before it has grown in memory."""
    tarball = BY_NAME[name].write(tmp_path / "upgrade")
    (tmp_path / "root").mkdir()
    ended = run(unpack_command(tarball, tmp_path / "root" / STAGING))
    assert ended.stdout.split()[-2] == BY_NAME[name].error, ended.stderr
    assert int(ended.stdout.split()[-1]) < _MEMORY_LIMIT_KIB


_FAULTS = [
    ("write", "ENOSPC", 1),
    ("write", "ENOSPC", 3),
    ("write", "EIO", 5),
    ("write", "EDQUOT", 4),
    ("mkdirat", "ENOSPC", 1),
    ("mkdirat", "EROFS", 3),
    ("symlinkat", "ENOSPC", 1),
    ("fsync", "EIO", 1),
    ("rename", "ENOSPC", 1),
]
_NAMES = {
    "ENOSPC": "not_enough_disk_space",
    "EDQUOT": "not_enough_disk_space",
    "EROFS": "no_write_permission",
    "EIO": "cannot_write_tree",
}


@pytest.mark.parametrize(("call", "fault", "number"), _FAULTS)
def test_a_file_operation_that_fails_leaves_nothing_visible(
    tmp_path: Path, call: str, fault: str, number: int
) -> None:
    """The kernel fails one call below the staging: the refusal has the name of the cause, the staging is gone."""
    tarball = laid(tmp_path / "upgrade", honest_package())
    staging = tmp_path / "root" / STAGING
    (tmp_path / "root" / "relup").mkdir(parents=True)
    (tmp_path / "root" / "relup" / "current").write_text("5.10.4")
    before = snapshot(tmp_path / "root")
    below = [option for path in _paths_below(staging) for option in ("-P", path)]
    assert hasattr(errno, fault)
    ended = traced(
        unpack_command(tarball, staging),
        tmp_path / "strace.log",
        "-e",
        f"inject={call}:error={fault}:when={number}",
        "-e",
        "trace=openat,write,mkdirat,symlinkat,fsync,rename",
        *below,
    )
    assert ended.stdout.split()[-2] == _NAMES[fault], ended.stdout + ended.stderr
    assert snapshot(tmp_path / "root") == before


def _paths_below(staging: Path) -> list[str]:
    """What strace looks at: the honest package's own paths, as it has no way to say "all below"."""
    below = [
        "",
        "/bin",
        "/bin/emqx",
        "/erts-13.2.2",
        "/erts-13.2.2/bin",
        "/erts-13.2.2/bin/erl",
        "/lib",
        "/lib/emqx-5.10.5",
        "/lib/emqx-5.10.5/ebin",
        "/lib/emqx-5.10.5/ebin/emqx.beam",
        "/releases",
        "/releases/emqx_vars",
        "/releases/start_erl.data",
    ]
    return [f"{staging}{path}" for path in below] + [f"{staging}.manifest-new"]
