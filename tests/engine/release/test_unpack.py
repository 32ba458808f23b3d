"""Unpacking good packages: what is written, with which modes, and that every usual writer is understood."""

import gzip
import io
import os
import stat
import subprocess
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import Interrupted
from engine.release.errors import StagingExists, UnsafeRelupFolder
from engine.release.manifest import Manifest, read_manifest, verify_tree
from engine.release.package import open_package
from fixtures.hostile.case import emqx_vars, honest_package
from fixtures.hostile.tarball import END, base256, extension, file, folder, gz, header, pax, records, symlink
from tests.engine.release.packages import STAGING, honest, laid, snapshot


def _unpacked(tmp_path: Path, content: bytes) -> tuple[Path, Manifest]:
    staging = tmp_path / "root" / STAGING
    staging.parent.parent.mkdir(parents=True, exist_ok=True)
    with open_package(laid(tmp_path, content)) as package:
        package.verify()
        return staging, package.unpack(staging)


def test_only_the_runtime_folders_are_written(tmp_path: Path) -> None:
    """bin, erts-*, lib and releases with their contents; etc/ stays in the package."""
    staging, _ = _unpacked(tmp_path, honest_package())
    found = snapshot(staging)
    assert {path.partition("/")[0] for path in found} == {"bin", "erts-13.2.2", "lib", "releases"}
    assert found["releases/emqx_vars"][1] == emqx_vars()
    assert found["lib/emqx"][1] == b"emqx-5.10.5"
    assert found["lib/emqx-5.10.5/ebin/emqx.beam"][1] == b"FOR1" * 300


def test_the_manifest_says_what_is_there(tmp_path: Path) -> None:
    """Returned and beside the staging the same, its digest stable, and the tree has no difference from it."""
    staging, manifest = _unpacked(tmp_path, honest_package())
    assert read_manifest(staging) == manifest
    assert verify_tree(staging, manifest) == []
    assert manifest.digest == _unpacked(tmp_path / "again", honest_package())[1].digest
    assert [entry.path for entry in manifest.entries] == sorted(snapshot(staging))
    assert len(manifest.files) == 5


def test_modes_are_made_harmless(tmp_path: Path) -> None:
    """No setuid, setgid, sticky, group- or world-write; the owner can always read, write and enter."""
    members = (
        file(b"bin/suid", mode=b"0006777\x00"),
        file(b"bin/secret", mode=b"0000000\x00"),
        header(b"lib/sticky/", kind=b"5", mode=b"0001777\x00"),
        header(b"lib/shut/", kind=b"5", mode=b"0000000\x00"),
        file(b"lib/shut/x"),
    )
    staging, _ = _unpacked(tmp_path, honest(*members))
    modes = {path: stat.S_IMODE(mode) for path, (mode, _) in snapshot(staging).items()}
    assert modes["bin/suid"] == 0o755
    assert modes["bin/secret"] == 0o600
    assert modes["lib/sticky"] == 0o755
    assert modes["lib/shut"] == 0o700
    assert modes["bin/emqx"] == 0o755
    assert modes["releases/emqx_vars"] == 0o644
    assert stat.S_IMODE(staging.stat().st_mode) == 0o700


@pytest.mark.parametrize("mask", [0o077, 0o027, 0o000])
def test_the_umask_does_not_change_the_modes(tmp_path: Path, mask: int) -> None:
    """The tree has the modes of its manifest under any umask, and the umask itself is not touched."""
    before = os.umask(mask)
    try:
        staging, manifest = _unpacked(tmp_path, honest_package())
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert verify_tree(staging, manifest) == []
    assert stat.S_IMODE((staging / "bin/emqx").stat().st_mode) == 0o755


def test_a_folder_above_with_a_group_bit_changes_no_mode(tmp_path: Path) -> None:
    """A set-group-id RootDir does not leak its bit into the tree."""
    relup = tmp_path / "root" / "relup"
    relup.mkdir(parents=True)
    relup.chmod(0o2755)
    staging, manifest = _unpacked(tmp_path, honest_package())
    assert verify_tree(staging, manifest) == []


def test_extended_headers_of_honest_writers_are_read(tmp_path: Path) -> None:
    """PAX path, linkpath and size, GNU long name and target, prefix, binary size, global comment."""
    long = b"lib/" + b"/".join([b"n" * 50] * 4)
    members = (
        pax(records(comment=b"from a version control system"), kind=b"g"),
        pax(records(path=long + b"/pax", mtime=b"1.5", SCHILY__dev=b"1")),
        file(long[:100], b"pax"),
        pax(records(path="lib/schön".encode())),
        file(b"lib/sch??n", b"umlaut"),
        pax(records(size=b"4")),
        file(b"lib/sized", b"size"),
        pax(records(linkpath=b"y" * 120)),
        symlink(b"lib/long-pax-link", b"y" * 100),
        extension(b"K", b"z" * 120 + b"\x00"),
        symlink(b"lib/long-gnu-link", b"z" * 100),
        extension(b"K", b"w" * 120 + b"\x00"),
        extension(b"L", long + b"/gnu\x00"),
        symlink(long[:100], b"w" * 100),
        file(b"prefixed", b"prefix", prefix=b"lib/emqx-5.10.5/priv"),
        header(b"lib/binary", size_field=base256(6)) + b"binary".ljust(512, b"\x00"),
        header(b"lib/old-style", kind=b"\x00", size=0),
    )
    found = snapshot(_unpacked(tmp_path, honest(*members))[0])
    assert found[(long + b"/pax").decode()][1] == b"pax"
    assert found["lib/schön"][1] == b"umlaut"
    assert found["lib/sized"][1] == b"size"
    assert found["lib/long-pax-link"][1] == b"y" * 120
    assert found["lib/long-gnu-link"][1] == b"z" * 120
    assert found[(long + b"/gnu").decode()][1] == b"w" * 120
    assert found["lib/emqx-5.10.5/priv/prefixed"][1] == b"prefix"
    assert found["lib/binary"][1] == b"binary"
    assert found["lib/old-style"][1] == b""


def test_links_inside_the_tree_are_kept(tmp_path: Path) -> None:
    """Relative targets that climb first, through other links, or to what is not deployed."""
    members = (
        symlink(b"lib/up", b"../bin/emqx"),
        symlink(b"lib/through", b"./up"),
        symlink(b"lib/config", b"../etc/emqx.conf"),
        symlink(b"bin/top", b".."),
        symlink(b"bin/slash", b"../lib/"),
    )
    staging, manifest = _unpacked(tmp_path, honest(*members))
    assert verify_tree(staging, manifest) == []
    assert (staging / "lib/through").read_bytes() == b"#!/bin/sh\n"
    assert (staging / "lib/config").is_symlink()
    assert (staging / "bin/top").resolve() == staging


def test_a_folder_member_may_come_after_its_files(tmp_path: Path) -> None:
    """Some writers list files first; the folder then gets the mode it asks for."""
    members = (file(b"lib/late/x"), header(b"lib/late/", kind=b"5", mode=b"0000700\x00"))
    staging, _ = _unpacked(tmp_path, honest(*members))
    assert stat.S_IMODE((staging / "lib/late").stat().st_mode) == 0o700


def _release(place: Path) -> Path:
    """A release on disk for real tar programs, with a long name, a link and a file of some size."""
    long = place / "lib/emqx-5.10.5/priv" / ("d" * 60) / ("e" * 60)
    long.mkdir(parents=True)
    for folder_ in ("bin", "releases", "etc"):
        (place / folder_).mkdir()
    (place / "bin/emqx").write_bytes(b"#!/bin/sh\n")
    (place / "bin/emqx").chmod(0o755)
    (place / "releases/emqx_vars").write_bytes(emqx_vars())
    (place / "etc/emqx.conf").write_bytes(b"node {}\n")
    (place / "lib/emqx").symlink_to("emqx-5.10.5")
    (place / "lib/emqx-5.10.5/priv/large").write_bytes(os.urandom(3 << 20))
    (long / "file with spaces und ümlaut.txt").write_bytes(b"far down")
    return place


def _gnu(option: str, *what: str) -> Callable[[Path, Path], None]:
    def write(release: Path, tarball: Path) -> None:
        subprocess.run(
            ["tar", f"--format={option}", "-czf", str(tarball), "-C", str(release), *(what or (".",))],
            check=True,
            timeout=60,
        )

    return write


def _python(form: int) -> Callable[[Path, Path], None]:
    def write(release: Path, tarball: Path) -> None:
        with tarfile.open(tarball, "w:gz", format=form) as archive:
            for item in sorted(release.iterdir()):
                archive.add(item, arcname=item.name)

    return write


def _erlang(release: Path, tarball: Path) -> None:
    script = (
        "[Release, Tarball] = init:get_plain_arguments(), ok = file:set_cwd(Release),"
        '{ok, Names} = file:list_dir("."), ok = erl_tar:create(Tarball, Names, [compressed]), halt(0).'
    )
    subprocess.run(
        ["erl", "+fnu", "-noshell", "-noinput", "-eval", script, "-extra", str(release), str(tarball)],
        check=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(_gnu("gnu"), id="gnu"),
        pytest.param(_gnu("gnu", "bin", "lib", "releases", "etc"), id="gnu-without-dot"),
        pytest.param(_gnu("posix"), id="gnu-pax"),
        pytest.param(_python(tarfile.PAX_FORMAT), id="python-pax"),
        pytest.param(_python(tarfile.GNU_FORMAT), id="python-gnu"),
        pytest.param(_erlang, id="erl_tar"),
    ],
)
def test_packages_of_real_tar_programs_give_the_same_tree(
    tmp_path: Path, write: Callable[[Path, Path], None]
) -> None:
    """GNU tar, Python and Erlang's erl_tar, with long and non-ASCII names and links."""
    release = _release(tmp_path / "release")
    tarball = tmp_path / "made.tar.gz"
    write(release, tarball)
    staging, _ = _unpacked(tmp_path, tarball.read_bytes())
    expected = {path: held for path, (_, held) in snapshot(release).items() if not path.startswith("etc")}
    assert {path: held for path, (_, held) in snapshot(staging).items()} == expected


def test_a_gzip_header_with_every_field_is_read(tmp_path: Path) -> None:
    """File name, comment-free extra fields and zero padding behind the stream, as some tools write."""
    raw = gzip.decompress(honest_package())
    named = io.BytesIO()
    with gzip.GzipFile("release.tar", "wb", fileobj=named, mtime=1) as file_:
        file_.write(raw)
    staging, _ = _unpacked(tmp_path, named.getvalue() + bytes(700_000))
    assert (staging / "bin/emqx").exists()


def test_long_zero_padding_after_the_archive_is_accepted(tmp_path: Path) -> None:
    """Writers fill up to their blocking factor."""
    staging, _ = _unpacked(tmp_path, gz(file(b"bin/emqx") + END + bytes(1 << 20)))
    assert (staging / "bin/emqx").exists()


def test_a_relup_folder_is_made_when_it_is_missing_and_goes_again_when_the_package_is_refused(
    tmp_path: Path,
) -> None:
    """Without relup/ before there is none after a refusal."""
    root = tmp_path / "root"
    root.mkdir()
    with (
        open_package(laid(tmp_path, honest(folder(b"bin/")))) as package,
        pytest.raises(Exception, match="twice"),
    ):
        package.unpack(root / STAGING)
    assert list(root.iterdir()) == []


def test_a_staging_that_is_there_is_neither_used_nor_removed(tmp_path: Path) -> None:
    """A predictable folder that someone made before is refused as it is."""
    staging = tmp_path / "root" / STAGING
    staging.mkdir(parents=True)
    (staging / "theirs").write_text("kept")
    with open_package(laid(tmp_path, honest_package())) as package, pytest.raises(StagingExists):
        package.unpack(staging)
    assert (staging / "theirs").read_text() == "kept"


def test_a_relup_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """relup/ leading elsewhere is not followed."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (root / "relup").symlink_to(tmp_path / "elsewhere")
    with open_package(laid(tmp_path, honest_package())) as package, pytest.raises(UnsafeRelupFolder):
        package.unpack(root / STAGING)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_progress_reaches_the_size_of_the_tarball(tmp_path: Path) -> None:
    """Bytes of the tarball, growing, ending at its size, for verify and unpack."""
    (tmp_path / "root").mkdir()
    content = honest(file(b"lib/noise", os.urandom(9 << 20)))
    for walk in ("verify", "unpack"):
        told: list[int] = []
        with open_package(laid(tmp_path / walk, content)) as package:
            if walk == "verify":
                package.verify(told.append)
            else:
                package.unpack(tmp_path / "root" / STAGING, progress=told.append)
            assert told[-1] == package.size == len(content)
        assert told == sorted(told)
        assert len(told) > 4


@pytest.mark.parametrize("piece", [1, 2, 5, 9])
def test_an_interrupted_unpacking_leaves_nothing(tmp_path: Path, piece: int) -> None:
    """Stopped after any piece, the staging and its manifest are gone and Interrupted is raised."""
    told: list[int] = []
    (tmp_path / "root").mkdir()
    before = set(threading.enumerate())
    content = honest(file(b"lib/noise", os.urandom(9 << 20)))
    with open_package(laid(tmp_path, content)) as package, pytest.raises(Interrupted):
        package.unpack(
            tmp_path / "root" / STAGING, progress=told.append, interrupted=lambda: len(told) >= piece
        )
    assert len(told) == piece
    assert list((tmp_path / "root").iterdir()) == []
    assert set(threading.enumerate()) <= before
