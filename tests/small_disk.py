"""A filesystem of a few mebibytes in memory, that can really run full."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(place: Path, *, size_bytes: int) -> Iterator[Path]:
    """A filesystem of that size at `place`; skips the test where this user may not mount one."""
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "relup-test", place],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(
            "no right to mount a small filesystem; what is injected or counted beside it stands for it"
        )
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> None:
    """Use up every block."""
    with (place / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass
