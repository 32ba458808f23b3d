"""What the analyses of a hop have to know of the live node: asked here, judged elsewhere. Reads only."""

from collections.abc import Mapping

from engine.errors import UnfitNode
from engine.failures import advice_of
from engine.node.door import HeldFuns, ModuleUsers, ProcessSeen
from engine.node.errors import CallTimedOut, RemoteException
from engine.patches import patch_files
from engine.readback import counted_connections
from engine.release.case import HeldFun, LiveFacts
from engine.release.comparison import Comparison
from engine.release.hop import Hop, Update
from engine.release.resolution import Resolution
from engine.run import Run


class SupervisorsSilent(UnfitNode):
    """A supervisor did not answer, twice: it may have processes that an update of the hop would not find."""

    name = "supervisors_silent"


def live_facts(
    run: Run, hop: Hop, *, resolution: Resolution, comparison: Comparison, loaded: Mapping[str, str]
) -> tuple[LiveFacts, HeldFuns]:
    """The node as plain facts, and the search for held funs as it was found.

    Raises:
        SupervisorsSilent: The node cannot tell whom the hop's updates concern.
        NodeUnreachable: The node was lost while it was asked.
    """
    held = _held_funs(run, _replaced(resolution, loaded))
    users = _users(run, comparison, resolution)
    _check_supervisors_answer(run, hop, users)
    facts = LiveFacts(
        md5s=loaded,
        processes={module: seen.supervised + len(seen.unsupervised) for module, seen in users.items()},
        out_of_reach=_out_of_reach(run, users),
        patches=frozenset(path.stem for path in patch_files(run)),
        held_funs=tuple(HeldFun(f.module, f.where, f.is_old, f.count) for f in held.found),
        clients=_clients_at_stake(run, hop),
    )
    return facts, held


def _held_funs(run: Run, modules: list[str]) -> HeldFuns:
    """Funs of the modules, as far as they can be found; a search that fails refuses nothing, and is told."""
    try:
        return run.node.held_funs(modules)
    except (RemoteException, CallTimedOut) as failed:
        run.house.progress.note(f"held funs were not searched for to the end: {failed.happened}")
        return HeldFuns(time_ran_out=True)


def _replaced(resolution: Resolution, loaded: Mapping[str, str]) -> list[str]:
    """The modules whose live code the hop replaces or removes, and purges then."""
    replaced = {name for name, new in resolution.becomes_live().items() if loaded.get(name) != new.md5}
    removed = {module for app in resolution.applications.values() for module in app.removed}
    return sorted((replaced | removed) & loaded.keys())


def _users(run: Run, comparison: Comparison, resolution: Resolution) -> dict[str, ModuleUsers]:
    """The live processes of each module that may have some: not only the hop's, for a process may hold values of
    a module that it merely calls."""
    return run.node.module_users(sorted({*resolution.becomes_live(), *comparison.process_modules}))


def _check_supervisors_answer(run: Run, hop: Hop, users: Mapping[str, ModuleUsers]) -> None:
    """Refuse what the agent would refuse once the upgrade runs, in its words; one that answers late does answer."""
    updated = sorted({i.module for i in hop.instructions if isinstance(i, Update)})
    if not _silent(users, updated):
        return
    again = _silent(run.node.module_users(updated), updated)
    silent = [each for each in _silent(users, updated) if each in again]
    if silent:
        shown = "; ".join(f"{each.pid} {each.name}" for each in silent[:10])
        raise SupervisorsSilent(
            f"{len(silent)} supervisors did not answer: {shown}.",
            next=advice_of(SupervisorsSilent.name),
        )


def _silent(users: Mapping[str, ModuleUsers], modules: list[str]) -> tuple[ProcessSeen, ...]:
    return tuple(dict.fromkeys(each for module in modules for each in users[module].silent))


def _out_of_reach(run: Run, users: Mapping[str, ModuleUsers]) -> dict[str, tuple[str, ...]]:
    """Who has no supervisor, looked for twice: one that has ended by then was about to."""
    modules = [module for module, seen in users.items() if seen.unsupervised]
    if not modules:
        return {}
    return {
        module: tuple(
            f"{each.pid} ({each.name})" for each in again.unsupervised if each in users[module].unsupervised
        )
        for module, again in run.node.module_users(modules).items()
    }


def _clients_at_stake(run: Run, hop: Hop) -> Mapping[str, int]:
    """Clients by application, where a restart may end more of them than the operator accepts."""
    if not hop.restarted():
        return {}
    connections = counted_connections(run.node)
    if connections is not None and connections <= run.options.max_lost:
        return {}
    return run.node.client_applications()
