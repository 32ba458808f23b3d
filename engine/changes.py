"""From what the names in a hop were found to be, to what changes: where each module comes from and goes to.

The old file of a module counts only when it holds the very code that runs; without one there is no way back.
"""

from collections.abc import Mapping
from pathlib import Path

from engine.node.door import Node
from engine.plan import ApplicationChange, ResolvedHop
from engine.release.beam import read_beam
from engine.release.errors import CorruptBeam
from engine.release.hop import Hop
from engine.release.resolution import FoundApplication, FoundModule, Resolution
from engine.release.tree import ReleaseTree
from engine.steps import PathMove
from journal.events import ModuleChange


class Changes:
    """What a hop changes in one node.

    Args:
        node: Asked where its modules were loaded from, and for its code path.
        live: The tree whose code it runs.
        target: The staged tree.
        deployed: Where the target will lie.
        loaded: Md5 of every loaded module.
    """

    def __init__(
        self, node: Node, *, live: ReleaseTree, target: ReleaseTree, deployed: Path, loaded: Mapping[str, str]
    ) -> None:
        self._live = live
        self._target = target
        self._loaded = loaded
        self._node = node
        self._deployed = deployed
        self._files: Mapping[str, str] = {}

    def resolved(self, hop: Hop, resolution: Resolution) -> ResolvedHop:
        removed = [module for app in resolution.applications.values() for module in app.removed]
        self._files = self._node.module_files([*resolution.becomes_live(), *removed])
        modules = {name: self._change(found) for name, found in resolution.modules.items()}
        applications = {name: self._application(found) for name, found in resolution.applications.items()}
        return ResolvedHop(
            hop=hop, modules=modules, applications=applications, path_moves=self._moves(resolution)
        )

    def _change(self, found: FoundModule) -> ModuleChange:
        return ModuleChange(
            module=found.module,
            from_md5=self._loaded.get(found.module),
            to_md5=found.md5,
            from_file=self._old_file(found.module),
            to_file=str(self._place_of(found.file)),
        )

    def _application(self, found: FoundApplication) -> ApplicationChange:
        gone = [
            ModuleChange(
                module=module,
                from_md5=self._loaded[module],
                to_md5=None,
                from_file=self._old_file(module),
            )
            for module in found.removed
            if module in self._loaded
        ]
        return ApplicationChange(
            application=found.new.name,
            version=found.new.version,
            old_app_file=str(found.old.app_file) if found.old else "",
            new_app_file=str(self._place_of(found.new.app_file)),
            modules=(*(self._change(module) for module in found.modules), *gone),
        )

    def _old_file(self, module: str) -> str | None:
        """The file that holds the very code that runs now; None when there is none: no way back."""
        md5 = self._loaded.get(module)
        if md5 is None:
            return None
        loaded_from = self._files.get(module)
        for file in (Path(loaded_from) if loaded_from else None, self._live.module_file(module)):
            if file is not None and _md5_of(file) == md5:
                return str(file)
        return None

    def _place_of(self, staged: Path) -> Path:
        """Where a file of the staging will lie once it is deployed; a file of the hop's package stays."""
        if staged.is_relative_to(self._target.root):
            return self._deployed / staged.relative_to(self._target.root)
        return staged

    def _moves(self, resolution: Resolution) -> tuple[PathMove, ...]:
        """The ebin folders of the changed applications: old to new."""
        on_path = {_application_of(entry): entry for entry in reversed(self._node.code_path())}
        changed = {
            app.name: app
            for module in resolution.becomes_live()
            if (app := self._target.app_of(module)) is not None
        }
        return tuple(
            PathMove(application=name, old=on_path.get(name), new=str(self._place_of(app.ebin)))
            for name, app in sorted(changed.items())
        )


def _application_of(entry: str) -> str:
    """The application whose ebin folder a code path entry is: `…/lib/emqx-5.10.4/ebin` is emqx."""
    return Path(entry).parent.name.partition("-")[0]


def _md5_of(file: Path) -> str | None:
    try:
        return read_beam(file).md5
    except (OSError, CorruptBeam):
        return None
