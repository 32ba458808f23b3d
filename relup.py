"""The front door: finds the rooms of the house and hands over to the command line.

In a checkout the rooms (`engine`, `journal`, `projections`, `cli`) lie beside this file; the wheel keeps
them in `_relup/`, so that site-packages gets no top-level package called `cli` or `engine`.
"""

import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the `relup` command and leave with its exit code."""
    here = Path(__file__).resolve().parent
    private = here / "_relup"
    sys.path.insert(0, str(private if private.is_dir() else here))
    try:
        from cli.main import run
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    run()


if __name__ == "__main__":
    main()
