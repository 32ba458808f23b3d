"""What somebody meets who types things for the first time: nothing is passed over, no answer is beside the truth."""

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from cli.user import Owner, WrongUser, become
from fixtures.build import Built
from fixtures.node import RunningNode
from tests.cli.test_streams import as_another_user
from tests.engine.scene import FRONT_DOOR, Scene
from tests.releases import NodeFactory


@pytest.fixture(scope="module")
def down(releases: Built, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A node that does not run, with two refused upgrades in its journal."""
    root = tmp_path_factory.mktemp("newcomer") / "node"
    scene = Scene(node=RunningNode.install(releases.tree("5.10.4"), root), catalog=releases.catalog)
    for _ in range(2):
        assert scene.relup("upgrade", str(releases.tarball("5.10.5"))).returncode == 50
    return scene


# ---------------------------------------------------------------- help


def helped(*words: str, columns: int) -> str:
    return subprocess.run(
        [sys.executable, str(FRONT_DOOR), *words, "--help"],
        env={**os.environ, "COLUMNS": str(columns), "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_no_option_is_cut_off_on_a_narrow_terminal() -> None:
    """What cannot be read cannot be typed."""
    text = helped("upgrade", columns=60)
    assert "--suspend-timeout-ms" in text
    assert "--blocker-timeout" in text
    assert max(map(len, text.splitlines())) <= 60


@pytest.mark.parametrize("group", [[], ["hop"], ["journal"]], ids=["relup", "hop", "journal"])
def test_the_line_of_a_command_is_a_whole_sentence(group: list[str]) -> None:
    """At the usual 80 columns none ends in dots."""
    assert "..." not in helped(*group, columns=80).replace("[ARGS]...", "")


def test_a_paragraph_of_help_is_filled_and_not_broken_where_the_source_is() -> None:
    """Every line but a paragraph's last is as long as the terminal lets it be."""
    text = helped("status", columns=80)
    paragraph = next(part for part in text.split("\n\n") if "EMQX's own" in part)
    for line, following in pairwise(paragraph.splitlines()):
        assert len(line) + 1 + len(following.split()[0]) > 78


@pytest.mark.parametrize(
    "words", [["status", "--json"], ["logs", "--root", "/"], ["journal", "head", "--json"]], ids=" ".join
)
def test_a_global_option_behind_its_command_is_told_where_it_stands(down: Scene, words: list[str]) -> None:
    """Everybody types it there once."""
    result = down.relup(*words)
    option = next(word for word in words if word.startswith("--"))
    assert result.returncode == 2
    assert f"{option} stands before the command: relup {option} ... {words[0]}" in result.stderr


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    "words",
    [
        *(["--blocker-timeout", value] for value in ("nan", "inf", "1e308")),
        *([option, "9" * 30] for option in ("--max-lost", "--max-stall-ms", "--suspend-timeout-ms")),
    ],
    ids=" ".join,
)
def test_numbers_that_are_none_and_numbers_without_end_are_wrong_usage(down: Scene, words: list[str]) -> None:
    """Before anything is looked at."""
    result = down.relup("upgrade", "t.tar.gz", *words)
    assert result.returncode == 2, result.stderr
    assert words[0] in result.stderr


@pytest.mark.parametrize("command", ["plan", "upgrade"])
def test_a_tarball_whose_name_is_no_text_is_wrong_usage(down: Scene, command: str) -> None:
    """The journal could not name it, nor `recover` find it again."""
    result = down.relup(command, os.fsdecode(b"\xff\xfe.tar.gz"))
    assert result.returncode == 2, result.stderr
    assert "not UTF-8" in result.stderr


def test_a_tarball_in_a_folder_that_is_gone_is_wrong_usage(down: Scene, tmp_path: Path) -> None:
    """The shell stands in a folder that somebody removed."""
    gone = f'mkdir "{tmp_path}/gone"; cd "{tmp_path}/gone"; rmdir "{tmp_path}/gone"; exec "$@"'
    command = [sys.executable, str(FRONT_DOOR), "--root", str(down.node.root), "plan", "t.tar.gz"]
    result = subprocess.run(
        ["bash", "-c", gone, "bash", *command], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2, result.stderr
    assert "the folder you are in is gone" in result.stderr


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--node", "x"], "invalid_node_name"),
        (["--node", ""], "invalid_node_name"),
        (["--cookie-file", "/nonexistent"], "cookie_unknown"),
        (["--cookie-file", "/dev/null"], "cookie_unknown"),
    ],
)
def test_what_the_node_cannot_be_reached_by_has_a_name(down: Scene, words: list[str], name: str) -> None:
    """`internal_error` is for our own bugs."""
    result = down.relup("--json", *words, "status")
    assert result.returncode == 11
    assert json.loads(result.stdout)["error"]["name"] == name


def test_a_release_that_was_mistyped_is_not_blamed_on_a_publisher(down: Scene, tmp_path: Path) -> None:
    """Neither a package nor a tree: the path is wrong, not what lies there."""
    for wrong in (tmp_path / "nothing", tmp_path):
        result = down.relup("hop", "draft", str(wrong), str(down.node.root))
        assert result.returncode == 2
        assert "is no release" in result.stderr


# ---------------------------------------------------------------- logs


@pytest.mark.parametrize(
    "words",
    [
        ["an-id"],
        ["--steps", "--at", "1"],
        ["--follow", "--at", "1"],
        ["--steps", "--since", "2026-01-01"],
        ["--follow", "--last", "1"],
        ["--at", "1", "--until", "2026-01-01"],
        ["--follow", "--salvage"],
        ["--at", "-1"],
        ["--since", "yesterday"],
    ],
    ids=" ".join,
)
def test_no_option_of_logs_is_passed_over(down: Scene, words: list[str]) -> None:
    """Two questions at once are wrong usage; one that is no question is too."""
    result = down.relup("logs", *words)
    assert (result.returncode, result.stdout) == (2, "")


def test_a_time_without_upgrades_is_not_called_a_node_without_history(down: Scene) -> None:
    """What is left out by --since and --until is still there."""
    result = down.relup("logs", "--until", "2001-01-01")
    assert result.stdout == "no upgrade was requested in that time\n"
    assert down.relup("logs").stdout.count("\n") == 2


def test_a_moment_before_the_first_entry_shows_no_state(down: Scene) -> None:
    """Nothing was known then; 1970 is no answer."""
    for then in ("0", "2001-01-01"):
        assert down.relup("logs", "--at", then).stdout == "nothing was written down by then\n"


def test_a_moment_that_cannot_be_shown_says_what_is_shown_instead(down: Scene) -> None:
    """An entry that is not written yet, and later one that was cleared."""
    assert down.relup("logs", "--at", "9999").stdout.startswith("there is no entry 9999 yet; the newest:\n")
    assert down.relup("logs", "--at", "2").stdout.startswith("after entry 2 of ")
    assert down.relup("logs-clear", "--keep", "1").returncode == 0
    first = down.relup("logs", "--at", "1").stdout.splitlines()
    assert first[0] == "what was so then was cleared; the oldest that is known:"
    assert first[1].startswith("after entry ")


def test_an_upgrade_that_had_begun_then_is_not_to_be_recovered_now(down: Scene) -> None:
    """What `logs --at` shows is past: it advises nothing."""
    seq = json.loads(down.relup("--json", "logs", "--last", "1").stdout)["seq"]
    said = down.relup("logs", "--at", str(seq)).stdout
    assert "an upgrade had begun and not ended, at its request" in said
    assert "recover" not in said


def test_the_steps_of_an_upgrade_are_told_in_their_order(node: NodeFactory, releases: Built) -> None:
    """Its plan before what was planned, its end last; for people and as JSON lines."""
    scene = Scene(node=node(), catalog=releases.reversible_catalog)
    assert scene.relup("upgrade", str(releases.tarball("5.10.5"))).returncode == 0
    rows = [json.loads(line) for line in scene.relup("--json", "logs", "--steps").stdout.splitlines()]
    assert [row["seq"] for row in rows] == sorted(row["seq"] for row in rows)
    lines = scene.relup("logs", "--steps").stdout.splitlines()
    assert "UpgradeRequested" in lines[1]
    assert "UpgradeSucceeded" in lines[-1]
    assert [int(found) for line in lines if (found := "".join(re.findall(r" step (\d+) ", line)))] == [
        *range(1, 11)
    ]

    (scene.node.root / "relup" / "current").unlink()
    differs = scene.relup("--json", "verify")
    assert differs.returncode == 30
    assert json.loads(differs.stdout)["error"]["runs_now"] == "5.10.5; the next start boots 5.10.4"


# ---------------------------------------------------------------- what runs now, and whose fault it was


@pytest.mark.parametrize("words", [["recover"], ["rollback", "--boot-only"], ["verify"]], ids=" ".join)
def test_a_refusal_says_that_nothing_was_changed(down: Scene, words: list[str]) -> None:
    """Each of the three parts is there, also where nothing was begun."""
    result = down.relup("--json", *words)
    error = json.loads(result.stdout)["error"]
    assert result.returncode == 11
    assert error["runs_now"] == "nothing was changed; the node is as it was"


def test_verbose_shows_where_every_error_comes_from(down: Scene) -> None:
    """Those that a command tells itself too."""
    assert "Traceback" in down.relup("-v", "verify").stderr
    assert "Traceback" not in down.relup("verify").stderr


def test_a_journal_that_may_not_be_read_is_not_called_damaged(down: Scene) -> None:
    """Another user proves nothing about it, in either direction."""
    for above in [down.node.root, *down.node.root.parents][:-1]:
        above.chmod(above.stat().st_mode | 0o055)
    journal = down.place.journal
    journal.chmod(0o000 if os.geteuid() else 0o700)
    result = as_another_user("--root", str(down.node.root), "journal", "verify")
    journal.chmod(0o700)
    assert result.returncode == 44, result.stderr
    assert "damage" not in result.stdout + result.stderr


def test_who_is_not_root_is_told_once_to_be_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where root runs the node there is no second way."""
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    with pytest.raises(WrongUser) as refused:
        become(Owner(0, 0))
    assert refused.value.next == "run relup as root"
