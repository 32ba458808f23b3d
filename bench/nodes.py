"""A node for a bench: a fresh root in a folder of its own, ended and removed when the bench is over."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fixtures.build import build
from fixtures.node import RunningNode


@contextmanager
def running_node(version: str = "5.10.4") -> Iterator[RunningNode]:
    """A started node of the miniature EMQX, no client connected."""
    built = build()
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=built.root.parent))
    try:
        with RunningNode.install(built.tree(version), folder / "emqx") as node:
            yield node.start()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
