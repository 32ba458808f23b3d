"""The door to the node: what the engine may ask of the VM and what it may have done there.

Values and one `Protocol`; no socket, no Erlang term beyond arguments that are passed through. The real
node (`engine.node.vm`) and the in-memory one of the tests stand behind the same door and pass the same
contract tests. Md5s are lower-case hex, pids Erlang's own text (`<0.123.0>`, as the node prints it).

Everything under "reading" leaves nothing behind in the VM: no module, no atom, no process. Everything
under "changing" goes through the agent, is named by `StepKey`, and is never run twice under one key.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol

import msgspec

from engine.term import Term


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """A value that crosses the door."""


# ---------------------------------------------------------------- reading


class NodeFacts(Frozen, frozen=True):
    """The node as it is now. `os_pid`, `os_start_time` and `creation` are its incarnation."""

    name: str
    os_pid: int
    os_start_time: int
    """Clock ticks since boot, field 22 of /proc/<pid>/stat."""
    creation: int
    otp_release: str
    erts_version: str
    running_version: str | None
    """`emqx_release:version/0`; None when the node has no such function."""
    boot_tree: str
    """`code:root_dir/0`: RootDir itself or a tree under its relup/."""


class Application(Frozen, frozen=True):
    """An application as the application controller knows it."""

    version: str
    running: bool


class ProcessSeen(Frozen, frozen=True):
    """A process worth naming to an operator."""

    pid: str
    name: str
    """Registered name, else initial call such as `emqx_connection:init/4`."""
    module: str
    client_id: str | None = None
    """MQTT client id where EMQX's connection manager knows one."""

    @property
    def told(self) -> str:
        """For people: who it is, what it runs and whom it serves."""
        client = f", client {self.client_id}" if self.client_id else ""
        return f"{self.pid} {self.name} in {self.module}{client}"


class ModuleUsers(Frozen, frozen=True):
    """Processes whose callback module is the module: what an update of it will suspend.

    `unsupervised` run the module but hang under no supervisor that answers: an update cannot reach them. Who
    merely calls a function of the module is not among them. `silent` are the supervisors of the whole node that
    did not answer: they may have more, and an update is refused for them.
    """

    supervised: int
    unsupervised: tuple[ProcessSeen, ...] = ()
    silent: tuple[ProcessSeen, ...] = ()


class HeldFun(Frozen, frozen=True):
    """Funs of a module that lie somewhere: they fail at their next call once their code is purged.

    Attributes:
        module: The module they were made in.
        where: For people: `ETS table emqx_hooks`, `state of emqx_broker`.
        is_old: They are of an older code than the live one already.
        count: How many were seen there.
    """

    module: str
    where: str
    is_old: bool
    count: int


class HeldFuns(Frozen, frozen=True):
    """What a bounded search found; never complete."""

    found: tuple[HeldFun, ...] = ()
    time_ran_out: bool = False


# ---------------------------------------------------------------- changing


class ModuleFile(Frozen, frozen=True):
    """One beam to make live: read in the VM from `file`, refused when its module md5 is not `md5`."""

    module: str
    file: str
    md5: str


class CodePathMove(Frozen, frozen=True):
    """One application's ebin folder in the code path: `old` is replaced in place by `new`.

    None as `old` adds `new` at the end, None as `new` removes `old`.
    """

    application: str
    old: str | None
    new: str | None


class SetCodePath(Frozen, frozen=True, tag="set_code_path"):
    """Point applications to another tree; data/patches stays first."""

    moves: tuple[CodePathMove, ...]


class LoadModules(Frozen, frozen=True, tag="load_modules"):
    """Make modules live, prepared first and switched in batches; those already live are skipped.

    Attributes:
        modules: In load order.
        remove: Modules to delete instead (undo of modules that were new).
        max_stall_ms: Budget of one switch; batches grow and shrink to keep it.
        blocker_timeout_ms: How long processes in old code are nudged before it is given up.
        kill_blockers: Purge them away instead of giving up.
        on_load_timeout_ms: For the on_load functions of all modules together; the one that runs then is ended. To
            load a library takes milliseconds, and the step is silent meanwhile.
    """

    modules: tuple[ModuleFile, ...]
    remove: tuple[str, ...] = ()
    max_stall_ms: int = 50
    blocker_timeout_ms: int = 10_000
    kill_blockers: bool = False
    on_load_timeout_ms: int = 30_000


class ClearOldCode(Frozen, frozen=True, tag="clear_old_code"):
    """Bring processes out of the old code of modules and purge it, as a load does first; switch nothing.

    Who lingers is nudged and waited for, and refuses it in the end.
    """

    modules: tuple[str, ...]
    blocker_timeout_ms: int = 10_000


class ChangeCode(Frozen, frozen=True, tag="change_code"):
    """Suspend a module's processes, switch the code, change their states, resume.

    `up`: suspend → load → change_code(FromVersion, Extra) → resume.
    `down`: suspend → change_code({down, FromVersion}, Extra) in the new code → load `module` (the old
    file) → resume.

    The way back is taken by the VM alone when a process fails before all are changed, if `old` is given.
    """

    module: ModuleFile
    old: ModuleFile | None
    direction: Literal["up", "down"]
    from_version: str
    """The release version the running states come from; for `down` the one they go back to."""
    extra: Term
    suspend_timeout_ms: int = 2_000
    change_timeout_ms: int = 30_000
    blocker_timeout_ms: int = 10_000
    kill_blockers: bool = False


class RestartApplication(Frozen, frozen=True, tag="restart_application"):
    """Stop → unload → purge → load modules and .app → start, right there.

    Who lingers in old code and is no process of the application refuses it (or is killed) before it stops.
    """

    application: str
    modules: tuple[ModuleFile, ...]
    remove: tuple[str, ...]
    """Modules of the running version that the other one lacks."""
    app_file: str
    """The .app to load, absolute."""
    timeout_ms: int = 60_000
    """For its stop, and once more for its start."""
    max_stall_ms: int = 50
    blocker_timeout_ms: int = 10_000
    kill_blockers: bool = False
    on_load_timeout_ms: int = 30_000


class CallFunction(Frozen, frozen=True, tag="call_function"):
    """Call a function in the VM: a hop's `apply` or a post-upgrade callback. At least once."""

    module: str
    function: str
    arguments: tuple[Term, ...]
    timeout_ms: int = 300_000


StepOrder = SetCodePath | LoadModules | ClearOldCode | ChangeCode | RestartApplication | CallFunction


class StepKey(Frozen, frozen=True):
    """Names one try of one step: a repeated key returns the stored outcome and is never run twice."""

    upgrade_id: str
    step: int
    attempt: int
    direction: Literal["do", "undo"]


class SuspendedFor(Frozen, frozen=True):
    pid: str
    name: str
    us: int


class Ended(Frozen, frozen=True):
    """A process that died while a hop was at work, with the reason the VM gives.

    The reason of a connection begins with `stopped: ` where the restart of its application ended it.
    """

    pid: str
    name: str
    reason: str
    client_id: str | None = None


class StepDone(Frozen, frozen=True, tag="done"):
    """The step did its work."""

    modules: int = 0
    skipped: int = 0
    batches: int = 0
    worst_stall_us: int = 0
    processes: int = 0
    worst_suspend_us: int = 0
    slowest: tuple[SuspendedFor, ...] = ()
    """At most ten."""
    ended: tuple[Ended, ...] = ()
    """All of them: they are counted against what the operator accepts."""
    returned: str | None = None
    notes: tuple[str, ...] = ()


class StepNotDone(Frozen, frozen=True, tag="not_done"):
    """The step failed in the VM.

    Attributes:
        name: EMQX's error name where it has one (`code_change_failed`, `failed_to_stop_app`), else ours
            (`suspend_timeout`, `lingering_processes`, `module_md5_mismatch`, `load_failed`,
            `app_still_stopping`, `failed_to_start_app`, `call_failed`, `call_timed_out`).
        detail: What the VM saw, as text for people.
        reverted: The VM is as it was before the step; else `live` says what is.
        live: The md5 of each of the step's modules now; None for one not loaded.
    """

    name: str
    detail: str
    reverted: bool
    live: Mapping[str, str | None] = {}
    ended: tuple[Ended, ...] = ()


class StillRunning(Frozen, frozen=True, tag="running"):
    """The agent is at it; `stage` in its words."""

    key: StepKey
    stage: str


StepReport = StepDone | StepNotDone


class StepProgress(Frozen, frozen=True):
    """How far a running step is: `done` of `total` `unit`s ("modules", "processes")."""

    done: int
    total: int
    unit: str


class Node(Protocol):
    """The one pair of hands on the VM. Every method has a deadline and may raise `NodeUnreachable`."""

    # reading
    def observe(self) -> NodeFacts: ...

    def module_md5s(self, modules: Iterable[str] | None = None) -> dict[str, str]:
        """Md5 of the loaded ones among `modules` (of all loaded modules for None)."""
        ...

    def module_files(self, modules: Iterable[str]) -> dict[str, str]:
        """`code:which/1` of the loaded ones: the beam each was loaded from."""
        ...

    def applications(self) -> dict[str, Application]: ...

    def code_path(self) -> tuple[str, ...]: ...

    def suspended(self) -> tuple[ProcessSeen, ...]:
        """Processes that `sys:suspend` (or the VM) has stopped now."""
        ...

    def lingering(self, modules: Iterable[str]) -> tuple[ProcessSeen, ...]:
        """Processes that still run OLD code of one of the modules: a purge would kill them."""
        ...

    def module_users(self, modules: Iterable[str]) -> dict[str, ModuleUsers]: ...

    def held_funs(self, modules: Iterable[str], *, budget_ms: int = 2_000) -> HeldFuns:
        """Funs of the modules in tables, persistent terms, process dictionaries and the states of services.

        A purge does not see them. Bounded in rows, nodes and time, and never looked for in connections.
        """
        ...

    def connections(self) -> int | None:
        """EMQX's own count of MQTT connections; None when it has no such counter, or the counter fails."""
        ...

    def client_applications(self) -> dict[str, int]:
        """Of at most a thousand clients of EMQX's connection manager, how many belong to which application."""
        ...

    def evaluate_script(self, text: str) -> Term:
        """The value of an Erlang script, evaluated in the node: only for hop files that an operator trusts.

        Raises:
            RemoteException: It raised.
        """
        ...

    # changing
    def perform(
        self, key: StepKey, order: StepOrder, *, on_progress: Callable[[StepProgress], None] | None = None
    ) -> StepReport:
        """Have one step done. Installs the agent when it is not there.

        Raises:
            ConnectionLost: Nobody knows how it ended; ask `outcome` over a new connection.
            AgentBusy: The agent is at another step.
        """
        ...

    def ended(self) -> tuple[Ended, ...]:
        """Clients' connections that ended since the first live step, in no report of a step yet, with the reason.

        Those that were closed are none of them, and those that an update or a purge ended stand in its report.
        """
        ...

    def outcome(self, key: StepKey) -> StepReport | StillRunning | None:
        """What the agent knows of a step; None when it knows nothing of it (or is not there)."""
        ...

    def dismiss(self) -> None:
        """Remove the agent: its module and its name. Nothing to do when it is not there."""
        ...

    def close(self) -> None: ...
