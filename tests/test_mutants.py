"""The table of guards is up to date, and a guard that nothing tests is told."""

from pathlib import Path

import pytest

from tests.mutants.__main__ import GREEN, HOUSE, is_missed, outcome, without
from tests.mutants.guards import GUARDS, Guard

SILLY = Guard(
    keeps="one and one is two",
    file="sum.py",
    was="1 + 1\n",
    becomes="1 + 2\n",
    tests=("test_sum.py",),
)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: f"{guard.file}: {guard.keeps}")
def test_every_guard_stands_where_the_table_says(guard: Guard) -> None:
    """A guard that was moved or rewritten is noticed at once, not when the mutants are run the next time."""
    text = (HOUSE / guard.file).read_text("utf-8")
    assert without(guard, text) != text
    assert all((HOUSE / test.partition("::")[0]).is_file() for test in guard.tests)


def checkout(folder: Path, test: str) -> Path:
    (folder / "sum.py").write_text("def two():\n    return 1 + 1\n")
    (folder / "test_sum.py").write_text(
        f"import sys\nsys.path.insert(0, {str(folder)!r})\nimport sum as s\n{test}\n"
    )
    return folder


def test_a_guard_that_a_test_misses_is_told_and_put_back(tmp_path: Path) -> None:
    """The test is red without it, and green again afterwards."""
    house = checkout(tmp_path, "def test_it():\n    assert s.two() == 2")
    assert is_missed(SILLY, house)
    assert outcome(house, SILLY.tests)[0] == GREEN


def test_a_guard_that_no_test_misses_survives(tmp_path: Path) -> None:
    """A test that looks away proves nothing, and a run without tests is no red one."""
    assert not is_missed(SILLY, checkout(tmp_path, "def test_it():\n    assert s"))
    assert not is_missed(SILLY, checkout(tmp_path, ""))


def test_a_guard_that_is_not_there_is_a_mistake_of_the_table() -> None:
    """Nothing was removed, so nothing could be missed."""
    with pytest.raises(ValueError, match="has the guard 0 times"):
        without(SILLY, "2\n")
