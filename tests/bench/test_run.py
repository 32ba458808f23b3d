"""The bench's runner: every room is told, one that crashes stops nobody, and the numbers are kept."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from bench import run
from bench.clock import below, command, medians
from bench.rows import Row

ROW = Row(name="pace: walk", value=4.2, unit="ms", baseline=8.4, ratio=0.5, goal="< 5 ms", met=True)


def crash() -> list[Row]:
    raise ValueError("the node did not start")


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two rooms, `good` and `bad`; where the numbers are kept."""
    for name, rows in (("good", lambda: [ROW]), ("bad", crash)):
        module = ModuleType(f"bench.{name}")
        module.rows = rows  # type: ignore[attr-defined]
        # A module made here has what the runner looks for and nothing else.
        monkeypatch.setitem(sys.modules, f"bench.{name}", module)
    monkeypatch.setattr(run, "ROOMS", ("bad", "good", "absent"))
    monkeypatch.setattr(run, "KEPT", tmp_path / "bench.json")
    return tmp_path / "bench.json"


def test_a_room_that_crashes_is_told_and_the_others_go_on(
    rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything measured is printed and kept; the exit code says that something crashed."""
    assert run.main([]) == 1
    printed = capsys.readouterr()
    assert "pace: walk" in printed.out
    assert "bench: 1 rows, 0 goals missed, 2 rooms crashed" in printed.out
    assert "bench: bad crashed" in printed.out
    assert "the node did not start" in printed.err
    assert "bench: absent crashed" in printed.out
    assert msgspec.json.decode(rooms.read_bytes(), type=list[Row]) == [ROW]


def test_only_the_rooms_that_were_asked_for_are_measured(rooms: Path) -> None:
    """ROOMS="good" does not start the others."""
    assert run.main(["good"]) == 0
    assert len(msgspec.json.decode(rooms.read_bytes())) == 1


def test_a_room_that_is_none_is_a_mistake_of_the_caller(rooms: Path) -> None:
    """A misspelt room is not an empty measurement."""
    assert run.main(["goood"]) == 2
    assert not rooms.exists()


def test_a_goal_that_was_missed_is_told_and_is_no_failure(
    rooms: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine makes numbers worse; it does not make the bench fail."""
    missed = below("pace: run", 9.0, unit="ms", goal=5.0, baseline=4.5)
    monkeypatch.setattr(sys.modules["bench.good"], "rows", lambda: [missed])
    assert run.main(["good"]) == 0
    assert "1 goals missed" in capsys.readouterr().out
    assert (missed.met, missed.ratio, missed.goal) == (False, 2.0, "< 5 ms")


@pytest.mark.parametrize(
    ("value", "text"), [(0.1834, "0.183"), (12.44, "12.4"), (412_345.6, "412,346"), (0.0, "0")]
)
def test_numbers_have_three_digits_that_matter(value: float, text: str) -> None:
    """Nobody compares the seventh digit."""
    assert run.number(value) == text


def test_works_are_run_in_turns_and_the_first_turn_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy moment hits all alike, and nobody pays alone for cold caches."""
    order: list[str] = []
    times = iter([900.0, 900.0, 1.0, 10.0, 2.0, 20.0])

    def timed(work: Callable[[], object]) -> float:
        work()
        return next(times)

    monkeypatch.setattr("bench.clock.seconds", timed)
    taken = medians({"one": lambda: order.append("one"), "two": lambda: order.append("two")}, times=2)
    assert order == ["one", "two"] * 3
    assert taken == {"one": 1.5, "two": 15.0}


def test_a_program_that_fails_is_not_measured() -> None:
    """A quick error is no quick answer."""
    with pytest.raises(Exception, match="non-zero exit status 3"):
        command([sys.executable, "-c", "raise SystemExit(3)"])()
