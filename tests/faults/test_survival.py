"""Clients whose connections end while a hop is at work, in a step or between two: counted, and judged in time."""

import threading
from pathlib import Path

import pytest

from engine.errors import ConnectionsLost, Interrupted, RolledBack
from engine.state import Phase
from fixtures.build import Built
from journal.events import StepSucceeded, UpgradeSucceeded
from tests.fake_node import FakeProcess
from tests.faults.memory import MakeMemoryNode, MemoryNode

LONG_MS = 60_000
"""Longer than a test takes: what waits for its end has not seen what it should."""


@pytest.fixture
def node(memory_node: MakeMemoryNode, releases: Built) -> MemoryNode:
    return memory_node(releases.reversible_catalog)


def connection(node: MemoryNode) -> FakeProcess:
    """The connection of the client car-7."""
    process = next(p for p in node.vm.processes.values() if p.module == "emqx_connection")
    process.client_id = "car-7"
    return process


def ends_before(node: MemoryNode, step: str, reason: str) -> None:
    """The connection ends when a step with that title is about to begin."""
    process = connection(node)

    def at_step(title: str) -> None:
        if title.startswith(step) and process.pid in node.vm.processes:
            node.vm.end(process, reason)

    node.notes.at_step = at_step


def test_a_connection_that_crashes_between_two_steps_undoes_the_hop(node: MemoryNode) -> None:
    """It is in the entries of the step that is told of it, and in no other."""
    ends_before(node, "verify node", "badmatch")
    with pytest.raises(RolledBack, match="car-7") as raised:
        node.upgrade()
    assert raised.value.name == "connections_lost"
    told = [e.event for e in node.entries() if isinstance(e.event, StepSucceeded) and e.event.evidence.ended]
    assert [(event.name, [p.client_id for p in event.evidence.ended]) for event in told] == [
        ("VerifyNode", ["car-7"])
    ]


@pytest.mark.parametrize("reason", ["normal", "{shutdown,tcp_closed}"])
def test_a_connection_that_is_closed_between_two_steps_undoes_nothing(node: MemoryNode, reason: str) -> None:
    """A client may leave whenever it likes."""
    ends_before(node, "verify node", reason)
    assert node.upgrade().phase is Phase.SUCCEEDED


def test_as_many_as_are_accepted_may_end(node: MemoryNode) -> None:
    """And the end of the upgrade names them."""
    ends_before(node, "verify node", "badmatch")
    assert node.upgrade(max_lost=1).phase is Phase.SUCCEEDED
    last = node.entries()[-1].event
    assert isinstance(last, UpgradeSucceeded)
    assert [process.client_id for process in last.ended] == ["car-7"]


def test_a_client_that_meets_the_new_code_a_moment_later_undoes_the_hop(node: MemoryNode) -> None:
    """The new code serves for a while before the hop goes on, and no longer than until too many have ended."""
    process = connection(node)
    crash = threading.Timer(0.3, node.vm.end, (process, "badmatch"))
    node.notes.at_step = lambda title: crash.start() if title.startswith("verify node") else None
    with pytest.raises(RolledBack, match="car-7"):
        node.upgrade(watch_ms=LONG_MS)
    crash.join()


def test_who_asks_to_stop_meanwhile_is_heeded(node: MemoryNode) -> None:
    """The hop is undone, and nobody waits for the rest of the while."""

    def ask(title: str) -> None:
        if title.startswith("verify node"):
            node.stop_at = 0

    node.notes.at_step = ask
    with pytest.raises(Interrupted, match="asked to stop"):
        node.upgrade(watch_ms=LONG_MS)
    assert not node.at_target


def test_a_node_without_clients_is_not_watched(node: MemoryNode) -> None:
    """Nobody could crash there."""
    for process in [p for p in node.vm.processes.values() if p.module == "emqx_connection"]:
        node.vm.end(process, "normal")
    assert node.upgrade(watch_ms=LONG_MS).phase is Phase.SUCCEEDED


def test_a_connection_that_crashes_after_the_last_look_is_told_as_no_success(
    node: MemoryNode, tmp_path: Path
) -> None:
    """The hop is done and stays; the journal names who ended, and the error is one for an operator."""
    ends_before(node, "make permanent", "badmatch")
    with pytest.raises(ConnectionsLost, match="car-7") as raised:
        node.upgrade()
    assert raised.value.runs_now == "the new release, whole; it boots next"
    assert node.at_target
    last = node.entries()[-1].event
    assert isinstance(last, UpgradeSucceeded)
    assert [process.client_id for process in last.ended] == ["car-7"]
