"""The catalog: every `.relup` file that may be used, wherever it lies. Reads files, never writes one.

One malformed file does not hide the others: it is a fault of the catalog, named with line and column. Folders,
first one first: the one given, `<RootDir>/relup/catalog/` with its subfolders, and the official packages
(`<RootDir>/plugins/emqx_relup-*/emqx_relup-*/priv/relup`).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import RelupError
from engine.place import Place
from engine.release.errors import AmbiguousHop, CannotReadCatalog, NoHop, ScriptTerm
from engine.release.hop import Hop, hop_of, read_hop
from engine.release.routes import Route, routes_between
from engine.release.terms import ParsedTerm, decoded
from engine.term import Term

_ADD = "'relup hop add FILE|PACKAGE' puts a hop into the catalog; 'relup list-supported-paths' shows what is there."


@dataclass(frozen=True)
class CatalogFolder:
    """A folder of `.relup` files, and where the beams of their package lie (may not exist)."""

    hops: Path
    ebin: Path


@dataclass(frozen=True)
class CatalogFault:
    """A file of the catalog that is no hop."""

    file: Path
    error: RelupError


@dataclass(frozen=True)
class Catalog:
    """What the folders hold."""

    hops: tuple[Hop, ...]
    faults: tuple[CatalogFault, ...]
    folders: tuple[CatalogFolder, ...] = ()

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Each `{from, target}` once, in the order they were found."""
        return tuple(dict.fromkeys((hop.from_version, hop.target_version) for hop in self.hops))

    def hop(self, from_version: str, target_version: str) -> Hop:
        """The hop of this pair.

        Raises:
            NoHop: There is none.
            RelupError: The file that is called like it is no hop; the fault, with line and column.
            AmbiguousHop: Two files describe it, and differently.
        """
        found = [
            hop
            for hop in self.hops
            if (hop.from_version, hop.target_version) == (from_version, target_version)
        ]
        if not found:
            raise self._fault_of(from_version, target_version) or self._no_hop(from_version, target_version)
        first = found[0]
        others = [hop.file for hop in found if hop.sha256 != first.sha256]
        if others:
            raise AmbiguousHop(
                f"the hop {from_version} -> {target_version} is described differently by"
                f" {first.file} and {', '.join(map(str, others))}",
                next="Remove the files that are not meant; the folder given with --catalog stands beside the others.",
            )
        return first

    def routes(self, from_version: str, target_version: str | None = None) -> tuple[Route, ...]:
        """The shortest way from one version to the target, or to every version that can be reached."""
        return routes_between(self.pairs, from_version=from_version, target_version=target_version)

    def _fault_of(self, from_version: str, target_version: str) -> RelupError | None:
        """What is wrong with the file that, by the convention of names, is this hop."""
        name = _file_name(from_version, target_version)
        return next((fault.error for fault in self.faults if fault.file.name == name), None)

    def trusting(
        self, evaluate: Callable[[str], Term], *, from_version: str, target_version: str
    ) -> "Catalog":
        """The catalog with those scripts evaluated, as the official reader does, that it takes to find one hop.

        What a script describes is known only when it has run. Those that are called like the hop go first, all of
        them, so that two that differ are seen; the others one by one, and only until the hop is found. A script
        that is called like it and fails ends the search.

        Args:
            evaluate: Gives the value of a script's text.
            from_version: Where the hop begins.
            target_version: Where it leads.
        """
        name = _file_name(from_version, target_version)
        hops, faults, is_settled = list(self.hops), [], False
        for fault in sorted(self.faults, key=lambda fault: fault.file.name != name):
            is_named = fault.file.name == name
            if not isinstance(fault.error, ScriptTerm) or (is_settled and not is_named):
                faults.append(fault)
                continue
            try:
                hop = _evaluated(fault.file, self._ebins_of(fault.file), evaluate)
            except RelupError as error:
                faults.append(CatalogFault(fault.file, error))
                is_settled |= is_named
            else:
                hops.append(hop)
                is_settled |= (hop.from_version, hop.target_version) == (from_version, target_version)
        return Catalog(tuple(hops), tuple(faults), self.folders)

    def _ebins_of(self, file: Path) -> tuple[Path, ...]:
        return tuple(
            folder.ebin for folder in self.folders if folder.hops == file.parent and folder.ebin.is_dir()
        )

    def _no_hop(self, from_version: str, target_version: str) -> NoHop:
        way = self.routes(from_version, target_version)
        if way:
            happened = f"the catalog has no single hop {from_version} -> {target_version}"
            return NoHop(happened, next=f"Go one hop at a time: {' -> '.join(way[0])}.")
        bad = "".join(f"; {fault.error.happened}" for fault in self.faults)
        happened = f"the catalog has no hop {from_version} -> {target_version}{bad}"
        return NoHop(happened, next=_ADD)


def catalog_folders(root: Path, *, given: Path | None = None) -> tuple[CatalogFolder, ...]:
    """The folders of a RootDir's catalog that exist, the given one first.

    Raises:
        CannotReadCatalog: The given folder is none.
    """
    folders = list(_given_folders(given)) if given is not None else []
    own = Place(root).own_catalog
    folders += [_folder(own), *(_folder(sub) for sub in _subfolders(own))]
    packages = sorted(root.glob("plugins/emqx_relup-*/emqx_relup-*"))
    folders += [_package_folder(package) for package in packages]
    return tuple(folder for folder in folders if folder.hops.is_dir())


def read_catalog(folders: Iterable[CatalogFolder]) -> Catalog:
    """Every hop of the folders; a file that cannot be read or is no hop becomes a fault."""
    kept = tuple(folders)
    hops: dict[tuple[str, str, str], Hop] = {}
    faults: list[CatalogFault] = []
    for folder in kept:
        for read in _read_folder(folder):
            if isinstance(read, CatalogFault):
                faults.append(read)
            else:
                _keep(hops, read)
    return Catalog(tuple(hops.values()), tuple(faults), kept)


def _keep(hops: dict[tuple[str, str, str], Hop], hop: Hop) -> None:
    """The same file in two folders is one hop, which may take its modules from both."""
    key = (hop.from_version, hop.target_version, hop.sha256)
    known = hops.get(key)
    if known is not None:
        hop = type(hop)(
            **{name: getattr(known, name) for name in known.__struct_fields__}
            | {"ebins": known.ebins + hop.ebins}
        )
    hops[key] = hop


def _read_folder(folder: CatalogFolder) -> Iterator[Hop | CatalogFault]:
    ebins = (folder.ebin,) if folder.ebin.is_dir() else ()
    try:
        files = sorted(file for file in folder.hops.iterdir() if file.suffix == ".relup")
    except OSError as fault:
        yield CatalogFault(folder.hops, _cannot_read(folder.hops, fault))
        return
    for file in files:
        try:
            yield read_hop(file, ebins=ebins)
        except OSError as fault:
            yield CatalogFault(file, _cannot_read(file, fault))
        except RelupError as error:
            yield CatalogFault(file, error)


def _file_name(from_version: str, target_version: str) -> str:
    """What the file of a hop is called by convention; only its contents count."""
    return f"{from_version}-to-{target_version}.relup"


def _evaluated(file: Path, ebins: tuple[Path, ...], evaluate: Callable[[str], Term]) -> Hop:
    """The hop that a script's value is; its digest is that of the text that was evaluated."""
    content = file.read_bytes()
    value = ParsedTerm(evaluate(decoded(content)), str(file), {})
    return hop_of(value, file=file, content=content, ebins=ebins)


def _given_folders(given: Path) -> Iterator[CatalogFolder]:
    """A folder of hop files, or an unpacked hot-upgrade package."""
    if not given.is_dir():
        raise CannotReadCatalog(
            f"the catalog {given} is no folder", next="Name a folder that holds .relup files."
        )
    yield _folder(given)
    yield from (_folder(sub) for sub in _subfolders(given))
    yield _package_folder(given)


def _folder(path: Path) -> CatalogFolder:
    return CatalogFolder(path, path / "ebin")


def _package_folder(package: Path) -> CatalogFolder:
    return CatalogFolder(package / "priv" / "relup", package / "ebin")


def _subfolders(path: Path) -> list[Path]:
    return sorted(sub for sub in path.iterdir() if sub.is_dir()) if path.is_dir() else []


def _cannot_read(path: Path, fault: OSError) -> CannotReadCatalog:
    return CannotReadCatalog(
        f"{path} cannot be read: {fault.strerror}",
        next="Make it readable for the user of the node, or remove it.",
    )
