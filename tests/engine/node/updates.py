"""The update that most tests of the agent order: the counters' state grows, and shrinks again on the way back."""

from engine.node.door import ChangeCode
from engine.term import Atom
from tests.engine.node.bare_node import BareNode


def up(node: BareNode, *, to: str = "v2", **more: object) -> ChangeCode:
    """From version v1 of `counter`; `more` are fields of the order."""
    return _order(node, "up", to, "v1", more)


def down(node: BareNode, **more: object) -> ChangeCode:
    """From version v2 back to v1."""
    return _order(node, "down", "v1", "v2", more)


def _order(node: BareNode, direction: str, to: str, live: str, more: dict[str, object]) -> ChangeCode:
    """One whose deadline is no matter of a busy machine."""
    given: dict[str, object] = {
        "module": node.file("counter", to),
        "old": node.file("counter", live),
        "direction": direction,
        "from_version": "1",
        "extra": Atom("grown"),
        "suspend_timeout_ms": 20_000,
    }
    return ChangeCode(**(given | more))  # type: ignore[arg-type]  # the tests name the fields


def answers(node: BareNode) -> set[object]:
    """What every counter answers, without its number; each must answer at all."""
    found = node.eval("[counter:read(P) || P <- probe_sup:counters()]")
    return {(answer[0], *answer[2:]) for answer in found}
