"""What `relup plan` says of the processes that run old code of the hop's modules."""

from cli.plan import blockers
from engine.node.door import HeldFuns, ProcessSeen
from engine.prospect import Prospect
from engine.release.findings import Judgement

AT_WORK = ProcessSeen(pid="<0.1.0>", name="emqx_metrics", module="emqx_metrics")
SERVING = ProcessSeen(
    pid="<0.2.0>", name="emqx_connection:init/2", module="emqx_connection", client_id="car-7"
)


def said_of(*processes: ProcessSeen) -> list[str]:
    prospect = Prospect(
        checks=(),
        judgement=Judgement(),
        blockers=processes,
        held_funs=HeldFuns(),
        processes={},
        disk_bytes=0,
    )
    return list(blockers(prospect))


def test_blockers_are_counted_with_their_clients_and_named() -> None:
    """Before --kill-blockers is said, it is told how many clients that costs at most."""
    head, first, second = said_of(AT_WORK, SERVING)
    assert head.startswith("2 processes run old code of a module of the hop, 1 of them for a client;")
    assert "--kill-blockers" in head
    assert first == "  <0.1.0> emqx_metrics in emqx_metrics"
    assert second == "  <0.2.0> emqx_connection:init/2 in emqx_connection, client car-7"


def test_of_no_blocker_nothing_is_said() -> None:
    """The plan stays short."""
    assert said_of() == []
