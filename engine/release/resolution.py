"""What the names in a hop mean: each module's beam, each application's folder, found before anything is touched.

The target is asked first, then the package that the hop came with. Files and the plain list of loaded modules
in, values out; no node is asked here.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.release.application import ReleaseApplication
from engine.release.beam import read_beam
from engine.release.errors import ApplicationNotFound, CallbackNotFound, CorruptBeam, ModuleNotFound
from engine.release.hop import Apply, Hop
from engine.release.tree import ReleaseTree

_OTHER_HOP = "Correct the hop, or get the hop file that belongs to this target from its author."


@dataclass(frozen=True)
class FoundModule:
    """A module of the hop and the beam that becomes live.

    Attributes:
        md5: The module md5, lower-case hex.
        from_package: The beam comes from the hop's package; the target has none.
    """

    module: str
    file: Path
    md5: str
    from_package: bool = False


@dataclass(frozen=True)
class FoundApplication:
    """An application that the hop restarts.

    Attributes:
        old: As the live tree has it; None where it is new.
        modules: The target's modules of it, by name.
        removed: Modules that only the live tree has.
    """

    new: ReleaseApplication
    old: ReleaseApplication | None
    modules: tuple[FoundModule, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True)
class Resolution:
    """All that a hop names, found.

    Attributes:
        modules: Those that instructions name one by one, and before them those that the hop's package brings
            for its own functions.
        callback_module: The module whose functions the callbacks are; None when there are none.
    """

    modules: Mapping[str, FoundModule]
    applications: Mapping[str, FoundApplication]
    callback_module: str | None

    def becomes_live(self) -> dict[str, FoundModule]:
        """Every module that the hop loads, those of restarted applications included."""
        found = {module.module: module for app in self.applications.values() for module in app.modules}
        return found | dict(self.modules)


def resolve(hop: Hop, *, live: ReleaseTree, target: ReleaseTree, loaded: Collection[str]) -> Resolution:
    """Find everything that the hop names.

    Args:
        live: The tree whose code the VM runs.
        loaded: The modules loaded in the VM now.

    Raises:
        ModuleNotFound: Neither the target nor the hop's package has a module.
        ApplicationNotFound: The target has no such application.
        CallbackNotFound: No callback module will be loaded when the callbacks run.
        CorruptBeam: A beam is damaged, or is of another module than its name says.
    """
    named = [*_brought(hop, target, loaded), *hop.modules()]
    modules = {module: _found_module(module, hop, target) for module in dict.fromkeys(named)}
    applications = {name: _found_application(name, live, target) for name in dict.fromkeys(hop.restarted())}
    resolution = Resolution(modules, applications, None)
    callback = _callback_module(hop, {*loaded, *resolution.becomes_live()}) if hop.callbacks else None
    return Resolution(modules, applications, callback)


def _brought(hop: Hop, target: ReleaseTree, loaded: Collection[str]) -> list[str]:
    """The modules that the hop's functions are in and that only its package has.

    In the official tool they are loaded with its plugin; no instruction names them.
    """
    called = [hop.callback_modules[0]] if hop.callbacks else []
    called += [each.module for each in hop.instructions if isinstance(each, Apply)]
    return [
        module
        for module in called
        if module not in loaded and target.module_file(module) is None and _packaged(module, hop) is not None
    ]


def _packaged(module: str, hop: Hop) -> Path | None:
    """The module's beam in the hop's package."""
    files = (ebin / f"{module}.beam" for ebin in hop.ebins)
    return next((file for file in files if file.is_file()), None)


def _found_module(module: str, hop: Hop, target: ReleaseTree) -> FoundModule:
    file = target.module_file(module)
    if file is not None:
        return _read(module, file)
    packaged = _packaged(module, hop)
    if packaged is not None:
        return _read(module, packaged, from_package=True)
    raise ModuleNotFound(
        f"the hop names the module {module}, which neither the release {target.version} nor the hop's package has",
        next=_OTHER_HOP,
    )


def _found_application(name: str, live: ReleaseTree, target: ReleaseTree) -> FoundApplication:
    new = target.applications.get(name)
    if new is None:
        raise ApplicationNotFound(
            f"the hop restarts the application {name}, which the release {target.version} does not have",
            next=_OTHER_HOP,
        )
    old = live.applications.get(name)
    modules = tuple(_read(module, file) for module, file in new.modules.items())
    removed = tuple(sorted(set(old.modules) - set(target.modules))) if old is not None else ()
    return FoundApplication(new=new, old=old, modules=modules, removed=removed)


def _callback_module(hop: Hop, loaded_then: Collection[str]) -> str:
    for module in hop.callback_modules:
        if module in loaded_then:
            return module
    raise CallbackNotFound(
        f"the hop has callbacks, but neither {' nor '.join(hop.callback_modules)} will be loaded when they run",
        next=_OTHER_HOP,
    )


def _read(module: str, file: Path, *, from_package: bool = False) -> FoundModule:
    beam = read_beam(file)
    if beam.module != module:
        raise CorruptBeam(
            f"{file} holds the module {beam.module}",
            next="Get the package again; this file cannot be loaded.",
        )
    return FoundModule(module, file, beam.md5, from_package)
