"""The commands as a user meets them: help, bad usage, colours, and reading with the node down."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.testing import CliRunner

from cli.app import app_for
from fixtures.build import Built
from fixtures.node import RunningNode
from tests.engine.scene import FRONT_DOOR, Scene

# ---------------------------------------------------------------- help


Command = TyperCommand | TyperGroup


def every_command(command: object, *above: str) -> Iterator[tuple[tuple[str, ...], Command]]:
    """The command and all below it, with the words that lead there."""
    assert isinstance(command, Command)
    yield above, command
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            yield from every_command(below, *above, name)


COMMANDS = dict(every_command(typer.main.get_command(app_for([]))))


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "relup")
def test_help_exits_zero_and_names_every_option_and_argument(words: tuple[str, ...]) -> None:
    """Nothing can be given that is not explained."""
    result = CliRunner().invoke(
        app_for([*words]), [*words, "--help"], env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
    )
    assert result.exit_code == 0, result.output
    for parameter in COMMANDS[words].params:
        assert isinstance(parameter, TyperOption | TyperArgument)
        assert parameter.help, parameter.name
        shown = (
            parameter.opts if isinstance(parameter, TyperOption) else [parameter.metavar or parameter.name]
        )
        assert all(str(name).lower() in result.output.lower() for name in shown), shown
    assert COMMANDS[words].help


def test_the_front_door_answers_help_from_anywhere(tmp_path: Path) -> None:
    """The checkout runs as it is, and from another folder."""
    said = subprocess.run(
        [sys.executable, str(FRONT_DOOR), "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0
    assert "list-supported-paths" in said.stdout
    assert said.stderr == ""


# ---------------------------------------------------------------- usage

BAD_USAGE = [
    ["frobnicate"],
    ["upgrade"],
    ["upgrade", "t.tar.gz", "--frobnicate"],
    ["upgrade", "t.tar.gz", "--max-lost", "many"],
    ["upgrade", "t.tar.gz", "--max-lost", "-1"],
    ["upgrade", "one.tar.gz", "two.tar.gz"],
    ["logs", "--last", "0"],
    ["status", "--root"],
]


@pytest.fixture(scope="module")
def down(releases: Built, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """An installed node that does not run."""
    root = tmp_path_factory.mktemp("commands") / "node"
    return Scene(node=RunningNode.install(releases.tree("5.10.4"), root), catalog=releases.catalog)


@pytest.mark.parametrize("words", BAD_USAGE, ids=" ".join)
def test_bad_usage_exits_two_and_touches_nothing(down: Scene, words: list[str]) -> None:
    """Before RootDir is even looked at."""
    result = down.relup(*words)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert "Usage: relup" in result.stderr
    assert not down.place.relup.exists()


def test_a_folder_that_is_no_root_is_refused_by_name(down: Scene, tmp_path: Path) -> None:
    """Neither created nor guessed."""
    result = down.relup("--root", str(tmp_path), "status")
    assert result.returncode == 11
    assert "(not_an_install_root)" in result.stderr
    assert list(tmp_path.iterdir()) == []


ABOUT_A_NODE = (
    *(["status"], ["plan", "t.tar.gz"], ["upgrade", "t.tar.gz"], ["recover"], ["rollback"], ["verify"]),
    *(["clean"], ["logs-clear"], ["journal", "verify"], ["journal", "fresh", "--yes"]),
)


@pytest.mark.parametrize("words", ABOUT_A_NODE, ids=" ".join)
def test_an_exported_journal_is_only_read(down: Scene, tmp_path: Path, words: list[str]) -> None:
    """No command acts on the node, or answers for it, while it is asked about another journal."""
    exported = tmp_path / "history.relup"
    result = down.relup("--journal", str(exported), *words)
    assert result.returncode == 11, result.stderr
    assert "(export_is_only_read)" in result.stderr
    assert not down.place.relup.exists()


@pytest.mark.parametrize("before", [[], ["--json"]], ids=" ".join)
def test_a_new_journal_that_nobody_can_agree_to_is_wrong_usage(down: Scene, before: list[str]) -> None:
    """No script believes that it was begun; the way to say yes beforehand is named."""
    result = down.relup(*before, "journal", "fresh")
    assert (result.returncode, result.stdout) == (2, "")
    assert "no terminal to ask at" in result.stderr
    assert "--yes" in result.stderr
    assert not down.place.relup.exists()


# ---------------------------------------------------------------- the node is down


def test_status_of_a_node_that_is_down_says_what_it_could_not_ask(down: Scene) -> None:
    """Base and next boot are facts of files; live is not known."""
    lines = down.relup("status").stdout.splitlines()
    assert lines[:2] == ["idle", "base 5.10.4, live unknown, next boot 5.10.4"]
    assert lines[2].startswith("not asked: the live version (")
    answer = down.answer("status")
    assert answer["schema_version"] == 1
    assert answer["node"] == {"base": "5.10.4", "live": None, "next_boot": "5.10.4"}
    assert down.node.name in answer["not_asked"]


READING = {
    "status": ["status"],
    "logs": ["logs"],
    "logs of steps": ["logs", "--steps"],
    "list-supported-paths": ["list-supported-paths"],
    "clean": ["clean"],
    "logs-clear": ["logs-clear"],
}


@pytest.mark.parametrize("words", READING.values(), ids=READING)
def test_what_needs_no_node_works_without_one(down: Scene, words: list[str]) -> None:
    """With exit code 0, and nothing on stderr."""
    result = down.relup(*words)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout


def test_the_paths_of_the_catalog_are_listed_and_a_bad_file_is_named(
    down: Scene, releases: Built, tmp_path: Path
) -> None:
    """The others are listed all the same; line and column lead to the fault."""
    for file in releases.catalog.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    bad = tmp_path / "5.10.6-to-5.10.7.relup"
    bad.write_text('#{from_version => "5.10.6",\n  target_version = "5.10.7"}.\n')
    scene = down.with_catalog(tmp_path)
    result = scene.relup("list-supported-paths")
    assert result.returncode == 0
    assert result.stdout.splitlines()[:2] == ["5.10.4 -> 5.10.5", "5.10.5 -> 5.10.6"]
    assert f"{bad}:2:18" in result.stderr
    answer = scene.answer("list-supported-paths")
    assert [fault["name"] for fault in answer["faults"]] == ["script_term"]
    assert [path["target_version"] for path in answer["paths"]] == ["5.10.5", "5.10.6"]


def test_an_empty_catalog_says_where_it_looked(down: Scene, tmp_path: Path) -> None:
    """In EMQX's words first."""
    result = down.with_catalog(tmp_path).relup("list-supported-paths")
    assert result.returncode == 0
    assert result.stdout.startswith("no supported upgrade paths")
    assert str(down.place.own_catalog) in result.stdout


def test_a_catalog_of_bad_files_only_is_not_called_empty(down: Scene, tmp_path: Path) -> None:
    """Who has just put a file there looks for what is wrong with it, told once by its name."""
    bad = tmp_path / "5.10.4-to-5.10.5.relup"
    bad.write_text("#{from_version =>")
    result = down.with_catalog(tmp_path).relup("list-supported-paths")
    assert result.stdout.startswith("no supported upgrade paths: nothing in the catalog can be used")
    assert result.stderr.count(str(bad)) == 1


@pytest.mark.parametrize("command", ["plan", "upgrade"])
def test_what_needs_the_node_says_that_it_is_down(down: Scene, releases: Built, command: str) -> None:
    """50, and the three parts; `plan` leaves nothing."""
    answer = down.answer(command, str(releases.tarball("5.10.5")))
    assert answer["error"]["name"] == "node_down"
    assert all(answer["error"][part] for part in ("happened", "runs_now", "next"))
    assert answer["node"]["base"] == "5.10.4"
    assert down.relup(command, str(releases.tarball("5.10.5"))).returncode == 50


# ---------------------------------------------------------------- colours


def on_a_terminal(scene: Scene, **environment: str) -> str:
    """What a failing command writes to a terminal."""
    main, side = pty.openpty()
    chosen = {**scene.node.environment, "TERM": "xterm", **environment}
    chosen.pop("NO_COLOR", None) if "NO_COLOR" not in environment else None
    command = [sys.executable, str(FRONT_DOOR), "--root", str(scene.node.root), "verify"]
    try:
        subprocess.run(command, stdout=side, stderr=side, env=chosen, check=False)
        return os.read(main, 65536).decode()
    finally:
        os.close(main)
        os.close(side)


def test_no_color_is_honoured_on_a_terminal(down: Scene) -> None:
    """And without it the heading of an error is marked."""
    assert "\x1b[" in on_a_terminal(down)
    plain = on_a_terminal(down, NO_COLOR="1")
    assert "\x1b" not in plain
    assert plain.startswith("error: ")


def test_a_pipe_gets_no_colours(down: Scene) -> None:
    """Whatever TERM says."""
    result = down.relup("verify", TERM="xterm")
    assert result.returncode == 11
    assert "\x1b" not in result.stdout + result.stderr
