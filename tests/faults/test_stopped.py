"""The operator asks to stop, once or twice, at every entry of an upgrade."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.exit_codes import exit_code
from engine.errors import BetweenReleases, Interrupted, RelupError
from engine.state import Phase
from fixtures.build import Built
from tests.faults.memory import MakeMemoryNode, MemoryNode
from tests.torture.oracle import require_one_release

INTERRUPTED = 130
FIRST_FUNCTION = 21
"""The entries before the first callback of the hop that has some."""


def stopped_everywhere(
    make: MakeMemoryNode, catalog: Path, *, requests: int
) -> Iterator[tuple[int, MemoryNode, RelupError | None]]:
    """One upgrade for each entry at which the operator may ask, with the error that it ends with."""
    for stop_at in itertools.count():
        node = make(catalog)
        node.stop_at, node.requests = stop_at, requests
        error = None
        try:
            node.upgrade()
        except RelupError as told:
            error = told
        yield stop_at, node, error
        if node.disk.written < stop_at:
            return


@pytest.mark.timeout(300)
def test_asked_once_the_upgrade_ends_on_one_release(memory_node: MakeMemoryNode, releases: Built) -> None:
    """On the old one until the first callback is begun, and on the new one from there on, which is told."""
    for stop_at, node, error in stopped_everywhere(memory_node, releases.catalog, requests=1):
        if stop_at <= FIRST_FUNCTION:
            assert isinstance(error, Interrupted), stop_at
            assert exit_code(error) == INTERRUPTED
            assert error.runs_now
        else:
            assert error is None, stop_at
        assert node.phase is (Phase.ENDED if error else Phase.SUCCEEDED)
        require_one_release(node.vm, node.root, at_target=error is None)


@pytest.mark.timeout(300)
def test_asked_twice_it_stops_where_it_is_and_both_ways_out_are_open(
    memory_node: MakeMemoryNode, releases: Built
) -> None:
    """It ends on the old release or between both, and recover takes it on, or back, in turns."""
    kinds = set()
    for stop_at, node, error in stopped_everywhere(memory_node, releases.reversible_catalog, requests=2):
        kinds.add(type(error))
        assert error is None or error.runs_now
        node.stop_at = None
        if node.is_open:
            node.recover("do" if stop_at % 2 else "undo")
        assert not node.is_open
        require_one_release(node.vm, node.root, at_target=node.at_target)
    assert kinds == {Interrupted, BetweenReleases, type(None)}
