"""Small packages for these tests, and looking at what a refusal left behind."""

import os
import stat
from pathlib import Path

from fixtures.hostile.case import PACKAGE_NAME, honest_members
from fixtures.hostile.tarball import END, gz, sha256

STAGING = "relup/.staging-20260101T000000Z-00000000"


def laid(place: Path, content: bytes, *, sidecar: str | None = None) -> Path:
    """A package with a true sidecar (or this one) in a folder that is made when missing."""
    place.mkdir(parents=True, exist_ok=True)
    tarball = place / PACKAGE_NAME
    tarball.write_bytes(content)
    tarball.with_name(f"{PACKAGE_NAME}.sha256").write_text(
        f"{sha256(content)}  {PACKAGE_NAME}\n" if sidecar is None else sidecar
    )
    return tarball


def honest(*members: bytes) -> bytes:
    """An honest release with these members added."""
    return gz(honest_members() + b"".join(members) + END)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a folder: mode, and contents or target."""
    found: dict[str, tuple[int, bytes]] = {}
    for above, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(above, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                held = os.fsencode(path.readlink())
            else:
                held = path.read_bytes() if stat.S_ISREG(mode) else b""
            found[str(path.relative_to(folder))] = (mode, held)
    return found
