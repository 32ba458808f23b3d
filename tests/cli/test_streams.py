"""Closed, broken and full streams: an upgrade goes on, its exit code is true, and nobody sees a traceback."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.build import Built
from fixtures.node import RunningNode
from tests.engine.scene import FRONT_DOOR, Scene
from tests.engine.witness import assert_runs
from tests.releases import NodeFactory

FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def down(releases: Built, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """An installed node that does not run, with one refused upgrade in its journal."""
    root = tmp_path_factory.mktemp("streams") / "node"
    scene = Scene(node=RunningNode.install(releases.tree("5.10.4"), root), catalog=releases.catalog)
    assert scene.relup("upgrade", str(releases.tarball("5.10.5"))).returncode == 50
    return scene


def command(scene: Scene, *words: str) -> list[str]:
    return [sys.executable, str(FRONT_DOOR), "--root", str(scene.node.root), *words]


def shell(scene: Scene, line: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a shell line makes of the command, which it calls as "$@"."""
    return subprocess.run(
        ["bash", "-c", line, "bash", *command(scene, *words)],
        env={**scene.node.environment, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# ---------------------------------------------------------------- nobody watches any more


@pytest.mark.parametrize("watched_by", [os.pipe, pty.openpty], ids=["a pipe", "a terminal"])
def test_an_upgrade_goes_on_when_nobody_watches_any_more(
    node: NodeFactory, releases: Built, watched_by: Callable[[], tuple[int, int]]
) -> None:
    """The connection of the operator breaks in the middle: the live steps are done, and the end is written down."""
    scene = Scene(node=node(), catalog=releases.reversible_catalog)
    words = ["--catalog", str(scene.catalog), "upgrade", str(releases.tarball("5.10.5")), "--full-speed"]
    environment = {**scene.node.environment, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    screen, side = watched_by()
    process = subprocess.Popen(command(scene, *words), stdout=side, stderr=side, env=environment)
    os.close(side)
    seen = b""
    while b"package" not in seen:
        seen += os.read(screen, 4096)
    os.close(screen)
    assert process.wait(60) == 0
    assert_runs(scene.node, "5.10.5", built=releases, connections=0)
    assert scene.answer("status")["kind"] == "pending"


@pytest.mark.parametrize("words", [["logs"], ["--json", "logs"], ["explain"], ["--help"]], ids=" ".join)
def test_who_has_read_enough_is_no_error(down: Scene, words: list[str]) -> None:
    """`relup … | head -1` ends well, whenever the reader goes."""
    result = shell(down, '"$@" | true; exit ${PIPESTATUS[0]}', *words)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_follower_ends_when_nobody_reads_it(down: Scene, releases: Built) -> None:
    """At the next entry: nothing is followed for nobody."""
    with subprocess.Popen(
        command(down, "logs", "--follow"), stdout=subprocess.PIPE, env={**down.node.environment}
    ) as follower:
        assert follower.stdout is not None
        follower.stdout.close()
        for _ in range(20):
            down.relup("upgrade", str(releases.tarball("5.10.5")))
            if follower.poll() is not None:
                break
        code = follower.poll()
        follower.kill()
    assert code == 0


# ---------------------------------------------------------------- a full disk, a closed descriptor


@pytest.mark.parametrize("words", [["status"], ["--json", "status"], ["logs"], ["explain"]], ids=" ".join)
def test_an_answer_that_is_lost_is_told_without_a_traceback(down: Scene, words: list[str]) -> None:
    """One error with a name; it is not passed over as done."""
    result = shell(down, f'"$@" > {FULL}', *words)
    assert result.returncode == 1
    assert "(answer_lost)" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("redirected", [f"> {FULL}", f"2> {FULL}", "2>&-", ">&-"])
def test_an_error_keeps_its_number_when_it_cannot_be_told(down: Scene, redirected: str) -> None:
    """What the node runs is said by the exit code, whatever becomes of the words."""
    assert shell(down, f'"$@" {redirected}', "recover").returncode == 11


@pytest.mark.parametrize(
    "words", [["status"], ["logs"], ["journal", "fresh", "--yes"], ["clean"]], ids=" ".join
)
def test_closed_descriptors_are_no_reason_to_fail(down: Scene, words: list[str]) -> None:
    """The next file or pipe that is opened does not take their number."""
    result = shell(down, '"$@" <&- >&-', *words)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr


def test_a_terminal_that_knows_only_ascii_gets_escapes(down: Scene, tmp_path: Path) -> None:
    """A name that it cannot show stops nothing."""
    result = shell(down, '"$@"', "journal", "export", str(tmp_path / "→"), PYTHONIOENCODING="ascii")
    assert result.returncode == 0, result.stderr
    assert "\\u2192" in result.stdout


def test_ctrl_c_in_a_reading_command_is_130_and_nothing_else() -> None:
    """Wherever it is just then: nothing was begun, and nothing has to be said."""
    story = """
import cli.main
def asked(_arguments):
    raise KeyboardInterrupt
cli.main._obey = asked
cli.main.run()
"""
    house = str(FRONT_DOOR.parent)
    result = subprocess.run(
        [sys.executable, "-c", story], cwd=house, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


# ---------------------------------------------------------------- another user

AS_ANOTHER = """
import os, sys
from cli.ahead import load_everything
from cli.user import Owner, become
load_everything()
if os.geteuid() == 0:
    become(Owner(54_321, 54_321))
from cli.main import run
run()
"""


def as_another_user(*words: str) -> subprocess.CompletedProcess[str]:
    """What somebody else is told who runs relup; without root, the owner of closed folders."""
    return subprocess.run(
        [sys.executable, "-c", AS_ANOTHER, *words],
        cwd=FRONT_DOOR.parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def street(releases: Built, tmp_path: Path) -> Iterator[RunningNode]:
    """An installed node in a folder that every user may enter, with a journal that is its owner's alone."""
    for above in [tmp_path, *tmp_path.parents][:-1]:
        above.chmod(above.stat().st_mode | 0o011)
    node = RunningNode.install(releases.tree("5.10.4"), tmp_path / "node")
    node.root.chmod(0o755)
    assert Scene(node=node).relup("logs-clear").returncode == 0
    yield node
    node.root.chmod(0o755)
    (node.root / "relup" / "journal").chmod(0o700)


@pytest.mark.parametrize(
    "words", [["status"], ["logs"], ["plan", "t.tar.gz"], ["journal", "head"]], ids=" ".join
)
def test_a_root_that_this_user_cannot_look_into_is_named(street: RunningNode, words: list[str]) -> None:
    """It may be an install root; that it is none would be a guess."""
    street.root.chmod(0o000)
    result = as_another_user("--root", str(street.root), *words)
    assert result.returncode == 11, result.stderr
    assert "(root_out_of_reach)" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "words", [["plan", "t.tar.gz"], ["upgrade", "t.tar.gz"], ["clean"], ["recover"]], ids=" ".join
)
def test_folders_that_are_closed_to_this_user_hide_no_error(street: RunningNode, words: list[str]) -> None:
    """The reason is told, and it is not that relup itself failed over the versions."""
    (street.root / "relup" / "journal").chmod(0o000 if os.geteuid() else 0o700)
    result = as_another_user("--root", str(street.root), "--json", *words)
    assert result.returncode >= 10, result.stderr
    assert "internal_error" not in result.stdout
    assert "Traceback" not in result.stderr
