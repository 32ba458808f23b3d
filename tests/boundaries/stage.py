"""One node on its stage: set up, struck, recovered, looked at. Each run ends with what was wrong, or nothing."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree

import msgspec

from engine.history import last_upgrade
from engine.state import Phase, UpgradeState
from fixtures.build import Built
from fixtures.clients import Swarm
from fixtures.node import RunningNode
from journal.events import Entry
from journal.reader import read
from tests.boundaries.oracle import World, tree_md5s, world
from tests.boundaries.point import End, Kill, Way

CLIENTS = 3
TOOL_TIMEOUT_S = 300
CHANGED = {"emqx", "emqx_retainer"}
"""The applications that the hop points to the new tree; a boot from it points all of them there."""


class Wrong(AssertionError):
    """After a recovery something is not as it must be."""


@dataclass(frozen=True)
class Play:
    """One upgrade that is struck at every boundary.

    Attributes:
        name: For the report.
        tarball: The target.
        catalog: Where its hop lies.
        succeeds: Undisturbed, it ends at the target; else it fails and is rolled back.
        entries: What an undisturbed run writes, in order.
    """

    name: str
    tarball: Path
    catalog: Path
    succeeds: bool
    entries: tuple[Entry, ...] = ()


@dataclass
class Stage:
    """A RootDir and its node, used for one run after the other by one worker."""

    built: Built
    folder: Path
    node: RunningNode | None = None
    swarm: Swarm | None = None
    runs: int = 0
    _md5s: dict[str, dict[str, str]] = field(default_factory=dict)

    def fresh(self) -> RunningNode:
        """A node that runs 5.10.4 with clients, its RootDir as installed."""
        if self.node is None or not self._is_as_installed(self.node):
            self.close()
            self.runs += 1
            root = self.folder / f"root{self.runs}"
            self.node = RunningNode.install(self.built.tree("5.10.4"), root).start()
            self.swarm = Swarm(self.node.mqtt_port, count=CLIENTS, interval_ms=100).start()
        return self.node

    def _is_as_installed(self, node: RunningNode) -> bool:
        """A rolled back node may serve again; only its journal is begun anew."""
        if self.swarm is None or not node.is_running:
            return False
        rmtree(node.root / "relup", ignore_errors=True)
        now = world(node)
        return not self._differences(now, "5.10.4") and not self._client_losses(now)

    def md5s(self, version: str) -> dict[str, str]:
        """Module md5s of a release's own applications."""
        if version not in self._md5s:
            self._md5s[version] = tree_md5s(self.built, version)
        return self._md5s[version]

    def close(self) -> None:
        """End node and clients."""
        if self.swarm is not None:
            self.swarm.end()
            self.swarm = None
        if self.node is not None:
            self.node.end()
            rmtree(self.node.root, ignore_errors=True)
            self.node = None

    # ------------------------------------------------------------ the tool

    def tool(self, play: Play, command: str, *, way: Way = "do", kill: Kill | None = None) -> End | None:
        """Run the tool; None when it was killed."""
        assert self.node is not None
        order = {
            "root": str(self.node.root),
            "catalog": str(play.catalog),
            "tarball": str(play.tarball),
            "command": command,
            "way": way,
            "kill": kill,
            "vm_pid": self.node.os_pid if self.node.is_running else None,
        }
        words = [sys.executable, "-m", "tests.boundaries.tool", msgspec.json.encode(order).decode()]
        done = subprocess.run(words, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False)
        if done.returncode == -9:
            return None
        if done.returncode != 0:
            raise Wrong(f"the tool crashed: {done.stderr[-2000:]}")
        return msgspec.json.decode(done.stdout, type=End)

    def told(self) -> UpgradeState | None:
        """What the journal's fold says of the last upgrade."""
        assert self.node is not None
        return last_upgrade(read(self.node.root / "relup" / "journal"))

    # ------------------------------------------------------------ judging

    def require(self, version: str, *, booted_anew: bool) -> None:
        """The node runs `version` whole, nothing is left over, and the clients have stayed.

        Raises:
            Wrong: With everything that is not so.
        """
        assert self.node is not None
        now = world(self.node)
        wrong = list(self._differences(now, version))
        if not booted_anew:
            wrong += self._client_losses(now)
        if wrong:
            raise Wrong("; ".join(wrong))

    def _differences(self, now: World, version: str) -> list[str]:
        wanted = self.md5s(version)
        differing = [module for module in wanted if now.md5s.get(module) != wanted[module]]
        extra = [module for module in now.md5s if module not in wanted]
        upgraded = version != "5.10.4"
        checks = {
            f"modules of another release: {differing}": not differing,
            f"modules that {version} does not have: {extra}": not extra,
            f"suspended: {now.suspended}": now.suspended == 0,
            f"agent modules left: {now.agent_modules}": now.agent_modules == 0,
            f"leftovers: {now.leftovers}": not now.leftovers,
            f"marker {now.marker}": now.marker == (version if upgraded else None),
            f"trees {now.trees}": now.trees == ((version,) if upgraded else ()),
            f"metrics state of size {now.state_sizes[:1]}": now.state_sizes[:1]
            == ((4,) if upgraded else (3,)),
            f"connection states {now.state_sizes[1:]}": set(now.state_sizes[1:]) <= {6 if upgraded else 5},
            f"code path in relup: {now.in_relup}": now.in_relup >= CHANGED if upgraded else not now.in_relup,
        }
        return [text for text, holds in checks.items() if not holds]

    def _client_losses(self, now: World) -> list[str]:
        assert self.swarm is not None
        report = self.swarm.report()
        lost = [] if report.connected == CLIENTS else [f"clients cut off: {report.disconnected}"]
        return lost if len(now.state_sizes) == 1 + CLIENTS else [*lost, "a connection process is missing"]

    def require_told(self, *, target_runs: bool) -> None:
        """The journal says the same as the world: a finished upgrade, or nothing left to do."""
        state = self.told()
        phase = state.phase if state else None
        wanted = {Phase.SUCCEEDED} if target_runs else {Phase.ENDED, None}
        if phase not in wanted:
            raise Wrong(f"the journal says {phase}, target runs: {target_runs}")


def eventually(check: Callable[[], None], *, within_s: float = 20.0) -> None:
    """Clients need a moment to be counted, and to see that they are cut off; everything else is immediate."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return check()
        except Wrong:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
