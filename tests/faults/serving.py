"""A real node that serves clients while relup works on it, and what must be so of it afterwards."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fixtures.broken import CRASH_ME
from fixtures.build import Built
from fixtures.clients import Swarm
from fixtures.node import RunningNode
from journal.events import AnyEvent, UpgradeRequested
from tests.boundaries.oracle import World, world
from tests.boundaries.stage import Wrong, eventually
from tests.engine.scene import Scene


class Told(msgspec.Struct, frozen=True):
    """How a command ended, what it answered, and what it showed on stderr meanwhile."""

    code: int
    answer: dict[str, Any]
    shown: str

    @property
    def error(self) -> dict[str, str]:
        found: dict[str, str] = self.answer["error"]
        return found


@dataclass
class Serving:
    """A node with clients: some publish all the time, most only stay connected."""

    node: RunningNode
    swarm: Swarm
    clients: int
    built: Built

    @classmethod
    @contextmanager
    def opened(
        cls, built: Built, root: Path, *, clients: int, busy: int, interval_ms: int = 500
    ) -> "Iterator[Serving]":
        """Run 5.10.4 with that many clients, one of them called CRASH_ME; the busy ones publish this often."""
        with RunningNode.install(built.tree("5.10.4"), root) as node:
            node.start()
            idle = clients - busy
            with Swarm(
                node.mqtt_port, count=clients, idle=idle, interval_ms=interval_ms, names=[CRASH_ME]
            ) as swarm:
                yield cls(node, swarm, clients, built)

    @property
    def scene(self) -> Scene:
        return Scene(node=self.node, catalog=self.built.reversible_catalog)

    def relup(self, *words: str, catalog: Path | None = None) -> Told:
        """A command as a user runs it, with its one JSON object."""
        scene = self.scene.with_catalog(catalog) if catalog else self.scene
        done = scene.relup("--json", *words)
        assert done.stdout.count("\n") == 1, done.stdout + done.stderr
        return Told(done.returncode, json.loads(done.stdout), done.stderr)

    def upgrade(self, tarball: Path, *more: str, catalog: Path | None = None) -> Told:
        """`relup upgrade`, at full speed."""
        return self.relup("upgrade", str(tarball), "--full-speed", *more, catalog=catalog)

    def last_events(self) -> list[AnyEvent]:
        """What the journal has of the upgrade begun last."""
        events = [entry.event for entry in self.scene.entries()]
        begun = max(n for n, event in enumerate(events) if isinstance(event, UpgradeRequested))
        return events[begun:]

    def world(self) -> World:
        """Everything that can be seen of the node and its RootDir, without relup."""
        return world(self.node)

    def require(self, wanted: World) -> None:
        """The node is as it was when `wanted` was seen, and no client has been cut off.

        Raises:
            Wrong: With what is not so.
        """
        eventually(lambda: self._require(wanted))

    def _require(self, wanted: World) -> None:
        now = self.world()
        differing = [name for name in World.__struct_fields__ if getattr(now, name) != getattr(wanted, name)]
        if differing:
            raise Wrong("; ".join(f"{name}: {getattr(now, name)}" for name in differing))
        if cut_off := self.swarm.report().disconnected:
            raise Wrong(f"clients cut off: {cut_off}")

    @contextmanager
    def held(self, process: str) -> Iterator[None]:
        """For the length of the block a process answers nobody.

        Args:
            process: An Erlang expression for it.
        """
        waits = "fun(S) -> Us ! held, receive let_go -> S end end"
        self.node.eval(
            f"Held = {process}, Us = self(), spawn(fun() -> sys:replace_state(Held, {waits}, infinity) end),"
            " receive held -> ok end"
        )
        try:
            yield
        finally:
            self.node.eval(f"{process} ! let_go")
