"""An old application that does not stop in time, on a real node: a stop that was begun goes on without us."""

import re
from typing import Any

import pytest
from msgspec.structs import replace

from cli.exit_codes import exit_code
from engine.errors import BetweenReleases, RolledBack
from engine.node import expressions
from engine.node.door import RestartApplication
from engine.orders import order_for
from fixtures.build import Built
from fixtures.clients import Swarm
from fixtures.variants import Variant, build_variant
from journal.events import StepFailed
from tests.engine.scene import Scene
from tests.releases import NodeFactory

CLIENTS = 10
STOP_TIMEOUT_MS = 3_000
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
    """A node of that release, and a relup that waits three seconds for a stop instead of a minute."""

    def impatient(step: Any, **how: Any) -> Any:
        order = order_for(step, **how)
        return replace(order, timeout_ms=STOP_TIMEOUT_MS) if isinstance(order, RestartApplication) else order

    monkeypatch.setattr("engine.hands.order_for", impatient)
    late = build_variant(releases, STOPS_LATE)
    return Scene(node=node(tree=late.tree), catalog=releases.reversible_catalog)


@pytest.fixture
def impatient_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for the applications waits a second for them instead of half a minute."""
    monkeypatch.setattr(expressions, "APPLICATIONS", expressions.APPLICATIONS.replace("30000", "1000"))


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


@pytest.mark.usefixtures("impatient_asking")
def test_a_stop_that_never_ends_is_named_and_undone_once_it_was_ended(scene: Scene, releases: Built) -> None:
    """The rollback ends at it, with nobody suspended, and says who is at it; behind its end it goes on."""
    scene.node.eval("persistent_term:put(late_ms, infinity)")
    with pytest.raises(BetweenReleases) as failed:
        scene.upgrade(releases.tarball("5.10.5"))
    assert (failed.value.name, exit_code(failed.value)) == ("app_still_stopping", 30)
    stuck = re.match(r"emqx_retainer still stops, in (<[0-9.]+>) \(timer:sleep/1\); ", failed.value.happened)
    assert stuck is not None, failed.value.happened
    assert "exit(Pid, kill)" in failed.value.next
    assert "relup recover --rollback" in failed.value.next
    assert scene.connect().suspended() == ()
    scene.node.eval(f'persistent_term:put(late_ms, 0), exit(list_to_pid("{stuck[1]}"), kill)')
    assert scene.relup("recover", "--rollback").returncode == 0
    assert running_retainer(scene) == '"5.0.25"'
    assert scene.answer("status")["kind"] == "idle"
