"""An old application that does not stop in time, on a real node: a stop that was begun goes on without us."""

from typing import Any

import pytest
from msgspec.structs import replace

from engine.errors import RolledBack
from engine.node.door import RestartApplication
from engine.orders import order_for
from fixtures.build import Built
from fixtures.clients import Swarm
from fixtures.variants import Variant, build_variant
from journal.events import StepFailed
from tests.engine.scene import Scene
from tests.releases import NodeFactory

CLIENTS = 10
STOP_TIMEOUT_MS = 1_000
STOPS_LATE = Variant(
    "retainer-stops-late",
    "The retainer takes `late_ms` to stop.",
    base="5.10.4",
    sources={
        "emqx_retainer/src/emqx_retainer_app.erl": (
            (
                "    ok = emqx_retainer:unhook(),\n",
                "    timer:sleep(persistent_term:get(late_ms, 0)),\n    ok = emqx_retainer:unhook(),\n",
            ),
        )
    },
)


@pytest.fixture
def scene(node: NodeFactory, releases: Built, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A node of that release, and a relup that waits a second for a stop instead of a minute."""

    def impatient(step: Any, **how: Any) -> Any:
        order = order_for(step, **how)
        return replace(order, timeout_ms=STOP_TIMEOUT_MS) if isinstance(order, RestartApplication) else order

    monkeypatch.setattr("engine.hands.order_for", impatient)
    late = build_variant(releases, STOPS_LATE)
    return Scene(node=node(tree=late.tree), catalog=releases.reversible_catalog)


def failed_steps(scene: Scene) -> list[tuple[str, str, bool]]:
    """Which step failed on the way there, of what, and whether it says to have undone itself."""
    events = [entry.event for entry in scene.entries()]
    failed = [event for event in events if isinstance(event, StepFailed) and event.direction == "do"]
    return [(event.name, event.failure.name, event.reverted) for event in failed]


def running_retainer(scene: Scene) -> str:
    return scene.node.eval("element(3, lists:keyfind(emqx_retainer, 1, application:which_applications()))")


def test_a_stop_that_ends_too_late_is_undone_by_a_start(scene: Scene, releases: Built) -> None:
    """The rollback waits for the stop that goes on, and starts the old application again."""
    scene.node.eval(f"persistent_term:put(late_ms, {STOP_TIMEOUT_MS * 3 // 2})")
    with Swarm(scene.node.mqtt_port, count=CLIENTS, idle=CLIENTS // 2, interval_ms=200) as swarm:
        with pytest.raises(RolledBack) as failed:
            scene.upgrade(releases.tarball("5.10.5"))
        assert failed.value.name == "failed_to_stop_app"
        assert failed_steps(scene) == [("RestartApplication", "failed_to_stop_app", False)]
        assert running_retainer(scene) == '"5.0.25"'
        report = swarm.stop()
    assert (report.connected, report.lost) == (CLIENTS, 0)
    assert scene.answer("status")["kind"] == "idle"
