"""The short set of `make torture`: a few runs on the VM in memory, always the same ones."""

from pathlib import Path

import pytest

from fixtures.build import Built
from tests.torture.__main__ import torture_small

SEED = 7
RUNS = 20


@pytest.mark.timeout(300)
def test_whatever_dies_at_random_times_the_node_ends_on_one_release(releases: Built, tmp_path: Path) -> None:
    """None of the runs loses a process, tears a release, or is still open after its recoveries."""
    assert not torture_small(releases, tmp_path, runs=RUNS, seed=SEED)
