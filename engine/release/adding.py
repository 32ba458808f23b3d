"""Puts hops into the catalog: single `.relup` files, or a whole official `emqx_relup-<vsn>.tar.gz` package.

A package is read by the same hardened reader as a release; of it only `priv/relup/*.relup` and `ebin/*.beam` are
written, into a folder of its own under the catalog. Everything is checked before anything becomes visible.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.release.archive import members
from engine.release.beam import read_beam
from engine.release.catalog import CatalogFolder, read_catalog
from engine.release.errors import CannotReadCatalog, HopExists, NoHopsInPackage
from engine.release.faults import cannot_write
from engine.release.hop import Hop, read_hop
from engine.release.limits import Limits
from engine.release.stream import Stream, compressed_pieces, inflated

_LIMITS = Limits(members=20_000, stream_bytes=512 << 20)
_WANTED = re.compile(
    r"emqx_relup-([0-9A-Za-z][0-9A-Za-z.+_-]*)/(?:priv/relup/([^/]+\.relup)|ebin/([^/]+\.beam))"
)
_TEMPORARY = ".adding-"


def add_to_catalog(source: Path, catalog: Path, *, replace: bool = False) -> tuple[Hop, ...]:
    """Add a hop file, or all hops of a package with the beams they bring.

    Args:
        catalog: `<RootDir>/relup/catalog/`; made when missing.
        replace: Overwrite what is there for the same pair of versions.

    Returns:
        The hops as they lie in the catalog now.

    Raises:
        CannotReadCatalog: The source cannot be read.
        HopExists: The catalog describes one of the hops already, and differently.
        NoHopsInPackage: The package has none.
        BadArchive, BadMember, CorruptBeam: The package is refused.
        MalformedTerm, ScriptTerm, MalformedHop, InvalidInstruction: A hop file is refused.
        BadPlace: The catalog cannot be written.
    """
    try:
        with source.open("rb") as file, _room_in(catalog) as room:
            is_archive = file.read(2) == b"\x1f\x8b"
            folder = _unpacked(file.fileno(), room) if is_archive else _copied(source, room)
            return _moved_in(folder, catalog, replace=replace)
    except OSError as fault:
        if fault.filename == str(source):
            raise CannotReadCatalog(
                f"{source} cannot be read: {fault.strerror}", next="Name a .relup file or a hop package."
            ) from None
        raise cannot_write(fault, f"adding {source.name} to the catalog") from fault


@contextmanager
def _room_in(catalog: Path) -> Iterator[Path]:
    """A folder on the catalog's filesystem that is gone afterwards; the catalog does not look into it."""
    catalog.parent.mkdir(mode=0o755, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=catalog.parent))
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _copied(source: Path, room: Path) -> Path:
    """A folder with the one hop file, read and found to be one."""
    hop = read_hop(source)
    folder = room / "one"
    folder.mkdir()
    _write(folder / f"{hop.from_version}-to-{hop.target_version}.relup", source.read_bytes())
    return folder


def _unpacked(descriptor: int, room: Path) -> Path:
    """`emqx_relup-<vsn>/` with its hop files and `ebin/`, every one of them checked."""
    found: Path | None = None
    pieces = inflated(compressed_pieces(descriptor, hashlib.sha256(), on_read=lambda _: None), _LIMITS)
    stream = Stream(pieces)
    for member in members(stream, _LIMITS):
        wanted = _WANTED.fullmatch(member.path)
        if wanted is None or member.kind != "file":
            continue
        version, hop_name, beam_name = wanted.groups()
        found = room / f"emqx_relup-{version}"
        target = found / hop_name if hop_name else found / "ebin" / beam_name
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target, b"".join(stream.parts(member.size)))
    if found is None or not list(found.glob("*.relup")):
        raise NoHopsInPackage(
            "the archive holds no emqx_relup-<version>/priv/relup/*.relup",
            next="Name an official hot-upgrade package (emqx_relup-<version>.tar.gz) or a .relup file.",
        )
    for beam in found.glob("ebin/*.beam"):
        _ = read_beam(beam).md5
    return found


def _moved_in(folder: Path, catalog: Path, *, replace: bool) -> tuple[Hop, ...]:
    """Make the checked folder part of the catalog."""
    hops = [read_hop(file) for file in sorted(folder.glob("*.relup"))]
    is_package = folder.name.startswith("emqx_relup-")
    place = catalog / folder.name if is_package else catalog
    others = _others(hops, catalog, besides=place if is_package else None)
    if others and not replace:
        first = others[0]
        raise HopExists(
            f"the catalog describes {first.from_version} -> {first.target_version} already, in {first.file}",
            next="Add it with --replace if the new one is meant, or remove the old file.",
        )
    catalog.mkdir(mode=0o755, exist_ok=True)
    if is_package:
        _replace_folder(folder, place)
    else:
        for hop in hops:
            hop.file.replace(place / hop.file.name)
    for other in others:
        if other.file not in {place / hop.file.name for hop in hops}:
            other.file.unlink()
    _sync(catalog)
    names = {hop.file.name for hop in hops}
    added = read_catalog([CatalogFolder(place, place / "ebin")])
    return tuple(hop for hop in added.hops if hop.file.name in names)


def _others(hops: list[Hop], catalog: Path, *, besides: Path | None) -> list[Hop]:
    """What the catalog has for the same pairs of versions, described differently: together they are ambiguous."""
    if not catalog.is_dir():
        return []
    folders = [catalog, *(sub for sub in sorted(catalog.iterdir()) if sub.is_dir() and sub != besides)]
    known = read_catalog(CatalogFolder(folder, folder / "ebin") for folder in folders)
    digests = {(hop.from_version, hop.target_version): hop.sha256 for hop in hops}
    return [
        other
        for other in known.hops
        if digests.get((other.from_version, other.target_version), other.sha256) != other.sha256
    ]


def _replace_folder(folder: Path, place: Path) -> None:
    """The old folder of the same package steps aside first: a folder cannot be renamed over a full one."""
    if place.exists():
        place.rename(folder.parent / "replaced")
    folder.rename(place)


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
