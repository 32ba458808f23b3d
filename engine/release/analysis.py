"""All that can be said about a hop before it is run: every analysis of one case, in one list. Pure over files."""

from collections.abc import Iterator

from engine.release.applications import application_findings
from engine.release.case import Case, LiveFacts
from engine.release.clients import client_findings
from engine.release.comparison import Comparison, compare_trees
from engine.release.coverage import coverage
from engine.release.findings import Finding
from engine.release.held_funs import held_fun_findings
from engine.release.hop import Hop
from engine.release.messages import message_findings
from engine.release.moves import named_twice
from engine.release.reach import reach_findings
from engine.release.resolution import Resolution, resolve
from engine.release.state import state_findings
from engine.release.tree import ReleaseTree
from engine.release.xref import call_findings, called_by_hop


def findings_of(case: Case) -> tuple[Finding, ...]:
    """Every finding, each once, in the order of the analyses."""
    return tuple(dict.fromkeys(_all(case)))


def _all(case: Case) -> Iterator[Finding]:
    yield from named_twice(case.hop)
    yield from coverage(case)
    yield from held_fun_findings(case)
    yield from reach_findings(case)
    yield from client_findings(case)
    yield from application_findings(case)
    for module in case.really_switched():  # forms are large: all that is asked of one module, then the next
        yield from state_findings(case, module)
        yield from message_findings(case, module)
    yield from call_findings(case)
    yield from called_by_hop(case)


def case_of(
    hop: Hop,
    *,
    live_tree: ReleaseTree,
    target: ReleaseTree,
    live: LiveFacts | None = None,
    comparison: Comparison | None = None,
    resolution: Resolution | None = None,
) -> Case:
    """The case of a hop; what is not given is made: comparison and resolution from the trees, and a node that
    runs exactly the live tree.

    Raises:
        ModuleNotFound, ApplicationNotFound, CallbackNotFound: The hop names what is not there.
        CannotReadRelease, CorruptBeam: A tree is not whole.
    """
    compared = comparison or compare_trees(live_tree, target)
    facts = live or LiveFacts.of_tree(compared)
    resolved = resolution or resolve(hop, live=live_tree, target=target, loaded=set(facts.md5s))
    return Case(compared, hop, resolved, facts)
