"""Where and what dies. Values only."""

from typing import Literal

import msgspec

Victim = Literal["tool", "vm", "both"]
Side = Literal["before", "after"]
Way = Literal["do", "undo"]


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """A SIGKILL at one boundary of the journal.

    Attributes:
        entry: The sequence number at whose append it happens.
        side: `before` the entry is written, or `after` it is durable.
    """

    entry: int
    side: Side
    victim: Victim


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool process is to do, and where it dies."""

    root: str
    catalog: str
    tarball: str
    command: Literal["upgrade", "recover"]
    way: Way = "do"
    kill: Kill | None = None
    vm_pid: int | None = None


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How a tool process ended by itself: the phase of the upgrade, or the error it was told."""

    phase: str | None = None
    error: str | None = None
    happened: str = ""
