"""The house keeps its walls: who may import whom, read from the sources and from nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
ROOMS = ("cli", "engine", "journal", "projections")
OUTBUILDINGS = ("bench", "demo", "fixtures", "tests")

MAY_IMPORT = {
    "cli": {"cli", "engine", "projections", "journal"},
    "engine": {"engine", "journal"},
    "projections": {"projections", "journal"},
    "journal": {"journal"},
}

PURE = (
    "engine/state.py",
    "engine/steps.py",
    "engine/plan.py",
    "engine/term.py",
    "engine/interrupts.py",
    "journal/events.py",
)
WORLDLY = {"os", "socket", "time", "lmdb", "subprocess", "threading", "shutil", "tempfile", "fcntl", "random"}

BETWEEN_FILES_AND_NODE: dict[str, str] = {
    "engine.release.terms": "the node's TLS option file is Erlang text, read before the node is spoken to",
    "engine.node.decoding": "pure codec of Erlang's external terms, in which beams keep their debug information",
    "engine.node.errors.DecodeError": "what that codec raises",
}
"""Modules of one of engine/release and engine/node that the other may import, each with its reason."""


def sources(room: str) -> list[Path]:
    return sorted((HOUSE / room).rglob("*.py"))


def imports(source: Path) -> Iterator[str]:
    """Every module that a source names in an import, wherever it stands."""
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: imports are literal, not relative"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def strangers(room: str, *, allowed: set[str]) -> list[str]:
    """Imports from a room of ours that this one does not know, as `file: module`."""
    ours = {*ROOMS, *OUTBUILDINGS, "relup"}
    return [
        f"{source.relative_to(HOUSE)}: {name}"
        for source in sources(room)
        for name in imports(source)
        if name.partition(".")[0] in ours - allowed
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    """cli → engine → journal and cli → projections → journal; nobody calls upwards or sideways."""
    assert sources(room), f"{room} has no source"
    assert strangers(room, allowed=MAY_IMPORT[room]) == []


def test_the_front_door_knows_only_the_command_line() -> None:
    """relup.py hands over to cli and to nothing else of the house."""
    ours = [name for name in imports(HOUSE / "relup.py") if name.partition(".")[0] in ROOMS]
    assert ours == ["cli.main.run"]


@pytest.mark.parametrize(("one", "other"), [("release", "node"), ("node", "release")])
def test_files_and_node_do_not_know_each_other(one: str, other: str) -> None:
    """engine/release touches files, engine/node the VM, and neither needs the other to do it."""
    crossing = {
        f"{source.relative_to(HOUSE)}: {name}"
        for source in sources(f"engine/{one}")
        for name in imports(source)
        if name.startswith(f"engine.{other}")
        and not any(name == known or name.startswith(f"{known}.") for known in BETWEEN_FILES_AND_NODE)
    }
    assert crossing == set()


@pytest.mark.parametrize("module", PURE)
def test_what_decides_touches_nothing(module: str) -> None:
    """The fold, the steps, the plan and the events read no file, socket, clock or journal."""
    touched = {name for name in imports(HOUSE / module) if name.partition(".")[0] in WORLDLY}
    assert touched == set()


def test_every_module_states_its_rule_of_residence() -> None:
    """A module that says nothing of what may live in it is not finished."""
    silent = [
        str(source.relative_to(HOUSE))
        for room in (*ROOMS, *OUTBUILDINGS)
        for source in sources(room)
        if source.read_text("utf-8").strip()
        and ast.get_docstring(ast.parse(source.read_text("utf-8"))) is None
    ]
    assert silent == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    """Nothing lives in a utils, helpers or manager."""
    empty_words = {"utils", "helpers", "manager", "misc", "common", "data", "info"}
    named = [
        str(source.relative_to(HOUSE))
        for room in ROOMS
        for source in sources(room)
        if source.stem in empty_words
    ]
    assert named == []


def test_a_stranger_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walls are looked at: an import upwards, hidden in a function, is found."""
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "store.py").write_text(
        "def f():\n    from engine.state import fold\n    return fold\n"
    )
    monkeypatch.setattr("tests.test_house.HOUSE", tmp_path)
    assert strangers("journal", allowed=MAY_IMPORT["journal"]) == ["journal/store.py: engine.state.fold"]
