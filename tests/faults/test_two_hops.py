"""Two hops in a row without a restart between them, under a thousand clients."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from fixtures.build import Built
from tests.faults.serving import Serving

CLIENTS, BUSY = 1_000, 500
INTERVAL_MS = 1_000
HOPS = ("5.10.5", "5.10.6")
NEVER_PINGS_S = 3_600
HEARD_WITHIN_S = 30.0


class Silent:
    """A client of another library that subscribes once and then says and hears nothing until it is asked."""

    TOPIC = "silent/hears"

    def __init__(self, port: int) -> None:
        self.cut_off = False
        self._ready, self._heard = threading.Event(), threading.Event()
        self._mqtt = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="silent")
        self._mqtt.on_subscribe = lambda *_: self._ready.set()
        self._mqtt.on_message = lambda *_: self._heard.set()
        self._mqtt.on_disconnect = self._on_disconnect
        self._mqtt.connect("127.0.0.1", port, keepalive=NEVER_PINGS_S)
        self._mqtt.loop_start()
        self._mqtt.subscribe(self.TOPIC, qos=1)
        assert self._ready.wait(HEARD_WITHIN_S)

    def hears_itself(self) -> bool:
        """It publishes with QoS 1, and the message comes back over the same connection."""
        self._mqtt.publish(self.TOPIC, b"still here", qos=1)
        return self._heard.wait(HEARD_WITHIN_S)

    def end(self) -> None:
        """Leave no thread behind."""
        self._mqtt.disconnect()
        self._mqtt.loop_stop()

    def _on_disconnect(self, *_: object) -> None:
        self.cut_off = True


@pytest.fixture
def serving(releases: Built, tmp_path: Path) -> Iterator[Serving]:
    with Serving.opened(
        releases, tmp_path / "root", clients=CLIENTS, busy=BUSY, interval_ms=INTERVAL_MS
    ) as found:
        yield found


@pytest.fixture
def silent(serving: Serving) -> Iterator[Silent]:
    client = Silent(serving.node.mqtt_port)
    yield client
    client.end()


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
    assert not silent.cut_off
    sizes = serving.world().state_sizes
    assert sizes == (5, *[7] * (CLIENTS + 1))
    report = serving.swarm.stop()
    assert report.disconnected == ()
    assert (report.connected, report.lost, report.duplicates) == (CLIENTS, 0, 0)
    assert report.published > BUSY
