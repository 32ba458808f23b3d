"""The stage of a demo: releases built, a node of its own started, our `relup` beside it, all gone at the end.

Everything lies in one fresh folder under build/, so that nothing on the machine is touched and two demos can
run side by side. The node is ended by its pid however the demo ends.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from fixtures.build import Built, build
from fixtures.node import RunningNode

HOUSE = Path(__file__).resolve().parent.parent
RELUP = Path(sys.executable).parent / "relup"
"""Our command, as `make` installed it beside this Python."""


@dataclass(frozen=True)
class Stage:
    """What the demo plays with.

    Attributes:
        built: The releases and their packages.
        node: The running node; its catalog has the hops.
    """

    built: Built
    node: RunningNode

    def relup(self, *words: str) -> int:
        """Run one `relup` command for the node, shown as it would be typed; its exit code."""
        return self._shown(["relup", *words], [str(RELUP), *words])

    def emqx(self, *words: str) -> int:
        """Run one `bin/emqx` command of the node, shown as it would be typed; its exit code."""
        return self._shown(["bin/emqx", *words], [str(self.node.bin), *words])

    def _shown(self, typed: list[str], command: list[str]) -> int:
        print(f"\n$ {' '.join(typed)}", flush=True)
        environment = {**self.node.environment, "RELUP_ROOT": str(self.node.root), "RELUP_BIN": str(RELUP)}
        return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode


@contextmanager
def stage(version: str) -> Iterator[Stage]:
    """Build what is not built, start `version`, and leave nothing behind: no node, no folder.

    SIGTERM ends it like Ctrl-C does.

    Yields:
        The stage with its node running and no client connected.
    """
    signal.signal(signal.SIGTERM, _stop)
    say("building the releases (once)")
    built = build()
    folder = Path(tempfile.mkdtemp(prefix=f"demo-{os.getpid()}-", dir=built.root.parent))
    try:
        with RunningNode.install(built.tree(version), folder / "emqx") as node:
            shutil.copytree(built.catalog, node.root / "relup" / "catalog")
            say(f"starting EMQX {version} (a miniature of it) as {node.name}")
            yield Stage(built, node.start())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def say(text: str) -> None:
    """One line of the demo's own."""
    print(f"demo: {text}", flush=True)


def _stop(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
