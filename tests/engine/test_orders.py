"""What the operator chose reaches the node."""

import pytest

from engine.node import door
from engine.options import Options
from engine.orders import LiveStep, order_for
from engine.steps import ChangeCode, LoadModules, RestartApplication
from journal.events import ModuleChange

CHANGE = ModuleChange(
    module="m", from_md5="00" * 16, to_md5="11" * 16, from_file="/o.beam", to_file="/n.beam"
)
STEPS: tuple[LiveStep, ...] = (
    LoadModules(modules=(CHANGE,)),
    ChangeCode(module=CHANGE, from_version="5.10.4", extra="[]"),
    RestartApplication(
        application="a", version="2", modules=(CHANGE,), old_app_file="/o.app", new_app_file="/n.app"
    ),
)
CHOSEN = Options(blocker_timeout_ms=123, kill_blockers=True, max_stall_ms=7, suspend_timeout_ms=456)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_every_order_has_the_patience_that_was_chosen_and_kills_only_on_the_way_up(step: LiveStep) -> None:
    """A rollback never ends a client for want of patience."""
    there, back = (order_for(step, direction=way, options=CHOSEN) for way in ("do", "undo"))
    for order in (there, back):
        assert isinstance(order, door.LoadModules | door.ChangeCode | door.RestartApplication)
        assert order.blocker_timeout_ms == 123
        assert order.kill_blockers == (order is there)
        if isinstance(order, door.ChangeCode):
            assert order.suspend_timeout_ms == 456
        else:
            assert order.max_stall_ms == 7
