"""What an operator's Ctrl-C means at this point of an upgrade. Pure: a table, asked before every step."""

from collections.abc import Callable
from enum import Enum

from engine.state import Phase, UpgradeState

Interrupts = Callable[[], int]
"""How often the operator (SIGINT, SIGTERM) has asked to stop."""


class Heed(Enum):
    """What the loop does about it."""

    GO_ON = "go on"
    ROLL_BACK = "roll back"
    """Undo what was begun; before the first live step that is only files."""
    GO_ON_ANYWAY = "go on anyway"
    """Past the point of no return the end is safer than the middle; say so."""
    STOP_HERE = "stop here"
    """Asked twice: leave it as it is and name `recover`."""


def heed(requests: int, state: UpgradeState) -> Heed:
    """What to do before the next step is begun, having been asked to stop `requests` times."""
    if requests == 0:
        return Heed.GO_ON
    if requests > 1:
        return Heed.STOP_HERE
    if state.phase == Phase.ROLLING_BACK or state.passed_no_return:
        return Heed.GO_ON_ANYWAY
    return Heed.ROLL_BACK
