"""Mutated packages by the thousand: `python -m tests.fuzz [N [FIRST_SEED]]`.

A case is made from its seed alone, so a number that is printed can be run again. Each case must end in a
refusal of ours or in a tree that is exactly its manifest, within five seconds, with every file operation
relative to a folder below the staging, and with nothing left after a refusal. Seeds that once found
something are kept in KEPT_SEEDS and run with the ordinary tests.
"""

import gzip
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from engine.errors import RelupError
from engine.release import tree_writer
from engine.release.limits import Limits
from engine.release.manifest import verify_tree
from engine.release.package import open_package
from engine.release.staging import remove_staging
from fixtures.hostile import members
from fixtures.hostile.case import PACKAGE_NAME, honest_members
from fixtures.hostile.tarball import BLOCK, END, extension, file, folder, gz, pax, records, sha256, symlink

KEPT_SEEDS: tuple[int, ...] = (1_001_865,)
LONGEST_SECONDS = 20.0
_LIMITS = Limits(members=2000, stream_bytes=64 << 20)
_ODD_NAMES = [
    b"../x",
    b"/x",
    b"lib/../../x",
    b"./",
    b"bin",
    b"bin/emqx",
    b"lib/emqx",
    b"lib/emqx/x",
    b"LIB/x",
    b"x" * 100,
    b"",
    b"lib/\x00x",
    b"lib/\xff",
    b"erts-1/..",
    b".",
    b"lib/new",
    b"lib/new/folder/",
    b"bin/new",
    b"releases/5.10.5/emqx.rel",
]
_ODD_SIZES = [
    b"00000000000\x00",
    b"77777777777\x00",
    b"\x80" + b"\xff" * 11,
    b"\xff" * 12,
    b"-0000000001\x00",
    b"\x00" * 12,
]

Mutation = Callable[[random.Random, bytearray], None]


def _blocks(raw: bytearray) -> int:
    return max(1, len(raw) // BLOCK)


def _with_checksum(raw: bytearray, at: int) -> None:
    """Make the block a header whose checksum is right, so that the lie behind it is read."""
    block = raw[at : at + BLOCK]
    if len(block) == BLOCK:
        block[148:156] = b" " * 8
        raw[at + 148 : at + 156] = b"%06o\x00 " % sum(block)


def _flip_bit(choose: random.Random, raw: bytearray) -> None:
    at = choose.randrange(len(raw))
    raw[at] ^= 1 << choose.randrange(8)
    if choose.random() < 0.9:
        _with_checksum(raw, at - at % BLOCK)


def _change_field(choose: random.Random, raw: bytearray) -> None:
    at = choose.randrange(_blocks(raw)) * BLOCK
    start, length = choose.choice([(0, 100), (100, 8), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155)])
    if start in (0, 157, 345):
        value = choose.choice(_ODD_NAMES)[:length].ljust(length, b"\x00")
    elif start == 124:
        value = choose.choice(_ODD_SIZES)
    elif start == 156:
        value = bytes([choose.choice(b"0123456789LKxgSDMVNX\x00")])
    else:
        value = choose.randbytes(length)
    raw[at + start : at + start + length] = value
    _with_checksum(raw, at)


def _copy_block(choose: random.Random, raw: bytearray) -> None:
    source, target = (choose.randrange(_blocks(raw)) * BLOCK for _ in range(2))
    raw[target:target] = raw[source : source + BLOCK]


def _drop_block(choose: random.Random, raw: bytearray) -> None:
    at = choose.randrange(_blocks(raw)) * BLOCK
    del raw[at : at + BLOCK]


def _truncate(choose: random.Random, raw: bytearray) -> None:
    del raw[choose.randrange(len(raw)) :]


def _insert_member(choose: random.Random, raw: bytearray) -> None:
    at = choose.randrange(_blocks(raw)) * BLOCK
    name, other = choose.choice(_ODD_NAMES), choose.choice(_ODD_NAMES)
    raw[at:at] = choose.choice(
        [
            file(name, choose.randbytes(choose.randrange(2000))),
            folder(name),
            symlink(name, other),
            pax(records(path=name)) + file(other),
            pax(choose.randbytes(40)) + file(name),
            extension(b"L", name + b"\x00") + file(other),
            extension(b"K", name + b"\x00") + symlink(b"lib/k", other),
        ]
    )


_MUTATIONS: list[Mutation] = [
    _flip_bit,
    _change_field,
    _change_field,
    _copy_block,
    _drop_block,
    _truncate,
    _insert_member,
]


def package_of(seed: int) -> bytes:
    """The compressed package of a seed; the same for ever."""
    choose = random.Random(seed)
    stems = _stems()
    raw = bytearray(choose.choice(stems[:_HONEST_STEMS] if choose.random() < 0.7 else stems))
    for _ in range(choose.randrange(4)):
        if raw:
            choose.choice(_MUTATIONS)(choose, raw)
    packed = bytearray(gz(bytes(raw), level=1))
    if choose.random() < 0.06:
        at = choose.randrange(len(packed))
        packed[at] ^= 1 << choose.randrange(8)
    if choose.random() < 0.05:
        packed += choose.choice([b"\x00" * 100, b"x", bytes(packed)])
    return bytes(packed)


_STEMS: list[bytes] = []
_HONEST_STEMS = 3


def _stems() -> list[bytes]:
    """Honest and hostile archives, uncompressed, to start from."""
    if not _STEMS:
        long = b"lib/" + b"/".join([b"n" * 50] * 4)
        rich = (
            pax(records(path=long)) + file(long[:100]) + extension(b"L", long + b"2\x00") + file(long[:100])
        )
        _STEMS.extend([honest_members() + END, honest_members() + rich + END, folder(b"bin/") + rich + END])
        _STEMS.extend(_raw_of(case.name) for case in members.CASES if case.name != "pax-too-large")
    return _STEMS


def _raw_of(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        case = next(case for case in members.CASES if case.name == name)
        return gzip.decompress(case.write(Path(place) / "case").read_bytes())


class _Outside(AssertionError):
    """A file operation that does not stay below the staging."""


class _WatchedOs:
    """The os module as tree_writer sees it; every name is one part, relative to a folder below the staging."""

    def __init__(self, staging: Path) -> None:
        self._staging = str(staging)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, name: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if dir_fd is None:
            if str(name) != self._staging:
                raise _Outside(f"open {name}")
        else:
            self._check("open", name, dir_fd)
            if not flags & os.O_NOFOLLOW or (flags & os.O_CREAT and not flags & os.O_EXCL):
                raise _Outside(f"open {name} with {flags:o}")
        return os.open(name, flags, mode, dir_fd=dir_fd)

    def mkdir(self, name: str, mode: int, *, dir_fd: int) -> None:
        self._check("mkdir", name, dir_fd)
        os.mkdir(name, mode, dir_fd=dir_fd)

    def symlink(self, target: str, name: str, *, dir_fd: int) -> None:
        self._check("symlink", name, dir_fd)
        os.symlink(target, name, dir_fd=dir_fd)

    def _check(self, call: str, name: str, dir_fd: int) -> None:
        above = os.readlink(f"/proc/self/fd/{dir_fd}")  # noqa: PTH115 - called very often
        if "/" in name or name in ("", ".", "..") or not (above + "/").startswith(self._staging + "/"):
            raise _Outside(f"{call} {name!r} in {above}")


@contextmanager
def _watched(staging: Path) -> Iterator[None]:
    with mock.patch.object(tree_writer, "os", _WatchedOs(staging)):
        yield


def run_case(seed: int, place: Path) -> str:
    """Run one case in an empty folder.

    Returns:
        The name of the refusal, or `unpacked`.

    Raises:
        AssertionError: Something is outside, left over, or not as the manifest says.
    """
    staging = place / "root" / "relup" / ".staging-fuzz"
    staging.parent.mkdir(parents=True, exist_ok=True)
    tarball = place / PACKAGE_NAME
    content = package_of(seed)
    tarball.write_bytes(content)
    tarball.with_name(f"{PACKAGE_NAME}.sha256").write_text(sha256(content))
    started = time.monotonic()
    outcome = _outcome(tarball, staging)
    assert time.monotonic() - started < LONGEST_SECONDS, f"seed {seed} took too long"
    around = {path.relative_to(place).as_posix() for path in (*place.iterdir(), *(place / "root").iterdir())}
    assert around == {PACKAGE_NAME, f"{PACKAGE_NAME}.sha256", "root"} | (
        {"root/relup"} if staging.parent.exists() else set()
    )
    assert not staging.parent.exists() or not list(staging.parent.iterdir()), f"seed {seed} left something"
    return outcome


def _outcome(tarball: Path, staging: Path) -> str:
    try:
        with open_package(tarball) as package, _watched(staging):
            manifest = package.unpack(staging, limits=_LIMITS, low_priority=False)
    except RelupError as refused:
        return refused.name
    assert verify_tree(staging, manifest) == []
    for entry in manifest.entries:
        if entry.kind == "symlink":
            inside = os.path.realpath(staging / entry.path)
            assert (inside + "/").startswith(str(staging) + "/"), f"{entry.path} leads to {inside}"
        assert entry.mode & 0o7022 == 0
    remove_staging(staging)
    return "unpacked"


def main(count: int = 50_000, first_seed: int = 0) -> None:
    """Run so many cases and say how they ended."""
    outcomes: dict[str, int] = {}
    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as place:
        for seed in range(first_seed, first_seed + count):
            try:
                outcome = run_case(seed, Path(place))
            except BaseException:
                print(f"fuzz: seed {seed} found something", file=sys.stderr)
                raise
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    for name, number in sorted(outcomes.items(), key=lambda item: -item[1]):
        print(f"{number:8} {name}")
    print(f"fuzz: {count} packages from seed {first_seed}, 0 wrote outside, 0 crashed, 0 hung")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
