"""Every number of the manual, by a real run: what the exit code says is what the node runs."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.errors import NodeUnreachable
from fixtures.broken import CALLBACK_FIXED, build_broken
from fixtures.build import Built
from fixtures.node import RunningNode
from fixtures.package import write_sidecar
from tests.engine.scene import FRONT_DOOR, Scene
from tests.engine.test_lock import another_relup
from tests.engine.witness import assert_runs
from tests.releases import NodeFactory


def told(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one object of a failed command under --json; stderr says the same for people."""
    assert result.stdout.count("\n") == 1, result.stdout
    answer: dict[str, Any] = json.loads(result.stdout)
    assert answer["schema_version"] == 1
    error = answer["error"]
    assert error.keys() == {"name", "happened", "runs_now", "next"}
    assert error["happened"]
    assert error["next"]
    assert f"({error['name']})" in result.stderr
    assert "  next: " in result.stderr
    return answer


def assert_ends(scene: Scene, *words: str, code: int, name: str) -> dict[str, Any]:
    """The command exits with this number and names this error, and both versions of its answer agree."""
    result = scene.relup("--json", *words)
    assert result.returncode == code, result.stderr
    answer = told(result)
    assert answer["error"]["name"] == name
    return answer


# ---------------------------------------------------------------- 10 to 19, 50 to 60: nothing was touched


@dataclass
class Desk:
    """The shared node and good packages beside it."""

    scene: Scene
    built: Built
    folder: Path

    def package(self) -> Path:
        """A copy of the target that may be spoiled."""
        tarball = self.folder / self.built.tarball("5.10.5").name
        shutil.copy(self.built.tarball("5.10.5"), tarball)
        write_sidecar(tarball)
        return tarball


@pytest.fixture(scope="module")
def untouched(releases: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A running 5.10.4 on which nothing succeeds."""
    root = tmp_path_factory.mktemp("codes") / "node"
    with RunningNode.install(releases.tree("5.10.4"), root) as node:
        yield Scene(node=node.start(), catalog=releases.catalog)


@pytest.fixture
def desk(untouched: Scene, releases: Built, tmp_path: Path) -> Desk:
    return Desk(untouched, releases, tmp_path)


def without_sidecar(desk: Desk) -> list[str]:
    tarball = desk.package()
    tarball.with_name(f"{tarball.name}.sha256").unlink()
    return ["upgrade", str(tarball)]


def spoiled(desk: Desk) -> list[str]:
    tarball = desk.package()
    with tarball.open("ab") as file:
        file.write(b"\0")
    return ["upgrade", str(tarball)]


def cookie_file(desk: Desk) -> list[str]:
    file = desk.folder / "cookie"
    file.write_text("another\n")
    return ["--cookie-file", str(file), "upgrade", str(desk.package())]


def other_node(desk: Desk) -> list[str]:
    return ["--node", "emqx9999@127.0.0.1", "plan", str(desk.package())]


REFUSED: dict[str, tuple[Callable[[Desk], list[str]], int, str]] = {
    "no tarball": (lambda _: ["upgrade", "/nowhere.tar.gz"], 11, "target_tarball_not_found"),
    "no sidecar": (without_sidecar, 11, "missing_sha256_sidecar"),
    "spoiled package": (spoiled, 12, "sha256_mismatch"),
    "another plan": (
        lambda desk: ["upgrade", str(desk.package()), "--plan", "0" * 32],
        11,
        "plan_changed",
    ),
    "dry run of the same version": (
        lambda desk: ["upgrade", "--dry-run", str(desk.built.tarball("5.10.4"))],
        11,
        "already_upgraded_to_target_vsn",
    ),
    "nothing to recover": (lambda _: ["recover"], 11, "nothing_to_recover"),
    "nothing to report": (lambda _: ["recover", "--report"], 11, "nothing_to_recover"),
    "nothing to roll back": (lambda _: ["rollback"], 11, "no_finished_hop"),
    "no marker": (lambda _: ["rollback", "--boot-only"], 11, "no_marker"),
    "nothing to verify": (lambda _: ["verify"], 11, "no_finished_hop"),
    "wrong cookie": (cookie_file, 50, "wrong_cookie"),
    "another node": (other_node, 50, "node_down"),
}


@pytest.mark.parametrize(("words", "code", "name"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_says_so_in_number_name_and_three_parts(
    desk: Desk, words: Callable[[Desk], list[str]], code: int, name: str
) -> None:
    """And the object has the versions that the node still has."""
    answer = assert_ends(desk.scene, *words(desk), code=code, name=name)
    assert answer["node"]["base"] == "5.10.4"
    assert answer["node"]["next_boot"] == "5.10.4"


def test_a_failed_upgrade_says_the_official_line_on_stdout(desk: Desk) -> None:
    """Scripts around the official tool look for it."""
    result = desk.scene.relup(*without_sidecar(desk))
    assert result.stdout == "upgrade failed, reason: missing_sha256_sidecar\n"


def test_a_node_that_is_suspended_is_unfit(desk: Desk) -> None:
    """14: somebody else is at it."""
    desk.scene.node.eval("sys:suspend(emqx_retainer)")
    try:
        assert_ends(desk.scene, "upgrade", str(desk.package()), code=14, name="processes_suspended")
    finally:
        desk.scene.node.eval("sys:resume(emqx_retainer)")


@pytest.mark.parametrize("command", ["upgrade", "plan", "recover", "rollback", "logs-clear"])
def test_a_second_relup_is_busy_and_names_the_first(desk: Desk, command: str) -> None:
    """60, before the journal is opened."""
    desk.scene.place.relup.mkdir(exist_ok=True)
    words = [command, str(desk.package())] if command in ("upgrade", "plan") else [command]
    with another_relup(desk.scene.place.lock) as (holder, _):
        answer = assert_ends(desk.scene, *words, code=60, name="busy")
        assert f"pid {holder.pid}" in answer["error"]["happened"]
        assert desk.scene.relup("status").returncode == 0


# ---------------------------------------------------------------- 20 and 130: the old release runs


def test_a_hop_that_fails_is_undone_with_twenty(node: NodeFactory, releases: Built) -> None:
    """The name is what failed; the log and the status tell the same."""
    broken = build_broken(releases, "metrics-code-change-refuses")
    scene = Scene(node=node(), catalog=broken.catalog)
    answer = assert_ends(scene, "upgrade", str(broken.tarball), code=20, name="code_change_failed")
    assert answer["node"] == {"base": "5.10.4", "live": "5.10.4", "next_boot": "5.10.4"}
    assert_runs(scene.node, "5.10.4", built=releases, connections=0)
    assert scene.relup("status").stdout.splitlines()[0] == "idle"
    (row,) = scene.relup("logs").stdout.splitlines()
    assert row.endswith("status=finished result=rolled_back reason=code_change_failed")


HOLD = """
    Us = self(), Hold = fun(S) -> Us ! held, receive go_on -> S end end,
    spawn(fun() -> sys:replace_state(emqx_metrics, Hold, infinity) end), receive held -> ok end
"""
RELEASE = "emqx_metrics ! go_on"


@contextmanager
def begun_upgrade(scene: Scene, tarball: Path) -> Iterator[subprocess.Popen[str]]:
    """An upgrade that waits in the update of a process which is busy until RELEASE."""
    scene.node.eval(HOLD)
    catalog = ["--catalog", str(scene.catalog)]
    words = ["--json", "upgrade", str(tarball), "--suspend-timeout-ms", "100000", "--full-speed"]
    command = [sys.executable, str(FRONT_DOOR), "--root", str(scene.node.root), *catalog, *words]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=scene.node.environment)
    try:
        deadline = time.monotonic() + 90
        while not any(getattr(each.event, "name", "") == "ChangeCode" for each in scene.entries()):
            assert time.monotonic() < deadline, "the update was not begun"
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_upgrade_that_is_stopped_ends_on_the_old_release_with_130(
    node: NodeFactory, releases: Built, number: signal.Signals
) -> None:
    """The step in hand is finished, then everything is undone."""
    scene = Scene(node=node(), catalog=releases.reversible_catalog)
    with begun_upgrade(scene, releases.tarball("5.10.5")) as process:
        assert scene.relup("status").stdout.splitlines()[0] == "in-progress"
        process.send_signal(signal.SIGHUP)
        process.send_signal(number)
        scene.node.eval(RELEASE)
        stdout, stderr = process.communicate()
    assert process.returncode == 130, stderr
    answer = told(subprocess.CompletedProcess([], 130, stdout, stderr))
    assert answer["error"]["name"] == "interrupted"
    assert "stopping after the step in hand" in stderr
    assert_runs(scene.node, "5.10.4", built=releases, connections=0)
    assert scene.answer("status")["kind"] == "idle"


# ---------------------------------------------------------------- 30 to 39: an operator is needed


def test_a_callback_that_fails_is_between_releases_until_it_is_recovered(
    node: NodeFactory, releases: Built
) -> None:
    """30, then 31 for what cannot be undone, 0 once the cause is gone, and 30 for what differs later."""
    broken = build_broken(releases, "callback-crashes")
    scene = Scene(node=node(), catalog=broken.catalog)
    answer = assert_ends(scene, "upgrade", str(broken.tarball), code=30, name="call_failed")
    assert answer["error"]["runs_now"].startswith("between releases: ")
    assert scene.answer("status")["kind"] == "between_releases"

    assert_ends(scene, "upgrade", str(broken.tarball), code=11, name="upgrade_unfinished")
    assert_ends(scene, "recover", "--rollback", code=31, name="past_point_of_no_return")
    report = scene.answer("recover", "--report")
    assert report["evidence"]["past_no_return"] is True
    assert scene.relup("logs-clear").stdout.startswith("cleared nothing")

    scene.node.eval(CALLBACK_FIXED)
    assert scene.relup("recover").returncode == 0
    assert scene.answer("status")["kind"] == "pending"
    assert scene.relup("verify").returncode == 0
    assert_ends(scene, "rollback", code=31, name="past_point_of_no_return")

    scene.place.marker.write_text("5.10.4")
    answer = assert_ends(scene, "verify", code=30, name="differs")
    assert answer["reading"]["marker"]


# ---------------------------------------------------------------- 40 to 49: the journal


@pytest.fixture
def with_history(releases: Built, tmp_path: Path) -> Scene:
    """A node that is down, and whose journal knows an attempt."""
    node = RunningNode.install(releases.tree("5.10.4"), tmp_path / "node")
    scene = Scene(node=node, catalog=releases.catalog)
    with pytest.raises(NodeUnreachable):
        scene.upgrade(releases.tarball("5.10.5"))
    return scene


def test_a_damaged_journal_is_told_and_not_written_to(with_history: Scene, releases: Built) -> None:
    """41 for every command that needs it; its bytes stay for whoever wants to look."""
    scene = with_history
    (file,) = scene.place.journal.glob("[0-9]*/data.mdb")
    content = file.read_bytes()
    at = content.rindex(b"UpgradeRefused")
    file.write_bytes(content[:at] + b"upgradeRefused" + content[at + 14 :])
    damaged = file.read_bytes()
    for words in (["status"], ["logs"], ["upgrade", str(releases.tarball("5.10.5"))], ["recover"]):
        assert_ends(scene, *words, code=41, name="journal_damaged")
    assert file.read_bytes() == damaged


def test_the_journal_of_another_node_is_foreign(with_history: Scene, releases: Built, tmp_path: Path) -> None:
    """43: a copied RootDir does not go on with the history of the one it was copied from."""
    other = RunningNode.install(releases.tree("5.10.4"), tmp_path / "other")
    shutil.copytree(with_history.place.relup, other.root / "relup")
    scene = Scene(node=other, catalog=releases.catalog)
    assert_ends(scene, "upgrade", str(releases.tarball("5.10.5")), code=43, name="journal_foreign")


# ---------------------------------------------------------------- 0: done


def test_what_is_done_is_zero_and_one_object(node: NodeFactory, releases: Built) -> None:
    """Plan, upgrade by its id, verify, logs, clean and rollback: each answers with the schema and the node."""
    scene = Scene(node=node(), catalog=releases.reversible_catalog)
    tarball = str(releases.tarball("5.10.5"))
    plan = scene.answer("plan", tarball)
    assert plan["node"] == {"base": "5.10.4", "live": "5.10.4", "next_boot": "5.10.4"}
    assert not scene.place.relup.exists()

    upgraded = scene.answer("upgrade", tarball, "--plan", plan["plan"]["plan_id"])
    assert upgraded["node"] == {"base": "5.10.4", "live": "5.10.5", "next_boot": "5.10.5"}
    assert (upgraded["from_version"], upgraded["target_version"]) == ("5.10.4", "5.10.5")
    assert upgraded["ended"] == []

    verified = scene.answer("verify")
    assert verified["reading"]["upgrade_id"] == upgraded["upgrade_id"]
    (line,) = scene.relup("--json", "logs").stdout.splitlines()
    row = json.loads(line)
    assert (row["schema_version"], row["upgrade_id"], row["result"]) == (1, upgraded["upgrade_id"], "success")
    assert scene.answer("clean")["removable"] == []

    rolled_back = scene.answer("rollback")
    assert rolled_back["node"] == {"base": "5.10.4", "live": "5.10.4", "next_boot": "5.10.4"}
    assert_runs(scene.node, "5.10.4", built=releases, connections=0)
