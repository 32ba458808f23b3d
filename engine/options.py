"""What the operator chose for one upgrade. Values and their defaults; recorded in `UpgradeRequested`."""

from typing import Any

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The choices that change what an upgrade does.

    Attributes:
        force: Go on although data/patches holds beams.
        full_speed: Unpack at normal CPU and I/O priority.
        suspend_timeout_ms: One deadline for all processes of an update to stop.
        max_stall_ms: Budget of one switch of modules.
        blocker_timeout_ms: How long processes in old code are nudged before it is given up.
        kill_blockers: Purge such processes away instead of giving up.
        max_lost: Connections the hop may end before it is rolled back.
        watch_ms: How long clients are served by the new code before the hop goes on to what cannot be undone.
        plan_id: Refuse when anything differs from this plan.
        strict: Findings that are warnings refuse as errors do.
        trust_script: Hop files that are scripts are evaluated in the node.
        waivers: Findings accepted one by one, `CODE:SUBJECT`.
    """

    force: bool = False
    full_speed: bool = False
    suspend_timeout_ms: int = 2_000
    max_stall_ms: int = 50
    blocker_timeout_ms: int = 10_000
    kill_blockers: bool = False
    max_lost: int = 0
    watch_ms: int = 1_000
    plan_id: str | None = None
    strict: bool = False
    trust_script: bool = False
    waivers: tuple[str, ...] = ()

    def recorded(self) -> dict[str, Any]:
        """The choices that differ from the defaults, as plain values."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields

    @staticmethod
    def from_record(fields: dict[str, Any]) -> "Options":
        """The choices of an upgrade that was begun by an earlier run, perhaps of an older relup."""
        return msgspec.convert(fields, Options)
