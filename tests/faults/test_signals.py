"""Ctrl-C (SIGINT), SIGTERM and SIGHUP on the real command line: before the live steps, in them, and after the point
of no return.
"""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.build import Built
from fixtures.variants import BuiltVariant, Variant, build_variant
from journal.events import RollbackFinished, UpgradeFailed, UpgradeInterrupted, UpgradeSucceeded
from tests.faults.serving import Serving
from tests.faults.signalled import Running, begun_step

CLIENTS = 20
A_CONNECTION = 'hd(emqx_cm:lookup_channels(<<"swarm-15">>))'
PATIENT = ("--full-speed", "--suspend-timeout-ms", "120000")
"""So that a step lasts as long as one connection is held."""
BETWEEN, INTERRUPTED = 30, 130
"""Exit codes."""
LEAVE = "persistent_term:put(leave, true)"
WAITING_CALLBACK = Variant(
    "callback-waits",
    "A callback that ends when it is told to.",
    sources={
        "emqx/src/emqx_post_upgrade.erl": (
            (
                "count_connections(FromVsn) ->\n",
                "count_connections(FromVsn) ->\n"
                "    (fun W() -> persistent_term:get(leave, false) orelse begin timer:sleep(20), W() end end)(),\n",
            ),
        )
    },
    reversible=False,
)
Begin = Callable[..., Running]


@pytest.fixture(scope="module")
def serving(releases: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One node for all upgrades that end where they began."""
    root = tmp_path_factory.mktemp("serving") / "root"
    with Serving.opened(releases, root, clients=CLIENTS, busy=10) as found:
        yield found


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Begins upgrades; none outlives the test."""
    begun: list[Running] = []

    def make(serving: Serving, tarball: Path, *more: str, catalog: Path | None = None) -> Running:
        begun.append(Running(serving, tarball, *more, catalog=catalog))
        return begun[-1]

    yield make
    for each in begun:
        each.kill()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_before_the_live_steps_leaves_nothing(
    serving: Serving, begin: Begin, number: signal.Signals
) -> None:
    """The package is being unpacked: it stops at once, the staging is removed, the node was never touched."""
    for _ in range(5):  # the signal may come when the package is unpacked already
        begun = stopped_while_it_unpacks(serving, begin, number)
        if "DeployTarget" not in begun:
            break
    assert "DeployTarget" not in begun
    assert serving.relup("status").answer["status"] == "idle"


def stopped_while_it_unpacks(serving: Serving, begin: Begin, number: signal.Signals) -> list[str | None]:
    """Which steps an upgrade had begun that heard the signal when it had begun to unpack; all is as before."""
    before = serving.world()
    upgrade = begin(serving, serving.built.tarball("5.10.5"))
    upgrade.wait_for_step("UnpackTarget")
    upgrade.send(number)
    told, shown = upgrade.ended()
    assert (told.code, told.error["name"]) == (INTERRUPTED, "interrupted")
    assert "stopping after the step in hand" in shown
    events = serving.last_events()
    assert isinstance(events[-1], UpgradeInterrupted | UpgradeFailed)
    serving.require(before)
    return [begun_step(event) for event in events]


@pytest.mark.timeout(300)
def test_sigterm_in_the_live_steps_lets_the_step_end_and_undoes_all(serving: Serving, begin: Begin) -> None:
    """The update in hand goes on to its end first, then every step is undone."""
    before = serving.world()
    with serving.held(A_CONNECTION):
        upgrade = begin(serving, serving.built.tarball("5.10.5"), *PATIENT)
        upgrade.wait_for_step("ChangeCode", nth=2)
        upgrade.send_and_wait(signal.SIGTERM)
    told, _ = upgrade.ended()
    assert (told.code, told.error["name"]) == (INTERRUPTED, "interrupted")
    assert "every step was undone" in told.error["runs_now"]
    *_, finished, ended = serving.last_events()
    assert isinstance(finished, RollbackFinished)
    assert isinstance(ended, UpgradeFailed)
    serving.require(before)


@pytest.mark.timeout(300)
def test_asked_twice_it_stops_after_the_step_in_hand_and_names_recover(
    serving: Serving, begin: Begin
) -> None:
    """It is left between releases, and says so; recover --rollback takes it back."""
    before = serving.world()
    with serving.held(A_CONNECTION):
        upgrade = begin(serving, serving.built.tarball("5.10.5"), *PATIENT)
        upgrade.wait_for_step("ChangeCode", nth=2)
        upgrade.send_and_wait(signal.SIGINT)
        upgrade.send_and_wait(signal.SIGINT)
    told, _ = upgrade.ended()
    assert (told.code, told.error["name"]) == (BETWEEN, "interrupted")
    assert told.error["runs_now"].startswith("between releases: 8 modules of the target and 1 of the old")
    assert "relup recover" in told.error["next"]
    middle = serving.world()
    assert middle.state_sizes == (4, *[6] * CLIENTS)
    assert middle.suspended == 0
    assert serving.relup("status").answer["kind"] == "between_releases"
    assert serving.relup("recover", "--rollback").code == 0
    serving.require(before)


@pytest.fixture
def waiting(releases: Built) -> BuiltVariant:
    return build_variant(releases, WAITING_CALLBACK)


@pytest.mark.timeout(300)
def test_past_the_point_of_no_return_it_goes_on_to_the_end_and_says_why(
    releases: Built, waiting: BuiltVariant, begin: Begin, tmp_path: Path
) -> None:
    """Neither SIGHUP nor one SIGTERM stops it; the operator reads why."""
    with Serving.opened(releases, tmp_path / "root", clients=CLIENTS, busy=10) as serving:
        upgrade = begin(serving, waiting.tarball, "--full-speed", catalog=waiting.catalog)
        upgrade.wait_for_step("RunCallback", nth=2)
        upgrade.send(signal.SIGHUP)
        upgrade.send_and_wait(signal.SIGTERM)
        serving.node.eval(LEAVE)
        told, shown = upgrade.ended()
        assert told.code == 0
        assert "past the point of no return: the upgrade goes on to its end" in shown
        assert isinstance(serving.last_events()[-1], UpgradeSucceeded)
        assert serving.world().marker == "5.10.5"
        assert serving.relup("verify").code == 0
        assert not serving.swarm.report().disconnected
