"""A scene: a real node, a catalog, and relup's own rooms around them, as the command line would furnish them.

The node is asked through `fixtures.node`, which knows nothing of relup, so that it can bear witness.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.clock import SystemClock
from engine.errors import RelupError
from engine.finished import roll_back_finished
from engine.house import open_house, rehearsal_house
from engine.node import dial
from engine.node.discovery import KnownNode, configured_node, running_node
from engine.node.door import Node
from engine.node.errors import NodeNotFound
from engine.node.vm import Vm
from engine.options import Options
from engine.place import Place
from engine.progress import Silent
from engine.prospect import Prospect
from engine.release.package import Package, open_package
from engine.run import House
from engine.state import UpgradeState
from engine.upgrade import plan, upgrade
from fixtures.node import RunningNode
from journal.door import Journal
from journal.events import Entry, Requester
from journal.reader import Reader, read

FRONT_DOOR = Path(__file__).resolve().parents[2] / "relup.py"
BY = Requester(user="tester", host="here", pid=os.getpid(), tool_version="test")


def never() -> int:
    """Nobody asks to stop."""
    return 0


@dataclass(kw_only=True)
class Scene:
    """One node and what is done to it.

    Args:
        node: The node.
        catalog: The hops; None for those that RootDir has itself.
        interrupts: How often the operator has asked to stop.
        known: What is known of the node; None finds it out.
    """

    node: RunningNode
    catalog: Path | None = None
    interrupts: Callable[[], int] = never
    known: KnownNode | None = None

    @property
    def place(self) -> Place:
        return Place(self.node.root.resolve())

    @property
    def journal(self) -> Reader:
        """The journal as a reader of another process sees it."""
        return read(self.place.journal)

    def entries(self) -> list[Entry]:
        """All that was written down so far."""
        return list(self.journal.entries())

    def with_catalog(self, catalog: Path) -> "Scene":
        """The same scene with other hops."""
        return replace(self, catalog=catalog)

    # ------------------------------------------------------------ in this process

    def upgrade(self, tarball: Path, **options: Any) -> UpgradeState:
        """What `relup upgrade` does."""
        with self._opened("upgrade") as house:
            return upgrade(house, _opening(tarball), tarball=str(tarball), options=_chosen(options))

    def plan(self, tarball: Path, **options: Any) -> tuple[UpgradeState, Prospect]:
        """What `relup plan` does."""
        with rehearsal_house(self.place, self._furnished, clock=SystemClock()) as house:
            return plan(
                house,
                _opening(tarball),
                history=self.journal,
                tarball=str(tarball),
                options=_chosen(options),
            )

    def roll_back(self) -> UpgradeState:
        """What `relup rollback` does."""
        with self._opened("rollback") as house:
            return roll_back_finished(house)

    def connect(self) -> Node:
        """A connection of relup's own to the node."""
        known = self.known or self.known_now()
        return Vm(lambda: dial.connect(known))

    def known_now(self) -> KnownNode:
        """The node from its process, else from its configuration."""
        try:
            return running_node(self.place.root)
        except NodeNotFound:
            return configured_node(self.place.root)

    def _opened(self, command: str) -> Any:
        return open_house(
            self.place, self._furnished, clock=SystemClock(), node_name=self.node.name, command=command
        )

    def _furnished(self, journal: Journal) -> House:
        return House(
            place=self.place,
            data_dir=self.place.root / "data",
            catalog=self.catalog,
            journal=journal,
            connect=self.connect,
            clock=SystemClock(),
            progress=Silent(),
            interrupts=self.interrupts,
            by=BY,
        )

    # ------------------------------------------------------------ as a user does it

    def relup(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in a process of its own."""
        chosen = ["--root", str(self.node.root)]
        if self.catalog is not None:
            chosen += ["--catalog", str(self.catalog)]
        return subprocess.run(
            [sys.executable, str(FRONT_DOOR), *chosen, *words],
            capture_output=True,
            encoding="utf-8",
            env={**self.node.environment, **environment},
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def answer(self, *words: str) -> dict[str, Any]:
        """The one object of a command under --json."""
        said = self.relup("--json", *words).stdout
        assert said.count("\n") == 1, said
        found: dict[str, Any] = json.loads(said)
        return found


def _chosen(options: dict[str, Any]) -> Options:
    """Tests are not kind to a busy broker: they unpack at full speed unless something else is said."""
    return Options(**{"full_speed": True, **options})


def _opening(tarball: Path) -> Callable[[], Package]:
    """The package as the command line hands it over: what opening it meets is told when it is used."""
    try:
        package = open_package(tarball)
    except RelupError as error:
        met = error

        def refuse() -> Package:
            raise met

        return refuse
    return lambda: package
