"""Unpack one package in a process of its own and print what came of it: for tests that watch the process.

`python -m tests.engine.release.unpack_one TARBALL STAGING [LIMIT=VALUE …]` prints the name of the refusal or
`unpacked`, and the peak of resident memory in KiB.
"""

import sys
from pathlib import Path

from engine.errors import RelupError
from engine.release.limits import Limits
from engine.release.package import open_package


def _peak_kib() -> int:
    """VmHWM: ru_maxrss would also hold the peak of the process that started this one."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def main(tarball: str, staging: str, *limits: str) -> None:
    """Verify and unpack at full speed."""
    bounds = {name: int(value) for name, _, value in (limit.partition("=") for limit in limits)}
    try:
        with open_package(Path(tarball)) as package:
            package.verify()
            print("ready", flush=True)
            package.unpack(Path(staging), limits=Limits(**bounds), low_priority=False)
        print("unpacked")
    except RelupError as refused:
        print(refused.name)
        print(refused.next, file=sys.stderr)
    print(_peak_kib())


if __name__ == "__main__":
    main(*sys.argv[1:])
