"""Processes in old code that a second load would kill: named and spared, killed only when that is asked for.

The releases here reload `emqx_connection` as it is, without an update: a connection on which nothing happens
stays in the code that it came with.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixtures.build import Built
from fixtures.variants import Variant, build_variant
from tests.boundaries.stage import Wrong, eventually
from tests.faults.serving import Serving
from tests.faults.silent import Silent

CLIENTS, BUSY = 150, 10
LOOPERS = [f"swarm-{number}" for number in range(BUSY, BUSY + 120)]
"""Clients whose process is made to linger: at work in the code of its connection, it answers nobody."""
ROLLED_BACK, UNFIT = 20, 14
"""Exit codes."""
HURRIED = ("--blocker-timeout", "1")
_HOP = """
#{{from_version => "{0}", target_version => "{1}",
  code_changes => [{{load_module, emqx_release}}, {{load_module, emqx_connection}}],
  post_upgrade_callbacks => []}}.
"""
_HOLD = """
    Held = [hd(emqx_cm:lookup_channels(list_to_binary(Name))) || Name <- string:lexemes("{names}", " ")],
    Us = self(),
    Hold = fun(S) -> Us ! held, receive let_go -> S end end,
    [spawn(fun() -> sys:replace_state(P, Hold, infinity) end) || P <- Held],
    length([receive held -> ok end || _ <- Held])
"""


@dataclass(frozen=True)
class Reloads:
    """Two releases after 5.10.4 that differ from it in the code of the connections, not in their state."""

    tarballs: tuple[Path, Path]
    catalog: Path


@pytest.fixture(scope="module")
def reloads(releases: Built, tmp_path_factory: pytest.TempPathFactory) -> Reloads:
    """Built once for all tests here."""
    catalog = tmp_path_factory.mktemp("catalog")
    built = []
    for version, before, active in (("5.10.5", "5.10.4", 101), ("5.10.6", "5.10.5", 102)):
        edit = ("-define(ACTIVE_N, 100).", f"-define(ACTIVE_N, {active}).")
        made = Variant(
            f"connections-reloaded-{version}",
            "The code of the connections differs, their state does not.",
            base="5.10.4",
            version=version,
            sources={"emqx/src/emqx_connection.erl": (edit,)},
        )
        built.append(build_variant(releases, made).tarball)
        (catalog / f"{before}-to-{version}.relup").write_text(_HOP.format(before, version))
    return Reloads((built[0], built[1]), catalog)


@pytest.fixture
def serving(releases: Built, tmp_path: Path) -> Iterator[Serving]:
    with Serving.opened(releases, tmp_path / "root", clients=CLIENTS, busy=BUSY) as found:
        yield found


def blockers(serving: Serving, tarball: Path, catalog: Path) -> set[str]:
    """The clients that `relup plan` names as running old code."""
    told = serving.relup("plan", str(tarball), catalog=catalog)
    assert told.code == 0, told.answer
    return {process["client_id"] for process in told.answer["blockers"]}


def cut_off(serving: Serving) -> set[str]:
    """The clients that have lost their connection."""
    return set(serving.swarm.report().disconnected)


def require_cut_off(serving: Serving, wanted: set[str]) -> None:
    """These clients and no others have lost their connection.

    Raises:
        Wrong: With those that are too many or too few.
    """
    if different := cut_off(serving) ^ wanted:
        raise Wrong(f"cut off, or not, against what was wanted: {different}")


@pytest.mark.timeout(400)
def test_a_hop_that_would_kill_more_than_a_hundred_loopers_is_refused_and_with_the_flag_kills_exactly_those(
    serving: Serving, reloads: Reloads
) -> None:
    """The plan names them with their clients; without the flag nobody dies, with it their clients are counted."""
    first, second = reloads.tarballs
    assert serving.node.eval(_HOLD.format(names=" ".join(LOOPERS))) == str(len(LOOPERS))
    assert serving.upgrade(first, catalog=reloads.catalog).code == 0
    assert blockers(serving, second, reloads.catalog) >= set(LOOPERS)

    told = serving.upgrade(second, *HURRIED, catalog=reloads.catalog)
    assert (told.code, told.error["name"]) == (ROLLED_BACK, "lingering_processes")
    assert f"{len(LOOPERS)} processes still run old code of emqx_connection: <0." in told.error["happened"]
    assert told.answer["node"]["live"] == "5.10.5"
    assert cut_off(serving) == set()

    told = serving.upgrade(second, *HURRIED, "--kill-blockers", catalog=reloads.catalog)
    assert told.code == 0, told.answer
    warned = re.search(r"--kill-blockers: \d+ processes run old code, (\d+) of them for a client", told.shown)
    assert warned is not None, told.shown
    assert int(warned[1]) >= len(LOOPERS)
    assert (told.answer["connections_before"], told.answer["connections_after"]) == (
        CLIENTS,
        CLIENTS - len(LOOPERS),
    )
    assert {process["client_id"] for process in told.answer["ended"]} == set(LOOPERS)
    assert {process["reason"] for process in told.answer["ended"]} == {
        "killed: it ran old code of emqx_connection"
    }
    eventually(lambda: require_cut_off(serving, set(LOOPERS)))


@pytest.mark.timeout(400)
def test_a_rollback_that_would_kill_is_refused_before_it_begins_and_done_when_nobody_stays(
    serving: Serving, reloads: Reloads
) -> None:
    """Of a hundred and fifty in old code only the one that cannot be moved is named; all keep their connections."""
    looper = LOOPERS[0]
    with serving.held(f'hd(emqx_cm:lookup_channels(<<"{looper}">>))'):
        assert serving.upgrade(reloads.tarballs[0], *HURRIED, catalog=reloads.catalog).code == 0
        written = serving.scene.entries()
        told = serving.relup("rollback")
        assert (told.code, told.error["name"]) == (UNFIT, "lingering_processes")
        assert told.error["happened"].endswith(f"in emqx_connection, client {looper}.")
        assert "(1)" in told.error["happened"]
        assert told.error["runs_now"] == "5.10.5, whole; nothing was changed"
        assert serving.scene.entries() == written
        assert serving.relup("verify").code == 0
    told = serving.relup("rollback")
    assert (told.code, told.answer["node"]["live"]) == (0, "5.10.4"), told.answer
    assert cut_off(serving) == set()


@pytest.mark.timeout(400)
def test_an_idle_connection_survives_two_hops_without_a_message_between(
    serving: Serving, reloads: Reloads
) -> None:
    """It sits in the oldest code, which the second hop needs gone, and is brought out of it unharmed."""
    first, second = reloads.tarballs
    with Silent(serving.node.mqtt_port) as silent:
        assert serving.upgrade(first, catalog=reloads.catalog).code == 0
        assert Silent.CLIENT_ID in blockers(serving, second, reloads.catalog)
        told = serving.upgrade(second, catalog=reloads.catalog)
        assert (told.code, told.answer["node"]["live"]) == (0, "5.10.6"), told.answer
        assert told.answer["ended"] == []
        assert silent.hears_itself()
    assert cut_off(serving) == set()
