"""What a code means: every finding of a plan and every error relup can print, for `relup explain CODE`.

Findings have a table of their own, and so have the failures that have a name but no class. Every other error is
explained by its class: its docstring, and whom the group it belongs to blames. So there is no second list to keep.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator

import engine
import journal
from engine.errors import (
    AnswerLost,
    BadPlace,
    BadRelease,
    BadRequest,
    BetweenReleases,
    Busy,
    ConnectionsLost,
    Differs,
    Interrupted,
    NodeUnreachable,
    PastNoReturn,
    RelupError,
    RolledBack,
    StepFailure,
    UnfitNode,
)
from engine.failures import FAILURES
from engine.release.explanations import FINDINGS, Explanation
from journal.errors import (
    JournalDamaged,
    JournalError,
    JournalForeign,
    JournalFull,
    JournalNewer,
    JournalPlace,
)

ErrorClass = type[RelupError] | type[JournalError]

_READ = "What it ran before: nothing is begun without a journal that can be trusted, and nothing was written to it."

_BLAME: tuple[tuple[ErrorClass, str, str], ...] = (
    (
        BadRequest,
        "What it ran before: what was asked for cannot be done, and the node was not touched.",
        "Correct the command as the error's own text says, and run it again.",
    ),
    (
        BadRelease,
        "What it ran before: the package, the release in it or the hop is wrong, and the node was not touched.",
        "Get the right file from its author; the error's own text names what is wrong in it.",
    ),
    (
        BadPlace,
        "What it ran before: the machine or the install root is not fit, and the node was not touched.",
        "Mend what the error's own text names (space, rights, a file in the way), and run it again.",
    ),
    (
        UnfitNode,
        "What it ran before: it is not in a state from which this can be done, and it was not touched.",
        "Bring the node into order as the error's own text says, and run it again.",
    ),
    (Busy, "What the other relup makes of it; this one changed nothing.", "Wait until the other has ended."),
    (
        StepFailure,
        "Before the point of no return the old release, to which it was rolled back; 'relup status' says it.",
        "Read the reason with 'relup logs --steps'; then 'relup recover' where the upgrade is unfinished.",
    ),
    (
        NodeUnreachable,
        "What it ran before when nothing was begun; nothing when the VM has died; else it is unknown, and the error's"
        " own text says so.",
        "Check that the node runs and that relup knows its name and cookie; then 'relup recover' if an upgrade was"
        " begun.",
    ),
    (
        BetweenReleases,
        "Modules of both releases; 'relup recover --report' lists both sides.",
        "Remove the cause that the error's own text names, then 'relup recover'.",
    ),
    (
        ConnectionsLost,
        "The new release, whole, and it boots next.",
        "Read the reasons with 'relup logs --steps', and see whether those clients are back.",
    ),
    (
        PastNoReturn,
        "What it ran before: what was asked would undo what cannot be undone, and nothing was changed.",
        "'relup recover' goes on to the end instead; a restart of the node boots what 'relup status' names.",
    ),
    (
        Differs,
        "Something else than the journal says; the error's own text lists what.",
        "Find out who else changes this node; 'relup status' shows what is so now.",
    ),
    (
        RolledBack,
        "The old release, whole: every step was undone and read back.",
        "Read why with 'relup logs'.",
    ),
    (Interrupted, "The old release, whole: every step was undone.", "Run it again when it suits you."),
    (
        AnswerLost,
        "What it ran when the command ended, which did all that was asked for.",
        "Free some space where stdout goes; 'relup status' and 'relup logs' say again what was done.",
    ),
    (
        RelupError,
        "Unknown to the command that failed; 'relup status' asks the node.",
        "Report it with the output of the command run with --verbose, and 'relup logs'.",
    ),
    (
        JournalDamaged,
        _READ,
        "'relup logs --salvage' reads what is before the damage. Keep the folder as it is, and begin a fresh journal"
        " that links to it with 'relup journal fresh'.",
    ),
    (JournalNewer, _READ, "Use the newer relup that wrote it."),
    (
        JournalForeign,
        _READ,
        "Check --root. Where it was copied or moved on purpose, move it aside and begin another with 'relup journal"
        " fresh'.",
    ),
    (
        JournalFull,
        "What it ran before when nothing was begun. In the middle of an upgrade all is undone, with the record on the"
        " screen instead; behind the point of no return the node is between releases.",
        "Free some space, then 'relup recover' writes the end down.",
    ),
    (JournalPlace, _READ, "Mend the folder as the error's own text says: owner, mode, filesystem."),
    (
        JournalError,
        _READ,
        "The error's own text says what to do; 'relup journal verify' reads the journal whole.",
    ),
)


def explanation_of(code: str) -> Explanation | None:
    """What a finding's code or an error's name means; None for a name that relup does not have."""
    known = FINDINGS.get(code.partition(":")[0])
    if known is not None:
        return known
    errors = [error for error in all_errors() if error.name == code]
    of_class, of_step = _of_errors(errors) if errors else None, FAILURES.get(code)
    return _joined(of_class, of_step) if of_class and of_step else of_class or of_step


def codes() -> tuple[str, ...]:
    """Every code and name that can be explained, sorted."""
    return tuple(sorted({*FINDINGS, *FAILURES, *(error.name for error in all_errors())}))


def all_errors() -> Iterator[ErrorClass]:
    """Every error class with a name of its own: of the engine, the journal, and whoever else is imported by now."""
    for room in (engine, journal):
        for found in pkgutil.walk_packages(room.__path__, prefix=f"{room.__name__}."):
            importlib.import_module(found.name)
    waiting: list[ErrorClass] = [RelupError, JournalError]
    while waiting:
        error = waiting.pop()
        waiting.extend(error.__subclasses__())
        if "name" in vars(error):
            yield error


def _joined(of_class: Explanation, of_step: Explanation) -> Explanation:
    """One explanation of a name that is told before an upgrade and in one."""

    def both(before: str, within: str) -> str:
        return f"{before} In a running upgrade: {within[0].lower()}{within[1:]}"

    return Explanation(
        means=both(of_class.means, of_step.means),
        runs=both(of_class.runs, of_step.runs),
        next=both(of_class.next, of_step.next),
    )


def _text(parts: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(parts))


def _of_errors(errors: list[ErrorClass]) -> Explanation:
    meanings = _text(meaning for error in errors if (meaning := _meaning(error)))
    _, runs, advice = next(group for group in _BLAME if issubclass(errors[0], group[0]))
    return Explanation(means=meanings, runs=runs, next=advice)


def _meaning(error: ErrorClass) -> str:
    """The class's first paragraph, or the reason that it prints itself."""
    own = inspect.cleandoc(vars(error).get("__doc__") or "").partition("\n\n")[0].replace("\n", " ")
    reason = getattr(error, "reason", None)
    if own:
        return own
    return f"The package is refused: {reason}." if isinstance(reason, str) else ""
