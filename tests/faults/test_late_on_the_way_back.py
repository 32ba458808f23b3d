"""A process that does not stop in time while a hop is undone is waited for again before the node is given up."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.errors import BetweenReleases
from engine.node import door
from engine.state import Phase
from fixtures.build import Built
from journal.events import StepFailed, StepStarted
from tests.boundaries.stage import Wrong, eventually
from tests.fake_node import FakeProcess
from tests.faults.memory import MakeMemoryNode, MemoryNode
from tests.faults.serving import Serving

AN_IDLE_CONNECTION = 'hd(emqx_cm:lookup_channels(<<"swarm-15">>))'
TRIES = 3
"""Of one update, on the way back."""


@pytest.fixture
def node(memory_node: MakeMemoryNode, releases: Built) -> MemoryNode:
    """One on which a hop has been finished."""
    node = memory_node(releases.reversible_catalog)
    node.upgrade()
    return node


def late(node: MemoryNode, *, tries: int) -> list[FakeProcess]:
    """A connection that does not stop in so many updates from now on; it is there while it does not."""
    process = next(p for p in node.vm.processes.values() if p.module == "emqx_connection")
    process.trouble["suspend"] = "block"
    lateness = [process] * tries
    do = node.vm.do

    def asked(order: door.StepOrder) -> door.StepReport:
        if isinstance(order, door.ChangeCode) and order.module.module == process.module:
            if not lateness:
                process.trouble.clear()
            else:
                lateness.pop()
        return do(order)

    node.vm.do = asked  # type: ignore[method-assign]
    return lateness


def undone(node: MemoryNode) -> list[tuple[int, bool]]:
    """The tries of undoing updates, in order, by their number, and whether they failed."""
    events = [entry.event for entry in node.entries()]
    tries = [
        event
        for event in events
        if isinstance(event, StepStarted) and (event.name, event.direction) == ("ChangeCode", "undo")
    ]
    failed = {
        (event.step, event.attempt)
        for event in events
        if isinstance(event, StepFailed) and event.direction == "undo"
    }
    return [(event.attempt, (event.step, event.attempt) in failed) for event in tries]


def test_who_stops_at_the_second_request_costs_the_way_back_nothing(node: MemoryNode) -> None:
    """The hop is undone whole; both tries are in the journal, and the operator was told of the first."""
    late(node, tries=1)
    node.roll_back()
    assert node.phase is Phase.ENDED
    assert not node.at_target
    assert [attempt for attempt in undone(node) if attempt != (1, False)] == [(1, True), (2, False)]
    assert [line for line in node.notes.lines if "tried again" in line] == [
        "did not stop in time; they run on, and the step is tried again"
    ]


def test_who_never_stops_ends_it_between_releases_after_three_tries(node: MemoryNode) -> None:
    """And a recovery goes on from there once it does."""
    left = late(node, tries=10)
    with pytest.raises(BetweenReleases) as raised:
        node.roll_back()
    assert raised.value.name == "suspend_timeout"
    assert [attempt for attempt in undone(node) if attempt[1]] == [(n, True) for n in range(1, TRIES + 1)]
    left.clear()
    node.recover("undo")
    assert node.phase is Phase.ENDED


def test_any_other_failure_of_an_undoing_is_not_tried_again(node: MemoryNode) -> None:
    """A code_change that crashes would crash again, and may end processes each time."""
    connection = next(p for p in node.vm.processes.values() if p.module == "emqx_connection")
    connection.trouble["down"] = "crash"
    with pytest.raises(BetweenReleases) as raised:
        node.roll_back()
    assert raised.value.name == "code_change_failed"
    assert [attempt for attempt in undone(node) if attempt[1]] == [(1, True)]


def test_who_asks_twice_to_stop_is_heeded_between_two_tries(node: MemoryNode) -> None:
    """The step in hand ends, the next try is not begun."""
    late(node, tries=10)
    note: Callable[[str], None] = node.notes.lines.append

    def stop(text: str) -> None:
        node.stop_at, node.requests = 0, 2
        note(text)

    node.notes.note = stop  # type: ignore[method-assign]
    with pytest.raises(BetweenReleases) as raised:
        node.roll_back()
    assert raised.value.name == "interrupted"
    assert [attempt for attempt in undone(node) if attempt[1]] == [(1, True)]


@pytest.fixture
def serving(releases: Built, tmp_path: Path) -> Iterator[Serving]:
    with Serving.opened(releases, tmp_path / "root", clients=20, busy=10) as found:
        yield found


@pytest.mark.timeout(300)
def test_a_connection_that_is_late_once_is_taken_back_on_a_real_node(serving: Serving) -> None:
    """It answers nobody until the first try has failed; the rollback ends whole, and no client was cut off."""
    before = serving.world()
    assert serving.upgrade(serving.built.tarball("5.10.5")).code == 0
    with ThreadPoolExecutor(1) as beside:
        with serving.held(AN_IDLE_CONNECTION):
            rollback = beside.submit(serving.relup, "rollback")
            eventually(lambda: require_a_failed_try(serving), within_s=60)
        back = rollback.result()
    assert back.code == 0, back.answer
    assert "the step is tried again" in back.shown
    serving.require(before)


def require_a_failed_try(serving: Serving) -> None:
    if not any(isinstance(event, StepFailed) for event in serving.last_events()):
        raise Wrong("no step of the rollback has failed yet")
