"""How long `relup status` takes from the shell, beside Python doing nothing in the same run."""

import sys
from pathlib import Path

from bench.clock import below, command, medians
from bench.nodes import running_node
from bench.rows import Row

RELUP = Path(sys.executable).parent / "relup"
TIMES = 21
GOAL_S = 0.25


def rows() -> list[Row]:
    """`relup status` with the node up, and its floor: Python, and Python with the two libraries it must load."""
    with running_node() as node:
        # Installed modules lie compiled beside their source; those of a checkout may only when this is unset.
        environ = {key: text for key, text in node.environment.items() if key != "PYTHONDONTWRITEBYTECODE"}
        taken = medians(
            {
                "status": command([str(RELUP), "--root", str(node.root), "status"], environ=environ),
                "pass": command([sys.executable, "-c", "pass"]),
                "libraries": command([sys.executable, "-c", "import msgspec, lmdb"]),
            },
            times=TIMES,
        )
    return [
        below("cli: relup status, node up", taken["status"], unit="s", goal=GOAL_S, baseline=taken["pass"]),
        Row(name="cli: python3 -c pass", value=taken["pass"], unit="s"),
        Row(name="cli: python3 -c 'import msgspec, lmdb'", value=taken["libraries"], unit="s"),
    ]
