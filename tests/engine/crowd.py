"""A crowded node, seen from inside over one connection that stays open: how many of everything it has.

A question asked a second time makes no atom, so that the counts can be compared to the last one.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from engine.node import dial
from engine.node.discovery import running_node
from engine.node.evaluation import Evaluation
from engine.term import Atom, charlist
from fixtures.node import RunningNode
from tests.boundaries.stage import Wrong, eventually
from tests.engine.scene import FRONT_DOOR

TIMEOUT_S = 120.0
CALM_S = 1.0

_COUNTS = """
    {length(erlang:processes()), length(erlang:ports()), length(ets:all()),
     lists:sort([atom_to_binary(M) || M <- erlang:loaded()]), erlang:system_info(atom_count)}.
"""
_SIZES = """
    lists:usort([tuple_size(sys:get_state(Pid, infinity))
        || {_, Pid, _, _} <- gen_server:call(emqx_connection_sup, which_children, infinity)]).
"""
_WATCH = """
    Watcher = spawn(fun() ->
        ok = net_kernel:monitor_nodes(true, [{node_type, all}]),
        receive stop_watching -> ok end
    end),
    true = register(watcher_of_nodes, Watcher).
"""
_SEEN = """
    {messages, Seen} = process_info(whereis(watcher_of_nodes), messages),
    [{What, atom_to_binary(Node), proplists:get_value(node_type, More)} || {What, Node, More} <- Seen].
"""
_BRINGS = """
    [{ok, _} = beam_lib:chunks(File, [atoms]) || File <- Beams],
    [{ok, _} = file:consult(File) || File <- Apps],
    ok.
"""


class Counts(msgspec.Struct, frozen=True):
    """What a node has."""

    processes: int
    ports: int
    tables: int
    modules: frozenset[str]
    atoms: int


class Crowd:
    """A node and a connection to it.

    Args:
        node: It runs.
    """

    def __init__(self, node: RunningNode) -> None:
        self.node = node
        self._connection = dial.connect(running_node(node.root))
        self._evaluation = Evaluation(self._connection)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def ask(self, expression: str, **bindings: Any) -> Any:
        """The value of an expression with its dot; bindings stand in alphabetic order, as erl_eval wants them."""
        return self._evaluation.value(expression, bindings, timeout_s=TIMEOUT_S)

    def fill(self, processes: int) -> None:
        """Start so many connection processes without a client."""
        start = "[{ok, _} = emqx_connection_sup:start_connection(undefined) || _ <- lists:seq(1, N)], ok."
        self.ask(start, N=processes)

    def state_sizes(self) -> list[int]:
        """The different sizes of the connections' state records."""
        return list(self.ask(_SIZES))

    def join(self, other: "Crowd") -> None:
        """Be in one cluster with another node, as visible nodes are."""
        name, cookie = Atom(other.node.name), Atom(other.node.cookie)
        joined = self.ask(
            "erlang:set_cookie(Node, Cookie), net_kernel:connect_node(Node).", Node=name, Cookie=cookie
        )
        assert joined == "true"

    def watch_nodes(self) -> None:
        """From now on every node that comes or goes is noted down, hidden ones too."""
        self.ask(_WATCH)

    def nodes_seen(self) -> list[tuple[str, str]]:
        """`nodeup` or `nodedown`, and `visible` or `hidden`, of every node since `watch_nodes`."""
        return [(str(what), str(kind)) for what, _, kind in self.ask(_SEEN)]

    def known_nodes(self) -> set[str]:
        """Every node that this one has ever heard of."""
        return set(map(str, self.ask("nodes(known).")))

    def atoms_brought_by(self, tree: Path) -> int:
        """How many atoms this node does not have that a release's own applications consist of; it has them then."""
        beams, apps = (
            [charlist(str(path)) for path in sorted(tree.glob(f"lib/emqx*/ebin/*.{end}"))]
            for end in ("beam", "app")
        )
        self.ask(_BRINGS, Apps=[], Beams=[])
        before = self.counts().atoms
        self.ask(_BRINGS, Apps=apps, Beams=beams)
        return self.counts().atoms - before

    def counts(self) -> Counts:
        """How many of everything there are now."""
        processes, ports, tables, modules, atoms = self.ask(_COUNTS)
        return Counts(processes, ports, tables, frozenset(map(bytes.decode, modules)), atoms)

    def settled_counts(self) -> Counts:
        """The counts once they stay as they are for a while: nodes that have just met talk for a moment."""
        deadline = time.monotonic() + TIMEOUT_S
        now = self.counts()
        while True:
            time.sleep(CALM_S)
            before, now = now, self.counts()
            if before == now:
                return now
            assert time.monotonic() < deadline, (before, now)

    def counts_like(self, wanted: Counts) -> Counts:
        """The counts once processes, ports, tables and modules are the wanted ones; atoms are not compared.

        Raises:
            Wrong: They never are.
        """

        def look() -> None:
            now = self.counts()
            for name in ("processes", "ports", "tables", "modules"):
                seen, was = getattr(now, name), getattr(wanted, name)
                if seen != was:
                    raise Wrong(f"{name}: {seen} instead of {was}")

        eventually(look, within_s=30)
        return self.counts()


@contextmanager
def crowded(node: RunningNode) -> Iterator[Crowd]:
    """The node with a connection that ends with the block."""
    crowd = Crowd(node)
    try:
        yield crowd
    finally:
        crowd.close()


class Ended(msgspec.Struct, frozen=True):
    """How a command ended and what it needed.

    Attributes:
        peak_bytes: The most memory that it, or any program that it ran and waited for, had resident.
    """

    code: int
    said: str
    peak_bytes: int


_MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""A small process between: a child's ru_maxrss begins with what its parent had resident, which here is the tests."""


def run_relup(node: RunningNode, *words: str) -> Ended:
    """Run the command line in a process of its own and measure it."""
    relup = [sys.executable, str(FRONT_DOOR), "--root", str(node.root), *words]
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURED, *relup],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env=node.environment,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    said, _, peak_kib = ran.stdout.rstrip().rpartition("\n")
    return Ended(ran.returncode, said, int(peak_kib) * 1024)
