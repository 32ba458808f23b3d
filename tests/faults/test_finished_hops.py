"""`relup rollback` of hops that succeeded: on the live node while that is possible, refused when it is not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.build import Built
from tests.faults.serving import Serving

CLIENTS = 20
REFUSED, PAST_NO_RETURN = 11, 31
"""Exit codes."""


@pytest.fixture
def serving(releases: Built, tmp_path: Path) -> Iterator[Serving]:
    with Serving.opened(releases, tmp_path / "root", clients=CLIENTS, busy=10) as found:
        yield found


def hop(serving: Serving, version: str) -> None:
    """A good upgrade."""
    told = serving.upgrade(serving.built.tarball(version))
    assert told.code == 0, told.answer


@pytest.mark.timeout(400)
def test_two_hops_are_rolled_back_one_after_the_other_under_their_clients(serving: Serving) -> None:
    """5.10.4 to 5.10.5 to 5.10.6 and back again; each way back ends exactly where its hop began."""
    first = serving.world()
    hop(serving, "5.10.5")
    second = serving.world()
    assert second.state_sizes == (4, *[6] * CLIENTS)
    hop(serving, "5.10.6")
    third = serving.world()
    assert third.marker == "5.10.6"
    assert third.trees == ("5.10.5", "5.10.6")

    back = serving.relup("rollback")
    assert (back.code, back.answer["node"]) == (
        0,
        {"base": "5.10.4", "live": "5.10.5", "next_boot": "5.10.5"},
    )
    serving.require(second)
    assert serving.relup("status").answer["kind"] == "pending"
    assert serving.relup("verify").code == 0

    back = serving.relup("rollback")
    assert (back.code, back.answer["node"]) == (
        0,
        {"base": "5.10.4", "live": "5.10.4", "next_boot": "5.10.4"},
    )
    serving.require(first)
    assert serving.relup("status").answer["kind"] == "idle"

    none = serving.relup("rollback")
    assert (none.code, none.error["name"]) == (REFUSED, "no_finished_hop")
    hop(serving, "5.10.5")
    serving.require(second)


@pytest.mark.timeout(400)
def test_a_hop_with_a_callback_is_not_rolled_back_but_its_marker_may_be_given_up(serving: Serving) -> None:
    """Refused with nothing changed; --boot-only lets the next restart boot the base, and status says so."""
    told = serving.upgrade(serving.built.tarball("5.10.5"), catalog=serving.built.catalog)
    assert told.code == 0
    after = serving.world()
    back = serving.relup("rollback")
    assert (back.code, back.error["name"]) == (PAST_NO_RETURN, "past_point_of_no_return")
    assert back.error["next"].startswith("'relup rollback --boot-only' has the old release boot")
    assert "limit_topic_levels" in back.error["happened"]
    assert back.error["runs_now"] == "nothing was changed"
    serving.require(after)

    assert serving.relup("rollback", "--boot-only").code == 0
    without = serving.world()
    assert without.marker is None
    assert without.md5s == after.md5s
    status = serving.relup("status").answer
    assert status["kind"] == "marker_differs"
    assert status["node"] == {"base": "5.10.4", "live": "5.10.5", "next_boot": "5.10.4"}
    again = serving.relup("rollback", "--boot-only")
    assert (again.code, again.error["name"]) == (REFUSED, "no_marker")

    serving.node.restart()
    status = serving.relup("status").answer
    assert (status["status"], status["node"]["live"]) == ("idle", "5.10.4")


@pytest.mark.timeout(400)
def test_after_a_restart_a_hop_is_not_rolled_back(serving: Serving) -> None:
    """The old code does not live beside the new one any more: refused, nothing changed, the way named."""
    hop(serving, "5.10.5")
    serving.node.restart()
    after = serving.world()
    back = serving.relup("rollback")
    assert (back.code, back.error["name"]) == (REFUSED, "no_finished_hop")
    assert "restarted" in back.error["happened"]
    assert "--boot-only" in back.error["next"]
    assert serving.world() == after
    assert serving.relup("status").answer["status"] == "idle"
