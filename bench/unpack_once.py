"""One verify and unpack, and if wanted the deploy, in a fresh process: what it took, as one line of JSON.

`python -m bench.unpack_once TARBALL ROOT [--deploy] [--low-priority]`
"""

import json
import sys
import time
from pathlib import Path

from bench.memory import peak_mib
from engine.release.deploy import deploy_tree
from engine.release.package import open_package


def main(tarball: Path, root: Path, *options: str) -> None:
    """Work below `<root>/relup`, which must not be there."""
    low = "--low-priority" in options
    staging = root / "relup" / ".staging-bench"
    began = time.perf_counter()
    with open_package(tarball) as package:
        package.verify(low_priority=low)
        manifest = package.unpack(staging, low_priority=low)
    if "--deploy" in options:
        deploy_tree(staging, root / "relup" / "5.10.5", manifest=manifest, low_priority=low)
    taken = time.perf_counter() - began
    print(json.dumps({"seconds": taken, "peak_mib": peak_mib(), "files": len(manifest.files)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
