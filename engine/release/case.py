"""One hop looked at before it is run: two trees, the hop, what its names mean, and the node as plain facts.

The questions that all analyses share are answered here: which modules the hop switches, in which step, which
code is live afterwards, who runs it.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.release.beam import Beam
from engine.release.comparison import Comparison, beam_of, forms_of
from engine.release.forms import Forms
from engine.release.hop import Hop, LoadModule, RestartApplication, Update
from engine.release.moves import moving_instructions
from engine.release.resolution import Resolution
from engine.term import Term


@dataclass(frozen=True)
class HeldFun:
    """Funs of a module that lie somewhere in the node.

    Attributes:
        where: For people: `ETS table emqx_hooks`.
        is_old: Made by a code of the module before the live one.
        count: How many were seen there.
    """

    module: str
    where: str
    is_old: bool
    count: int


@dataclass(frozen=True)
class LiveFacts:
    """The node, as far as an analysis has to know it.

    Attributes:
        md5s: Module md5 of every loaded module.
        processes: Live processes by callback module. A module of `Comparison.process_modules` that is missing
            was not asked about, and counts as one that may have some.
        out_of_reach: Those of them, by module and as texts for people, that hang under no supervisor that
            answers: an update does not find them.
        patches: Modules with a beam in data/patches.
        held_funs: Funs of modules that the hop switches, as far as they were found.
        clients: Of a sample, how many have their connections in which application.
    """

    md5s: Mapping[str, str]
    processes: Mapping[str, int] = field(default_factory=dict)
    out_of_reach: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    patches: frozenset[str] = frozenset()
    held_funs: tuple[HeldFun, ...] = ()
    clients: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def of_tree(comparison: Comparison) -> "LiveFacts":
        """What a node would say that runs exactly the old tree, every module loaded."""
        return LiveFacts(md5s=comparison.old_md5s)


@dataclass(frozen=True)
class Case:
    """A hop under examination."""

    comparison: Comparison
    hop: Hop
    resolution: Resolution
    live: LiveFacts

    @functools.cached_property
    def switched(self) -> Mapping[str, Path]:
        """Every module that the hop makes live, and its new beam."""
        return {name: module.file for name, module in self.resolution.becomes_live().items()}

    @functools.cached_property
    def _new_md5s(self) -> Mapping[str, str]:
        found = {name: module.md5 for name, module in self.resolution.becomes_live().items()}
        return {**self.comparison.new_md5s, **found}

    @functools.cached_property
    def extras(self) -> Mapping[str, Term]:
        """Modules whose processes get a code_change, and the Extra they get."""
        return {i.module: i.extra for i in moving_instructions(self.hop) if isinstance(i, Update)}

    @functools.cached_property
    def restarted(self) -> frozenset[str]:
        """Modules whose processes start afresh, because their application does."""
        return frozenset(
            module.module for app in self.resolution.applications.values() for module in app.modules
        ) | {name for app in self.resolution.applications.values() for name in app.removed}

    @functools.cached_property
    def phases(self) -> Mapping[str, int]:
        """Modules by the step that switches them: neighbouring loads are one step, all else one each."""
        found: dict[str, int] = {}
        phase, before_was_load = 0, False
        for instruction in moving_instructions(self.hop):
            is_load = isinstance(instruction, LoadModule)
            phase += 0 if is_load and before_was_load else 1
            before_was_load = is_load
            match instruction:
                case LoadModule(module=module) | Update(module=module):
                    found[module] = phase
                case RestartApplication(application=name) if name in self.resolution.applications:
                    modules = self.resolution.applications[name].modules
                    found.update((module.module, phase) for module in modules)
        return found

    def is_loaded(self, module: str) -> bool:
        return module in self.live.md5s

    def stays(self, module: str) -> bool:
        """Whether the module's live code is still there after the hop."""
        return self.is_loaded(module) and module not in self.switched and module not in self.restarted

    def processes_of(self, module: str) -> int | None:
        """Live processes of a callback module; None when nobody was asked but it may have some."""
        may_have = module in self.comparison.process_modules
        return self.live.processes.get(module, None if may_have else 0)

    def old_beam(self, module: str) -> Beam | None:
        file = self.comparison.old.module_file(module)
        return None if file is None else beam_of(file, self.comparison.old_md5s[module])

    def new_beam(self, module: str) -> Beam | None:
        """The beam that the target, or the hop's package, has."""
        file = self.switched.get(module) or self.comparison.new.module_file(module)
        return None if file is None else beam_of(file, self._new_md5s[module])

    def old_forms(self, module: str) -> Forms | None:
        file = self.comparison.old.module_file(module)
        return None if file is None else forms_of(file, self.comparison.old_md5s[module])

    def new_forms(self, module: str) -> Forms | None:
        file = self.switched.get(module) or self.comparison.new.module_file(module)
        return None if file is None else forms_of(file, self._new_md5s[module])

    def really_switched(self) -> Iterator[str]:
        """Modules of both releases that the hop switches to other code, sorted."""
        for module in sorted(self.switched):
            if self.comparison.old_md5s.get(module) not in (None, self._new_md5s[module]):
                yield module


def people(count: int | None) -> str:
    """`3 live processes`, `1 live process`, `an unknown number of live processes`."""
    if count is None:
        return "an unknown number of live processes"
    return f"{count} live process" + ("" if count == 1 else "es")


def some(names: Iterable[str], *, limit: int = 8) -> str:
    """The first names of a list, and how many more there are."""
    kept = list(names)
    return ", ".join(kept[:limit]) + (f" and {len(kept) - limit} more" if len(kept) > limit else "")
