"""A release tree on disk: RootDir, a deployed target or a staged one. Reads files, lazily, and never writes.

Source: EMQX's layout (bin, erts-*, lib, releases); what a tree says of itself is `releases/emqx_vars` and
`releases/<vsn>/` with `emqx.rel` and BUILD_INFO.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

import msgspec

from engine.release.application import ReleaseApplication, applications_of
from engine.release.errors import CannotReadRelease
from engine.release.terms import read_term_file
from engine.release.vars import read_build_facts, read_emqx_vars
from engine.release.version import Version

_WHOLE_TREE = "Check that the release tree is whole, or get the package again."


class ReleaseTree(msgspec.Struct, frozen=True, dict=True):
    """One tree.

    Attributes:
        root: Its folder, absolute.
        version: REL_VSN.
        emqx_vars: The variables of releases/emqx_vars that are plain literals.
    """

    root: Path
    version: Version
    emqx_vars: Mapping[str, str]

    @staticmethod
    def read(path: Path) -> "ReleaseTree":
        """The tree at `path`; everything but releases/emqx_vars is read when it is asked for.

        Raises:
            CannotReadEmqxVars, RelVsnNotFound, DuplicateRelVsn, InvalidRelVsn: As `read_emqx_vars`.
        """
        root = path.absolute()
        version, variables = read_emqx_vars(root / "releases" / "emqx_vars")
        return ReleaseTree(root, version, variables)

    @property
    def release_folder(self) -> Path:
        return self.root / "releases" / str(self.version)

    @property
    def is_enterprise(self) -> bool | None:
        """Whether it is the Enterprise edition; None when the tree does not say."""
        said = self.emqx_vars.get("IS_ENTERPRISE")
        return None if said is None else said == "yes"

    @cached_property
    def build(self) -> Mapping[str, str]:
        """BUILD_INFO: arch, wordsize, os, erlang, elixir, relform.

        Raises:
            CannotReadRelease: It is missing or unreadable.
        """
        return read_build_facts(self.release_folder / "BUILD_INFO")

    @property
    def erts_version(self) -> str:
        """The version of ERTS that `emqx.rel` names."""
        return self._rel[0]

    @cached_property
    def applications(self) -> Mapping[str, ReleaseApplication]:
        """The applications of `emqx.rel`, in its order.

        Raises:
            CannotReadRelease: emqx.rel is missing, no release term, or of another version.
        """
        return {
            name: ReleaseApplication(name, version, self.root / "lib" / f"{name}-{version}" / "ebin")
            for name, version in self._rel[1]
        }

    @cached_property
    def modules(self) -> Mapping[str, Path]:
        """Every module and its beam; of two applications with the same module the first one's counts."""
        found: dict[str, Path] = {}
        for application in self.applications.values():
            for module, file in application.modules.items():
                found.setdefault(module, file)
        return found

    def module_file(self, module: str) -> Path | None:
        """The module's beam, or None where the release has no such module."""
        return self.modules.get(module)

    def app_of(self, module: str) -> ReleaseApplication | None:
        """The application that a module belongs to."""
        file = self.modules.get(module)
        return None if file is None else self._by_ebin.get(file.parent)

    @cached_property
    def _by_ebin(self) -> Mapping[Path, ReleaseApplication]:
        return {application.ebin: application for application in self.applications.values()}

    @cached_property
    def _rel(self) -> tuple[str, list[tuple[str, str]]]:
        file = self.release_folder / "emqx.rel"
        try:
            version, erts, applications = applications_of(read_term_file(file))
        except ValueError as fault:
            raise CannotReadRelease(f"{file} is no release term: {fault}", next=_WHOLE_TREE) from None
        if version != str(self.version):
            raise CannotReadRelease(
                f"{file} speaks of {version}, releases/emqx_vars of {self.version}", next=_WHOLE_TREE
            )
        return erts, applications


def check_whole(tree: ReleaseTree) -> None:
    """Refuse a tree that lacks what a release needs: BUILD_INFO, emqx.rel, each application's ebin, ERTS.

    Raises:
        CannotReadRelease: It lacks something, or its files contradict each other.
    """
    _ = tree.build
    missing = [name for name, app in tree.applications.items() if not app.app_file.is_file()]
    if missing:
        raise CannotReadRelease(
            f"{tree.root} lacks the .app of {_some(missing)}, which emqx.rel names", next=_WHOLE_TREE
        )
    if not (tree.root / f"erts-{tree.erts_version}" / "bin").is_dir():
        raise CannotReadRelease(
            f"{tree.root} lacks erts-{tree.erts_version}, which emqx.rel names", next=_WHOLE_TREE
        )


def _some(names: Iterable[str]) -> str:
    kept = sorted(names)
    return ", ".join(kept[:5]) + (f" and {len(kept) - 5} more" if len(kept) > 5 else "")
