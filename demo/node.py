"""`make demo-node`: a running node with clients, and the commands to try on it, until Ctrl-C."""

import sys
import time
from pathlib import Path

from demo.stage import RELUP, Stage, say, stage
from fixtures.clients import Swarm, SwarmFailed, SwarmReport

FROM, TARGETS = "5.10.4", ("5.10.5", "5.10.6")
CLIENTS = 20
LOOK_S = 1.0


def invitation(play: Stage) -> str:
    """What to type in another terminal."""
    first, second = (f"$PACKAGES/{play.built.tarball(target).name}" for target in TARGETS)
    lines = [
        f"export RELUP_ROOT={play.node.root}",
        f"export RELUP_BIN={RELUP}",
        f"export PATH={RELUP.parent}:$PATH",
        f"PACKAGES={play.built.tarball(FROM).parent}",
        "relup status",
        "relup list-supported-paths",
        f"relup plan {first}",
        f"relup upgrade {first}",
        "relup logs",
        "relup verify",
        f"relup upgrade {second}        # on top of it, with no restart between",
        "$RELUP_ROOT/bin/emqx ctl relup status",
        "$RELUP_ROOT/bin/emqx restart        # boots the new tree; the clients here do not reconnect",
    ]
    return "\n".join(f"    {line}" for line in lines)


def seen(report: SwarmReport) -> str:
    """The clients in one line."""
    return (
        f"{report.connected}/{report.clients} clients connected, {report.delivered} messages delivered, "
        f"worst gap {report.worst_gap_ms:.0f} ms"
    )


def watch(swarm: Swarm) -> None:
    """Say how the clients are, over and over on a terminal, else only when a connection was lost."""
    connected = CLIENTS
    while True:
        time.sleep(LOOK_S)
        report = swarm.report()
        if sys.stdout.isatty():
            print(f"\r\x1b[Kdemo: {seen(report)}", end="", flush=True)
        elif report.connected != connected:
            say(seen(report))
        connected = report.connected


def main() -> int:
    """Keep the node until Ctrl-C."""
    root: Path | None = None
    try:
        with stage(FROM) as play, Swarm(play.node.mqtt_port, count=CLIENTS, prefix="demo") as swarm:
            root = play.node.root
            say(f"EMQX {FROM} runs in {root} with {CLIENTS} clients. In another terminal:\n")
            print(invitation(play), flush=True)
            print()
            say("Ctrl-C here ends the node, its clients and its folder")
            watch(swarm)
    except (KeyboardInterrupt, SwarmFailed):
        # Ctrl-C reaches the clients' process too, sometimes before us.
        print()
        say("the node is ended" if root else "stopped before the node ran")
    return 0


if __name__ == "__main__":
    sys.exit(main())
