"""What `status`, `plan` and `verify` say after deaths, hands and package managers: what is so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.build import Built
from tests.faults.serving import Serving
from tests.faults.signalled import Running

CLIENTS = 5
A_CONNECTION = 'hd(emqx_cm:lookup_channels(<<"swarm-4">>))'
REQUEST, UNFIT, DIFFERS = 11, 14, 30
"""Exit codes."""


@pytest.fixture
def serving(releases: Built, tmp_path: Path) -> Iterator[Serving]:
    with Serving.opened(releases, tmp_path / "root", clients=CLIENTS, busy=2) as found:
        yield found


def versions(*, base: str, live: str | None, next_boot: str) -> dict[str, str | None]:
    return {"base": base, "live": live, "next_boot": next_boot}


def require_plan_refused(serving: Serving) -> None:
    """`plan` refuses as `upgrade` would."""
    told = serving.relup("plan", str(serving.built.tarball("5.10.5")))
    assert (told.code, told.error["name"]) == (REQUEST, "upgrade_unfinished")
    assert told.error["runs_now"] == "nothing was changed"


@pytest.mark.timeout(400)
def test_tool_and_vm_die_in_the_middle_and_every_status_until_the_end_is_true(serving: Serving) -> None:
    """In progress, interrupted, with the VM down, with it up again, and idle once it is cleaned up."""
    fresh = serving.world()
    killed_in_the_second_update(serving)
    step = "interrupted at step 7 of 10 (ChangeCode)"

    status = serving.relup("status").answer
    assert (status["kind"], status["status"]) == ("interrupted", f"{step}; run 'relup recover'")
    assert any("between releases" in trouble for trouble in status["troubles"])
    require_plan_refused(serving)

    serving.node.kill()
    status = serving.relup("status").answer
    assert (status["status"], status["node"]["live"]) == (f"{step}; run 'relup recover'", None)
    assert "does not answer" in status["not_asked"]
    report = serving.relup("recover", "--report").answer["evidence"]
    assert report["will"].startswith("record that the live changes died with the VM")

    serving.node.start()
    status = serving.relup("status").answer
    assert status["status"] == f"{step}; the node has restarted since; run 'relup recover'"
    assert status["node"] == versions(base="5.10.4", live="5.10.4", next_boot="5.10.4")
    require_plan_refused(serving)

    assert serving.relup("recover").code == 0
    assert serving.relup("status").answer["status"] == "idle"
    now = serving.world()
    assert (now.md5s, now.trees, now.leftovers, now.marker) == (fresh.md5s, (), (), None)


def killed_in_the_second_update(serving: Serving) -> None:
    """The tool dies while the agent waits for a connection."""
    with serving.held(A_CONNECTION):
        words = ("--full-speed", "--suspend-timeout-ms", "120000")
        upgrade = Running(serving, serving.built.tarball("5.10.5"), *words)
        try:
            upgrade.wait_for_step("ChangeCode", nth=2)
            status = serving.relup("status").answer
            step = {"number": 7, "of": 10, "name": "ChangeCode", "direction": "do"}
            assert (status["status"], status["step"]) == ("in-progress", step)
            lines = serving.scene.relup("status").stdout.splitlines()
            assert lines[:2] == ["in-progress", "at step 7 of 10 (ChangeCode)"]
        finally:
            upgrade.kill()


@pytest.mark.timeout(400)
def test_a_marker_removed_by_hand_is_seen_before_and_after_the_restart(serving: Serving) -> None:
    """The hop is live, a restart boots the base: said with a way to keep it, and idle with the base afterwards."""
    assert serving.upgrade(serving.built.tarball("5.10.5")).code == 0
    marker = serving.node.root / "relup" / "current"
    marker.unlink()
    status = serving.relup("status").answer
    assert status["kind"] == "marker_differs"
    assert "relup/current is missing" in status["status"]
    assert status["node"] == versions(base="5.10.4", live="5.10.5", next_boot="5.10.4")
    verify = serving.relup("verify")
    assert verify.code == DIFFERS
    assert "relup/current" in verify.error["happened"]
    assert verify.error["next"] == "'relup status' says what to do."
    assert "write 5.10.5 into that file" in status["next"]
    marker.write_text("5.10.5\n")
    assert (serving.relup("status").answer["kind"], serving.relup("verify").code) == ("pending", 0)
    marker.unlink()

    serving.node.restart()
    status = serving.relup("status").answer
    assert status["status"] == "idle"
    assert status["node"] == versions(base="5.10.4", live="5.10.4", next_boot="5.10.4")
    assert status["troubles"] == []
    verify = serving.relup("verify")
    assert (verify.code, verify.error["name"]) == (REQUEST, "no_finished_hop")
    cleaned = serving.relup("clean", "--yes").answer
    assert [each["path"] for each in cleaned["removable"]] == [str(serving.scene.place.tree("5.10.5"))]


def test_a_marker_given_up_after_the_vm_has_died_leaves_nothing_of_the_hop(serving: Serving) -> None:
    """With the marker the next start boots the target; without it nothing runs or boots it."""
    assert serving.upgrade(serving.built.tarball("5.10.5")).code == 0
    serving.node.kill()
    assert serving.relup("status").answer["kind"] == "pending"
    assert serving.relup("rollback", "--boot-only").code == 0
    status = serving.relup("status").answer
    assert status["status"] == "idle"
    assert status["node"] == versions(base="5.10.4", live=None, next_boot="5.10.4")


@pytest.mark.timeout(400)
def test_a_package_that_is_upgraded_under_the_running_node_is_said(serving: Serving) -> None:
    """What runs is in no tree any more: live is unknown, and nothing is planned on it, until the restart."""
    serving.node.replace_base(serving.built.tree("5.10.6"))
    status = serving.relup("status").answer
    assert status["node"] == versions(base="5.10.6", live=None, next_boot="5.10.6")
    assert status["says"] == "5.10.4"
    assert "replaced underneath the running node, which calls itself 5.10.4" in status["troubles"][0]
    for version in ("5.10.5", "5.10.6"):
        told = serving.relup("plan", str(serving.built.tarball(version)))
        assert (told.code, told.error["name"]) == (UNFIT, "live_release_unknown")
        assert "restart the node" in told.error["next"]

    serving.node.restart()
    status = serving.relup("status").answer
    assert (status["node"]["live"], status["troubles"]) == ("5.10.6", [])


@pytest.mark.timeout(400)
def test_a_package_newer_than_the_marker_is_said_and_boots(serving: Serving) -> None:
    """Hot-upgraded to 5.10.5, then 5.10.6 is installed underneath: live, base and next boot stay apart."""
    assert serving.upgrade(serving.built.tarball("5.10.5")).code == 0
    serving.node.replace_base(serving.built.tree("5.10.6"))
    status = serving.relup("status").answer
    assert status["node"] == versions(base="5.10.6", live="5.10.5", next_boot="5.10.6")
    assert (status["marker"], len(status["troubles"])) == ("5.10.5", 1)
    assert "the package was upgraded underneath" in status["troubles"][0]
    plan = serving.scene.relup("plan", str(serving.built.tarball("5.10.6")))
    assert "the package was upgraded underneath" in plan.stdout + plan.stderr

    serving.node.restart()
    status = serving.relup("status").answer
    assert status["status"] == "idle"
    assert status["node"] == versions(base="5.10.6", live="5.10.6", next_boot="5.10.6")
    assert "the package was upgraded underneath" in status["troubles"][0]
