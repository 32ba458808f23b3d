"""Two hops in a row without a restart between them, under a thousand clients."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.build import Built
from tests.faults.serving import Serving
from tests.faults.silent import Silent

CLIENTS, BUSY = 1_000, 500
INTERVAL_MS = 1_000
HOPS = ("5.10.5", "5.10.6")


@pytest.fixture
def many_sockets() -> Iterator[None]:
    """The node and the clients, which inherit it from here, may each open a socket per client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, 4 * CLIENTS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def serving(releases: Built, tmp_path: Path, many_sockets: None) -> Iterator[Serving]:
    with Serving.opened(
        releases, tmp_path / "root", clients=CLIENTS, busy=BUSY, interval_ms=INTERVAL_MS
    ) as found:
        yield found


@pytest.fixture
def silent(serving: Serving) -> Iterator[Silent]:
    with Silent(serving.node.mqtt_port) as client:
        yield client


@pytest.mark.timeout(300)
def test_a_thousand_clients_keep_their_connections_and_lose_no_message_over_two_hops(
    serving: Serving, silent: Silent
) -> None:
    """Half of them talk with QoS 1, half say nothing; nobody but relup touches them between the hops."""
    for version in HOPS:
        before = serving.swarm.report()
        told = serving.upgrade(serving.built.tarball(version), catalog=serving.built.catalog)
        assert told.code == 0, told.answer
        assert told.answer["node"]["live"] == version
        assert serving.swarm.report().delivered > before.delivered, "the clients talked meanwhile"
    assert silent.hears_itself()
    sizes = serving.world().state_sizes
    assert sizes == (5, *[7] * (CLIENTS + 1))
    report = serving.swarm.stop()
    assert report.disconnected == ()
    assert (report.connected, report.lost, report.duplicates) == (CLIENTS, 0, 0)
    assert report.published > BUSY
