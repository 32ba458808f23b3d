"""Holds the lock given as the first argument until its stdin ends: `python -m tests.engine.hold_lock PATH`.

With `--with-child` it starts a program of its own first and prints its pid, as relup's rehearsal does.
"""

import subprocess
import sys
from pathlib import Path

from engine.lock import held

COMMAND = "relup upgrade"


def main() -> None:
    """Say when it is held, and end with stdin."""
    with held(Path(sys.argv[1]), command=COMMAND):
        child = subprocess.Popen(["sleep", "60"]) if "--with-child" in sys.argv else None
        print(child.pid if child else "held", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
