"""Tens of thousands of processes on a real node: it all ends, the tool stays small, nothing is left behind.

`make scale` does it with 100,000 of them.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fixtures.build import Built
from fixtures.node import RunningNode
from tests.engine.crowd import Crowd, crowded, run_relup

PROCESSES = int(os.environ.get("SCALE_PROCESSES", "20000"))
MEMORY_BYTES = 128 * 1024 * 1024
PLAN_ATOMS, AGENT_ATOMS = 150, 700
"""The constants: what the words of the first plan are at most, and those of the agent; seen: 108 and 623."""
MIB = 1024 * 1024


@pytest.fixture
def crowd(releases: Built, tmp_path: Path) -> Iterator[Crowd]:
    """A node with that many connection processes."""
    with (
        RunningNode.install(releases.tree("5.10.4"), tmp_path / "crowd") as node,
        crowded(node.start()) as crowd,
    ):
        crowd.fill(PROCESSES)
        yield crowd


@pytest.fixture
def neighbour(releases: Built, tmp_path: Path, crowd: Crowd) -> Iterator[Crowd]:
    """Another node of the same release in the same cluster."""
    root = tmp_path / "neighbour"
    with RunningNode.install(releases.tree("5.10.4"), root) as node, crowded(node.start()) as other:
        crowd.join(other)
        yield other


@pytest.mark.timeout(600)
def test_a_crowded_node_is_upgraded_and_left_as_it_was(
    crowd: Crowd, neighbour: Crowd, releases: Built
) -> None:
    """Plan and hop end under 128 MiB; processes, ports, tables, modules, atoms and neighbours are as before."""
    crowd.watch_nodes()
    neighbour.watch_nodes()
    known = neighbour.known_nodes()
    catalog, tarball = ("--catalog", str(releases.catalog)), str(releases.tarball("5.10.5"))

    before = crowd.settled_counts()
    first = run_relup(crowd.node, *catalog, "plan", tarball)
    assert first.code == 0, first.said
    assert f"({PROCESSES} processes)" in first.said
    of_first = crowd.counts_like(before).atoms - before.atoms
    for _ in range(3):  # the VM may make an atom of its own meanwhile
        planned = crowd.counts_like(before)
        second = run_relup(crowd.node, *catalog, "plan", tarball)
        assert second.code == 0, second.said
        of_second = crowd.counts_like(before).atoms - planned.atoms
        if not of_second:
            break
    assert of_second == 0, "a second plan makes no atom"

    hop = run_relup(crowd.node, *catalog, "upgrade", tarball)
    assert hop.code == 0, hop.said
    after = crowd.counts_like(msgspec.structs.replace(before, modules=before.modules | {"emqx_limits"}))
    assert crowd.state_sizes() == [6]

    brought = neighbour.atoms_brought_by(releases.tree("5.10.5"))
    agent = after.atoms - planned.atoms - brought
    print(
        f"scale: {PROCESSES} processes; atoms: {of_first} for the first plan, 0 for the "
        f"second, {brought} of the release, {agent} for the agent; peak memory of the tool: "
        f"{first.peak_bytes / MIB:.0f} MiB to plan, {hop.peak_bytes / MIB:.0f} MiB to upgrade"
    )
    assert 0 <= of_first <= PLAN_ATOMS
    assert agent <= AGENT_ATOMS
    assert max(first.peak_bytes, second.peak_bytes, hop.peak_bytes) < MEMORY_BYTES

    assert {kind for _, kind in crowd.nodes_seen()} == {"hidden"}
    assert neighbour.nodes_seen() == []
    assert neighbour.known_nodes() <= known
