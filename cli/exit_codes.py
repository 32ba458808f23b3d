"""The only place that knows numbers: what an error's exit code is.

A number says what the node runs now; the error's `name` is the contract for scripts.

    0        done
    1        our bug, or the answer could not be written
    2        usage
    10–19    refused, the node untouched
    20–29    failed and rolled back, the old release runs
    30–39    between releases, or not what it should be: an operator is needed
    40–49    the journal cannot be trusted
    50–59    the node could not be asked
    60       busy: another relup holds the lock
    130      interrupted, the old release runs
"""

from engine.errors import (
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
    Refusal,
    RelupError,
    RolledBack,
    StepFailure,
    UnfitNode,
)
from journal.errors import (
    JournalDamaged,
    JournalError,
    JournalForeign,
    JournalFull,
    JournalNewer,
    JournalPlace,
)

DONE = 0
BUG = 1
USAGE = 2
INTERRUPTED = 130

CODES: dict[type[BaseException], int] = {
    Refusal: 10,
    BadRequest: 11,
    BadRelease: 12,
    BadPlace: 13,
    UnfitNode: 14,
    RolledBack: 20,
    BetweenReleases: 30,
    Differs: 30,
    PastNoReturn: 31,
    ConnectionsLost: 33,
    StepFailure: 32,  # one that reaches the door was neither undone nor judged by anybody
    JournalError: 40,
    JournalDamaged: 41,
    JournalNewer: 42,
    JournalForeign: 43,
    JournalPlace: 44,
    JournalFull: 15,  # what stands in it is sound: refused for want of room, nothing was written
    NodeUnreachable: 50,
    Busy: 60,
    Interrupted: INTERRUPTED,
    KeyboardInterrupt: INTERRUPTED,
    RelupError: BUG,
}
"""One number per error group; a class takes that of its nearest ancestor here."""


def exit_code(error: BaseException) -> int:
    """The number relup leaves with because of `error`: its group's, `BUG` for what is no error of ours."""
    for kind in type(error).__mro__:
        if kind in CODES:
            return CODES[kind]
    return BUG
