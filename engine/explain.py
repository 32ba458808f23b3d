"""What a code means: every finding of a plan and every error relup can raise, for `relup explain CODE`.

Findings have a table of their own. An error is explained by its class: its docstring, and whom the group it
belongs to blames. So there is no second list of errors to keep up.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import engine
from engine.errors import (
    BadPlace,
    BadRelease,
    BadRequest,
    BetweenReleases,
    Busy,
    Differs,
    Interrupted,
    NodeUnreachable,
    PastNoReturn,
    RelupError,
    RolledBack,
    StepFailure,
    UnfitNode,
)
from engine.release.explanations import FINDINGS, Explanation

_BLAME: tuple[tuple[type[RelupError], str, str], ...] = (
    (
        BadRequest,
        "What was asked for cannot be done; the node was not touched.",
        "Correct the command as the error's own text says, and run it again.",
    ),
    (
        BadRelease,
        "The package, the release in it or the hop is wrong; the node was not touched.",
        "Get the right file from its author; the error's own text names what is wrong in it.",
    ),
    (
        BadPlace,
        "The machine or the install root is not fit; the node was not touched.",
        "Mend what the error's own text names (space, rights, a file in the way), and run it again.",
    ),
    (
        UnfitNode,
        "The running node is not in a state from which this can be done; it was not touched.",
        "Bring the node into order as the error's own text says, and run it again.",
    ),
    (Busy, "Another relup works on this node.", "Wait until it has ended."),
    (
        StepFailure,
        "A step of a running upgrade failed.",
        "'relup status' says what runs now; before the point of no return it was rolled back.",
    ),
    (
        NodeUnreachable,
        "The node could not be asked.",
        "Check that it runs and that relup knows its name and cookie; then 'relup recover'.",
    ),
    (BetweenReleases, "The node runs neither release whole.", "'relup recover --report' lists both sides."),
    (
        PastNoReturn,
        "What was asked would undo what cannot be undone; nothing was changed.",
        "Read the journal.",
    ),
    (Differs, "What was read back is not what the journal says.", "'relup status' shows what is so."),
    (RolledBack, "The upgrade failed and was undone; the old release runs.", "Read why with 'relup logs'."),
    (Interrupted, "The operator stopped it; the old release runs.", "Run it again when it suits you."),
    (
        RelupError,
        "A state that relup's authors held impossible: a fault of relup itself.",
        "Report it with the output of the command run with --verbose, and 'relup logs'.",
    ),
)


def explanation_of(code: str) -> Explanation | None:
    """What a finding's code or an error's name means; None for a name that relup does not have."""
    known = FINDINGS.get(code.partition(":")[0])
    if known is not None:
        return known
    errors = [error for error in all_errors() if error.name == code]
    return _of_errors(errors) if errors else None


def codes() -> tuple[str, ...]:
    """Every code and name that can be explained, sorted."""
    return tuple(sorted({*FINDINGS, *(error.name for error in all_errors())}))


def all_errors() -> Iterator[type[RelupError]]:
    """Every error class of the engine with a name of its own."""
    for found in pkgutil.walk_packages(engine.__path__, prefix="engine."):
        importlib.import_module(found.name)
    waiting: list[type[RelupError]] = [RelupError]
    while waiting:
        error = waiting.pop()
        waiting.extend(error.__subclasses__())
        if "name" in vars(error):
            yield error


def _of_errors(errors: list[type[RelupError]]) -> Explanation:
    meanings = dict.fromkeys(meaning for error in errors if (meaning := _meaning(error)))
    _, blame, advice = next((group for group in _BLAME if issubclass(errors[0], group[0])), (None, "", ""))
    return Explanation(
        means=" ".join(meanings) or blame,
        seen=blame or "A state that relup's authors held impossible.",
        next=advice,
    )


def _meaning(error: type[RelupError]) -> str:
    """The class's first paragraph, or the reason that it prints itself."""
    own = inspect.cleandoc(vars(error).get("__doc__") or "").partition("\n\n")[0].replace("\n", " ")
    reason = getattr(error, "reason", None)
    if own:
        return own
    return f"The package is refused: {reason}." if isinstance(reason, str) else ""
