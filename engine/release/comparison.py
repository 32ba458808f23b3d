"""Two release trees side by side: which modules differ, and their beams and forms when somebody asks.

Modules are compared by their module md5, never by file bytes: a rebuild of the same source changes bytes.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.release.beam import Beam, read_beam, scanned
from engine.release.forms import Forms, read_forms
from engine.release.tree import ReleaseTree


@dataclass(frozen=True)
class Comparison:
    """The live tree and the target.

    Attributes:
        old_md5s, new_md5s: Module md5 of every module of each.
        process_modules: Modules of the live tree with the callbacks of a process: whose processes a plan has to
            ask the node about.
    """

    old: ReleaseTree
    new: ReleaseTree
    old_md5s: Mapping[str, str]
    new_md5s: Mapping[str, str]
    process_modules: frozenset[str]

    @functools.cached_property
    def changed(self) -> tuple[str, ...]:
        """Modules that both have and that differ, sorted."""
        return tuple(
            sorted(module for module, md5 in self.old_md5s.items() if self.new_md5s.get(module, md5) != md5)
        )

    @functools.cached_property
    def added(self) -> tuple[str, ...]:
        """Modules that only the target has, sorted."""
        return tuple(sorted(set(self.new_md5s) - set(self.old_md5s)))

    @functools.cached_property
    def removed(self) -> tuple[str, ...]:
        """Modules that only the live tree has, sorted."""
        return tuple(sorted(set(self.old_md5s) - set(self.new_md5s)))

    @functools.cached_property
    def importers(self) -> Mapping[str, frozenset[str]]:
        """Which modules of the live tree import functions of a module; reads every import table once."""
        found: dict[str, set[str]] = {}
        for module, file in self.old.modules.items():
            for imported in read_beam(file).imported_modules:
                found.setdefault(imported, set()).add(module)
        return {name: frozenset(callers) for name, callers in found.items()}


def compare_trees(old: ReleaseTree, new: ReleaseTree) -> Comparison:
    """Read the md5 of every module of both trees.

    Raises:
        CannotReadRelease, CorruptBeam: A tree is not whole.
    """
    old_md5s, process_modules = scanned(old.modules)
    new_md5s, _ = scanned(new.modules)
    return Comparison(old, new, old_md5s, new_md5s, process_modules)


@functools.lru_cache(maxsize=256)
def beam_of(file: Path, md5: str) -> Beam:
    """The beam of a module that differs; kept, for several questions are asked about each.

    Args:
        md5: Tells two files of one name apart in the memory of this process.
    """
    del md5
    return read_beam(file)


@functools.lru_cache(maxsize=64)
def forms_of(file: Path, md5: str) -> Forms | None:
    """The forms of such a beam; None without debug information."""
    return read_forms(beam_of(file, md5))
