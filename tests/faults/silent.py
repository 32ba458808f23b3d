"""One MQTT client, of another library than the swarm's, that says nothing until it is asked."""

import threading
from typing import Self

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

NEVER_PINGS_S = 3_600
HEARD_WITHIN_S = 30.0
TOPIC = "silent/hears"


class Silent:
    """It subscribes once and then is idle. Use it as a context manager.

    Args:
        port: The node's MQTT port on 127.0.0.1.
    """

    CLIENT_ID = "silent"

    def __init__(self, port: int) -> None:
        self.cut_off = False
        self._ready, self._heard = threading.Event(), threading.Event()
        self._mqtt = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self.CLIENT_ID)
        self._mqtt.on_subscribe = lambda *_: self._ready.set()
        self._mqtt.on_message = lambda *_: self._heard.set()
        self._mqtt.on_disconnect = self._on_disconnect
        self._mqtt.connect("127.0.0.1", port, keepalive=NEVER_PINGS_S)

    def hears_itself(self) -> bool:
        """It publishes with QoS 1, and the message comes back over the same connection."""
        self._mqtt.publish(TOPIC, b"still here", qos=1)
        return self._heard.wait(HEARD_WITHIN_S) and not self.cut_off

    def __enter__(self) -> Self:
        self._mqtt.loop_start()
        self._mqtt.subscribe(TOPIC, qos=1)
        assert self._ready.wait(HEARD_WITHIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._mqtt.disconnect()
        self._mqtt.loop_stop()

    def _on_disconnect(self, *_: object) -> None:
        self.cut_off = True
