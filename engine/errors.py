"""Errors of the engine, grouped by blame. Each says what happened and what to do next.

What runs now is known to the one who stopped the work, not to the one who found the fault: the loop fills
`runs_now` in. No number lives here; `cli/exit_codes.py` alone knows them.
"""

from journal.events import Evidence

UNTOUCHED = "nothing was changed; the node is as it was"
"""What runs now, after whatever was refused or stopped before anything was begun; true of a node that is down too."""


class RelupError(Exception):
    """Anything relup tells its user about.

    Args:
        happened: What happened, one or two sentences, no advice.
        next: What the operator should do; never empty.
        name: Where one class stands for many errors, the name of this one.
    """

    name: str = "internal_error"
    """The contract for scripts: EMQX's own name where it has one."""

    def __init__(self, happened: str, *, next: str, name: str | None = None) -> None:  # noqa: A002
        super().__init__(happened)
        self.happened = happened
        self.next = next
        self.runs_now: str | None = None
        if name is not None:
            self.name = name


class Refusal(RelupError):
    """Refused before anything was touched."""


class BadRequest(Refusal):
    """The operator asked for something that cannot be."""


class BadRelease(Refusal):
    """The package, its sidecar, its tree or the hop is wrong."""


class BadPlace(Refusal):
    """The machine or RootDir is not fit: permissions, space, a wrong file in the way."""


class NoWritePermission(BadPlace):
    """This user may not write what an upgrade has to write under RootDir."""

    name = "no_write_permission"


class UnfitNode(Refusal):
    """The running node is not in a state from which this can be done."""


class Busy(Refusal):
    """Another relup holds the lock."""

    name = "busy"


class StepFailure(RelupError):
    """A step of a running upgrade did not do its work; the loop undoes or stops.

    Attributes:
        reverted: The step undid itself: the world is as it was before it.
        evidence: What it saw all the same.
    """

    name = "step_failed"

    def __init__(
        self,
        happened: str,
        *,
        next: str,  # noqa: A002
        name: str | None = None,
        reverted: bool = False,
        evidence: Evidence | None = None,
    ) -> None:
        super().__init__(happened, next=next, name=name)
        self.reverted = reverted
        self.evidence = evidence or Evidence()


class NodeUnreachable(RelupError):
    """The node could not be asked: down, wrong cookie, deadline passed, connection lost."""

    name = "node_unreachable"


class BetweenReleases(RelupError):
    """The node runs neither release whole; an operator is needed."""

    name = "between_releases"


class ConnectionsLost(RelupError):
    """A hop is done, and has ended more clients' connections than was accepted, too late to be undone by itself."""

    name = "connections_lost"


class PastNoReturn(RelupError):
    """A function or callback of the hop has run: what was asked would undo it, and cannot. Nothing changed."""

    name = "past_point_of_no_return"


class Differs(RelupError):
    """Read back, the node or its trees are not what the journal says they are."""

    name = "differs"


class RolledBack(RelupError):
    """The upgrade failed and was undone; the old release runs."""

    name = "rolled_back"


class Interrupted(RelupError):
    """The operator stopped the upgrade; the old release runs."""

    name = "interrupted"


class AnswerLost(RelupError):
    """The answer could not be written to stdout: a full disk, most of the time. What was asked for is done."""

    name = "answer_lost"
