"""`make demo`: one real upgrade under load, told as it happens, and what the clients saw of it.

Its last line is `demo: kept 200/200 connections, lost 0 messages, worst gap <x> ms, upgrade <y> s`. It exits
non-zero when a connection or a message was lost before the restart, or a command failed.
"""

import sys
import time

from demo.stage import Stage, say, stage
from fixtures.clients import Swarm, SwarmReport

FROM, TARGET = "5.10.4", "5.10.5"
CLIENTS = 200
INTERVAL_MS = 250
"""Each client publishes this often, with QoS 1, to itself."""
BEFORE_S = AFTER_S = 1.5
"""How long the clients talk before the upgrade begins and after it ended."""
INTERRUPTED = 130


def upgraded_under_load(play: Stage) -> tuple[SwarmReport, float, int]:
    """Upgrade while every client talks.

    Returns:
        What the clients saw up to their orderly end, seconds that the upgrade took, its exit code.
    """
    with Swarm(play.node.mqtt_port, count=CLIENTS, interval_ms=INTERVAL_MS, prefix="demo") as swarm:
        say(f"{CLIENTS} MQTT clients are connected and talk, QoS 1, {1000 // INTERVAL_MS} messages/s each")
        time.sleep(BEFORE_S)
        began = time.monotonic()
        code = play.emqx("ctl", "relup", "upgrade", str(play.built.tarball(TARGET)))
        took_s = time.monotonic() - began
        time.sleep(AFTER_S)
        code = code or play.relup("status") or play.relup("logs")
        return swarm.stop(), took_s, code


def told(report: SwarmReport, *, took_s: float) -> str:
    """The demo's last line."""
    return (
        f"kept {report.connected}/{report.clients} connections, lost {report.lost} messages, "
        f"worst gap {report.worst_gap_ms:.0f} ms, upgrade {took_s:.1f} s"
    )


def nothing_lost(report: SwarmReport) -> bool:
    """Every connection and every message is still there."""
    return report.connected == report.clients == CLIENTS and report.lost == 0 and report.published > 0


def play_all(play: Stage) -> int:
    """The whole story; the exit code."""
    play.relup("list-supported-paths")
    play.relup("status")
    report, took_s, failed = upgraded_under_load(play)
    if not failed:
        say("restarting into the new tree; this is when clients reconnect")
        failed = play.emqx("restart") or play.relup("status") or play.relup("verify")
    print()
    if failed:
        say(f"a command failed with exit code {failed}")
    say(told(report, took_s=took_s))
    return 0 if nothing_lost(report) and not failed else 1


def main() -> int:
    """Run the demo; Ctrl-C ends it and its node."""
    try:
        with stage(FROM) as play:
            return play_all(play)
    except KeyboardInterrupt:
        say("stopped; its node is ended")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
