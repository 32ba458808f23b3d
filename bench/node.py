"""How long one call to the node takes, beside Erlang's own `erl_call` in the same run."""

from bench.clock import below, command, medians
from bench.nodes import running_node
from bench.rows import Row
from engine.node import dial
from engine.node.discovery import running_node as discovered
from fixtures.node import RunningNode

CALLS = 2_000
ERL_CALLS = 15
GOAL_MS = 0.3
MS = 1_000
TIMEOUT_S = 5.0


def rows() -> list[Row]:
    """A call over one open connection, opening a connection, and a whole `erl_call`."""
    with running_node() as node:
        known = discovered(node.root)
        with dial.connect(known) as connection:
            call = medians(
                {"call": lambda: connection.call("erlang", "node", timeout_s=TIMEOUT_S)}, times=CALLS
            )["call"]
        once = medians(
            {
                "connect": lambda: dial.connect(known).close(),
                "erl_call": command(erl_call(node), environ=node.environment),
            },
            times=ERL_CALLS,
        )
    return [
        below(
            "node: one call, connection open",
            call * MS,
            unit="ms",
            goal=GOAL_MS,
            baseline=once["erl_call"] * MS,
        ),
        Row(name="node: open a connection", value=once["connect"] * MS, unit="ms"),
        Row(name="node: erl_call, the same call", value=once["erl_call"] * MS, unit="ms"),
    ]


def erl_call(node: RunningNode) -> list[str]:
    """The command line of the same call by Erlang's own tool."""
    program = next(node.root.glob("erts-*/bin/erl_call"))
    where = ["-address", f"127.0.0.1:{node.dist_port}"]
    return [str(program), "-R", "-c", node.cookie, *where, "-a", "erlang node []"]
