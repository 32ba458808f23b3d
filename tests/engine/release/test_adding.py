"""Hops and whole packages are checked and then put into the catalog, or nothing is."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from engine.errors import RelupError
from engine.release.adding import add_to_catalog
from engine.release.archive_errors import BadArchive, BadMember
from engine.release.catalog import CatalogFolder, read_catalog
from engine.release.errors import (
    CannotReadCatalog,
    CorruptBeam,
    HopExists,
    MalformedTerm,
    NoHopsInPackage,
    ScriptTerm,
)
from fixtures.otp import installed

HOP = '#{{from_version => "{start}", target_version => "{end}", code_changes => [{changes}]}}.'
TOP = "emqx_relup-5.10.5"


def hop_text(start: str = "5.10.4", end: str = "5.10.5", changes: str = "{load_module, a}") -> str:
    return HOP.format(start=start, end=end, changes=changes)


def package(path: Path, files: dict[str, bytes | str]) -> Path:
    """A hot-upgrade package with these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            body = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    path.write_bytes(gzip.compress(buffer.getvalue()))
    return path


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A catalog that is not there yet, in a `relup/` that is not there yet."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root" / "relup" / "catalog"


@pytest.fixture
def lists_beam() -> bytes:
    (file,) = installed().root.glob("lib/stdlib-*/ebin/lists.beam")
    return file.read_bytes()


def left_behind(catalog: Path) -> list[str]:
    """What lies beside the catalog."""
    relup = catalog.parent
    return sorted(path.name for path in relup.iterdir() if path != catalog) if relup.is_dir() else []


def test_a_hop_file_is_added_under_its_own_name(tmp_path: Path, catalog: Path) -> None:
    """Whatever it was called; adding the same one again changes nothing."""
    source = tmp_path / "x.relup"
    source.write_text(hop_text())
    for _ in range(2):
        (hop,) = add_to_catalog(source, catalog)
        assert hop.file == catalog / "5.10.4-to-5.10.5.relup"
        assert hop.file.read_text() == hop_text()
    assert [path.name for path in catalog.iterdir()] == ["5.10.4-to-5.10.5.relup"]
    assert left_behind(catalog) == []


def test_a_package_is_added_with_its_modules_and_nothing_else(
    tmp_path: Path, catalog: Path, lists_beam: bytes
) -> None:
    """Hops and beams; the rest of the plugin stays outside."""
    files: dict[str, bytes | str] = {
        f"{TOP}/priv/relup/a.relup": hop_text(),
        f"{TOP}/priv/relup/b.relup": hop_text("5.10.3", "5.10.5"),
        f"{TOP}/ebin/lists.beam": lists_beam,
        f"{TOP}/ebin/emqx_relup.app": "{application, emqx_relup, []}.",
        f"{TOP}/priv/other": "x",
        "release.json": "{}",
    }
    hops = add_to_catalog(package(tmp_path / "p.tar.gz", files), catalog)
    assert sorted(hop.from_version for hop in hops) == ["5.10.3", "5.10.4"]
    assert all(hop.ebins == (catalog / TOP / "ebin",) for hop in hops)
    found = sorted(str(path.relative_to(catalog)) for path in catalog.rglob("*") if path.is_file())
    assert found == [f"{TOP}/a.relup", f"{TOP}/b.relup", f"{TOP}/ebin/lists.beam"]
    assert left_behind(catalog) == []


def test_a_newer_build_of_the_same_package_takes_its_place(tmp_path: Path, catalog: Path) -> None:
    """Hops that the new one has no more are gone."""
    add_to_catalog(package(tmp_path / "1.tar.gz", {f"{TOP}/priv/relup/a.relup": hop_text()}), catalog)
    changed = hop_text(changes="{load_module, b}")
    add_to_catalog(package(tmp_path / "2.tar.gz", {f"{TOP}/priv/relup/b.relup": changed}), catalog)
    assert [path.name for path in (catalog / TOP).iterdir()] == ["b.relup"]


@pytest.mark.parametrize("as_package", [False, True])
def test_another_description_of_a_known_hop_is_refused_unless_it_shall_replace_it(
    tmp_path: Path, catalog: Path, as_package: bool
) -> None:
    """Two would be ambiguous; with replace there is one, the new one."""
    first, second = tmp_path / "a.relup", tmp_path / "b.relup"
    first.write_text(hop_text())
    other = hop_text(changes="{load_module, b}")
    second.write_text(other)
    if as_package:
        second = package(tmp_path / "p.tar.gz", {f"{TOP}/priv/relup/a.relup": other})
    add_to_catalog(first, catalog)
    with pytest.raises(HopExists):
        add_to_catalog(second, catalog)
    assert (catalog / "5.10.4-to-5.10.5.relup").read_text() == hop_text()
    add_to_catalog(second, catalog, replace=True)
    folders = [
        CatalogFolder(folder, folder / "ebin") for folder in (catalog, catalog / TOP) if folder.is_dir()
    ]
    assert read_catalog(folders).hop("5.10.4", "5.10.5").text == other


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({f"{TOP}/priv/relup/a.relup": "#{"}, MalformedTerm),
        ({f"{TOP}/priv/relup/a.relup": "X = 1."}, ScriptTerm),
        ({f"{TOP}/priv/relup/a.relup": hop_text(), f"{TOP}/ebin/x.beam": b"FOR1"}, CorruptBeam),
        ({f"{TOP}/ebin/x.beam": b""}, NoHopsInPackage),
        ({"other/priv/relup/a.relup": hop_text()}, NoHopsInPackage),
        ({f"{TOP}/priv/relup/../../../../a.relup": hop_text()}, BadMember),
        ({"/etc/a.relup": hop_text()}, BadMember),
    ],
)
def test_a_bad_package_is_refused_whole(
    tmp_path: Path, catalog: Path, files: dict[str, bytes | str], error: type[RelupError]
) -> None:
    """Nothing of it is left, inside the catalog or beside it."""
    with pytest.raises(error):
        add_to_catalog(package(tmp_path / "p.tar.gz", files), catalog)
    assert not catalog.exists()
    assert left_behind(catalog) == []


def test_a_package_cut_off_is_refused(tmp_path: Path, catalog: Path) -> None:
    """The reader is the one that reads releases: it sees the end of every archive."""
    whole = package(tmp_path / "p.tar.gz", {f"{TOP}/priv/relup/a.relup": hop_text()})
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(BadArchive):
        add_to_catalog(whole, catalog)
    assert not catalog.exists()


def test_a_link_in_a_package_is_never_followed(tmp_path: Path, catalog: Path) -> None:
    """A symlink in a hop's place is passed over: only regular files count."""
    path = tmp_path / "p.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as archive:
        link = tarfile.TarInfo(f"{TOP}/priv/relup/a.relup")
        link.type, link.linkname = tarfile.SYMTYPE, "b"
        archive.addfile(link)
    with pytest.raises(NoHopsInPackage):
        add_to_catalog(path, catalog)


def test_a_missing_source_is_named(tmp_path: Path, catalog: Path) -> None:
    """The operator mistyped it."""
    with pytest.raises(CannotReadCatalog, match="gone"):
        add_to_catalog(tmp_path / "gone.relup", catalog)
