"""A callback that crashes: the node is between releases and says so, until the callback can pass."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.errors import BetweenReleases, PastNoReturn, RelupError
from engine.survey import UpgradeOpen
from fixtures.broken import CALLBACK_FIXED, build_broken
from fixtures.build import Built
from fixtures.variants import BuiltVariant
from journal.events import StepFailed, StepStarted, UpgradeFailed
from tests.faults.memory import MakeMemoryNode
from tests.faults.serving import Serving
from tests.torture.oracle import require_one_release

CLIENTS = 20
CALLBACK = "emqx_post_upgrade:count_connections"
BETWEEN, PAST_NO_RETURN, OPEN = 30, 31, 11
"""Exit codes."""


@pytest.fixture
def crashing(releases: Built) -> BuiltVariant:
    """The release whose last callback crashes until it is told otherwise."""
    return build_broken(releases, "callback-crashes")


@pytest.fixture
def stopped(releases: Built, crashing: BuiltVariant, tmp_path: Path) -> Iterator[Serving]:
    """A node whose upgrade has just met the crash."""
    with Serving.opened(releases, tmp_path / "root", clients=CLIENTS, busy=10) as serving:
        told = serving.upgrade(crashing.tarball, catalog=crashing.catalog)
        assert (told.code, told.error["name"]) == (BETWEEN, "call_failed")
        assert told.error["runs_now"].startswith("between releases: 9 modules of the target and 0 of the old")
        yield serving


@pytest.mark.timeout(300)
def test_a_crashing_callback_stops_between_releases_and_recover_ends_it_once_it_is_fixed(
    stopped: Serving, crashing: BuiltVariant
) -> None:
    """Status says so, a new upgrade and a rollback are refused, recover calls it again and finishes."""
    ended = stopped.last_events()[-1]
    assert isinstance(ended, UpgradeFailed)
    assert (ended.ended_as, ended.on_old) == ("between_releases", ())
    middle = stopped.world()
    require_true_status(stopped)
    require_refused(stopped, crashing)

    again = stopped.relup("recover")
    assert (again.code, again.error["name"]) == (BETWEEN, "call_failed")
    stopped.require(middle)

    stopped.node.eval(CALLBACK_FIXED)
    recovered = stopped.relup("recover")
    assert recovered.code == 0
    assert recovered.answer["node"] == {"base": "5.10.4", "live": "5.10.5", "next_boot": "5.10.5"}
    require_finished(stopped)


def require_true_status(stopped: Serving) -> None:
    status = stopped.relup("status").answer
    assert status["kind"] == "between_releases"
    assert status["status"].startswith("between releases: 0 modules of 5.10.4 and 9 of 5.10.5 are live")
    assert "run 'relup recover'" in status["status"]
    assert status["node"] == {"base": "5.10.4", "live": "5.10.5", "next_boot": "5.10.4"}


def require_refused(stopped: Serving, crashing: BuiltVariant) -> None:
    """Neither a second upgrade nor a way back; both change nothing, not even the journal."""
    before, written = stopped.world(), len(stopped.scene.entries())
    upgrade = stopped.upgrade(crashing.tarball, catalog=crashing.catalog)
    assert (upgrade.code, upgrade.error["name"]) == (OPEN, "upgrade_unfinished")
    assert "relup recover" in upgrade.error["next"]
    back = stopped.relup("recover", "--rollback")
    assert (back.code, back.error["name"]) == (PAST_NO_RETURN, "past_point_of_no_return")
    assert back.error["runs_now"] == "nothing was changed"
    assert back.error["next"].startswith("Run 'relup recover' to bring the upgrade to its end.")
    report = stopped.relup("recover", "--report")
    assert report.answer["evidence"]["past_no_return"] is True
    assert len(stopped.scene.entries()) == written
    stopped.require(before)


def require_finished(stopped: Serving) -> None:
    """The node runs the target under all its clients, and the failed callback ran three times, the other once."""
    now = stopped.world()
    assert now.state_sizes == (4, *[6] * CLIENTS)
    assert (now.marker, now.trees, now.leftovers) == ("5.10.5", ("5.10.5",), ())
    assert (now.suspended, now.agent_modules) == (0, 0)
    assert not stopped.swarm.report().disconnected
    events = stopped.last_events()
    callbacks = [
        event.attempt for event in events if isinstance(event, StepStarted) and event.name == "RunCallback"
    ]
    assert callbacks == [1, 1, 2, 3]
    assert sum(isinstance(event, StepFailed) for event in events) == 2
    assert stopped.relup("verify").code == 0


def test_only_ways_on_that_work_are_named(memory_node: MakeMemoryNode, releases: Built) -> None:
    """A rollback is no such way; a restart and recover is, where a callback fails every time."""
    node = memory_node(releases.catalog)
    node.vm.failing.add(CALLBACK)
    tried: list[tuple[Callable[[], object], type[RelupError]]] = [
        (node.upgrade, BetweenReleases),
        (node.upgrade, UpgradeOpen),
        (node.recover, BetweenReleases),
        (lambda: node.recover("undo"), PastNoReturn),
    ]
    for act, error in tried:
        with pytest.raises(error) as told:
            act()
        assert "--rollback" not in told.value.next
        assert "fails every time, restart the node" in told.value.next
    node.vm.die()
    node.vm.start()
    node.recover()
    assert not node.is_open
    require_one_release(node.vm, node.root, at_target=False)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("boots_again", [False, True], ids=["dead", "restarted"])
def test_once_the_vm_has_died_a_rollback_past_the_callback_cleans_up(
    stopped: Serving, boots_again: bool
) -> None:
    """Nothing lives that could not be undone: the old release boots, and what the callback did stays and is said."""
    stopped.node.kill()
    if boots_again:
        stopped.node.start()
    back = stopped.relup("recover", "--rollback")
    assert back.code == 0, back.answer
    assert "outside the VM stays" in back.shown
    if not boots_again:
        stopped.node.start()
    status = stopped.relup("status").answer
    assert (status["status"], status["node"]) == (
        "idle",
        {"base": "5.10.4", "live": "5.10.4", "next_boot": "5.10.4"},
    )
    assert not list(stopped.scene.place.relup.glob("5.*"))
