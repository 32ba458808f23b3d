"""A node in memory at the same door as the real one: fast, breakable, and held to the same contract.

`FakeVm` is the world: loaded modules, processes with a state of some release's shape, applications, the
code path, the agent's outcomes. `FakeNode` is one connection to it. Every change of the world passes a named
point; `FakeVm.at_point` may raise `VmDies` there (the world falls back to what it boots) or `ToolDies` (the
VM goes on to the end of the step by itself, the caller hears nothing more).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

import msgspec

from engine.node import door
from engine.node.errors import AgentBusy, ConnectionLost, NodeDown
from engine.release.terms import read_term
from engine.term import Term

Trouble = Literal["crash", "block", "silent", "late"]


class VmDies(Exception):
    """Raised by `at_point`: the VM is killed here."""


class ToolDies(BaseException):
    """Raised by `at_point`: the tool is killed here. Nothing of ours may catch it."""


@dataclass
class FakeProcess:
    """A process; `shape` is the md5 of the code its state fits, `in_old_code` what a purge would kill."""

    pid: str
    module: str
    shape: str
    supervised: bool = True
    suspended: bool = False
    in_old_code: bool = False
    can_be_nudged: bool = True
    client_id: str | None = None
    trouble: dict[str, Trouble] = field(default_factory=dict)
    """What goes wrong at `suspend`, `up`, `down`."""

    @property
    def seen(self) -> door.ProcessSeen:
        return door.ProcessSeen(
            pid=self.pid, name=f"{self.module}:init/1", module=self.module, client_id=self.client_id
        )


@dataclass
class Booted:
    """What a boot brings: module md5s and files, applications, code path, processes by module."""

    boot_tree: str
    running_version: str
    modules: dict[str, tuple[str, str]]
    """Md5 and file by module."""
    applications: dict[str, door.Application]
    code_path: tuple[str, ...] = ()
    processes: dict[str, int] = field(default_factory=dict)
    """How many processes each module has."""


class FakeVm:
    """The world of one node.

    Args:
        boot: What it boots, asked at each start.
        name: The node's name.
        failing: What fails: files that are no beams, functions ("module:function") that crash, applications
            that do not start with a .app file ("application@file").
    """

    def __init__(
        self, boot: Callable[[], Booted], *, name: str = "emqx@127.0.0.1", failing: Iterable[str] = ()
    ) -> None:
        self._boot = boot
        self.name = name
        self.failing = set(failing)
        self.at_point: Callable[[str], None] = lambda _: None
        self.held_funs: list[door.HeldFun] = []
        self.tool_died: ToolDies | None = None
        self.crashed: list[door.Ended] = []
        """Clients' connections that ended otherwise than by being closed, in no step's report yet."""
        self.calls: list[str] = []
        """Functions called, oldest first."""
        self._starts = count(1)
        self._pids = count(100)
        self.is_running = False
        self.start()

    def start(self) -> None:
        """Boot: a new incarnation; live changes and the agent of the one before are gone."""
        booted = self._boot()
        self.booted = booted
        self.start_number = next(self._starts)
        self.modules = dict(booted.modules)
        self.applications = dict(booted.applications)
        self.path = booted.code_path
        self.processes: dict[str, FakeProcess] = {}
        for module, number in booted.processes.items():
            for _ in range(number):
                self.spawn(module)
        self.outcomes: dict[door.StepKey, door.StepReport] = {}
        self.running: tuple[door.StepKey, str] | None = None
        self.is_running = True

    def die(self) -> None:
        """End at once; every connection breaks."""
        self.is_running = False

    def spawn(self, module: str, **more: object) -> FakeProcess:
        """A new process of a module, with the state its live code makes."""
        process = FakeProcess(
            pid=f"<0.{next(self._pids)}.0>",
            module=module,
            shape=self.md5(module) or "",
            **more,  # type: ignore[arg-type]
        )
        self.processes[process.pid] = process
        return process

    def end(self, process: FakeProcess, reason: str) -> None:
        """A client's connection ends."""
        del self.processes[process.pid]
        if reason != "normal" and not reason.startswith("{shutdown,"):
            self.crashed.append(_ended(process, reason))

    def md5(self, module: str) -> str | None:
        """The live md5."""
        found = self.modules.get(module)
        return found[0] if found else None

    def point(self, name: str) -> None:
        """A moment at which something may die. The death of the tool is told when the step has ended: the
        agent goes on without it.
        """
        try:
            self.at_point(name)
        except ToolDies as death:
            self.tool_died = self.tool_died or death

    def misfits(self) -> list[FakeProcess]:
        """Processes that run code of another shape than their state: what must never be."""
        return [
            process
            for process in self.processes.values()
            if process.supervised and not process.suspended and process.shape != self.md5(process.module)
        ]

    # ------------------------------------------------------------ the steps

    def do(self, order: door.StepOrder) -> door.StepReport:
        """What the agent does."""
        match order:
            case door.SetCodePath():
                return self._set_code_path(order)
            case door.LoadModules():
                return self._load_modules(order)
            case door.ClearOldCode():
                return self._clear_old_code(order)
            case door.ChangeCode():
                return self._change_code(order)
            case door.RestartApplication():
                return self._restart_application(order)
            case door.CallFunction():
                return self._call_function(order)

    def _set_code_path(self, order: door.SetCodePath) -> door.StepReport:
        path = list(self.path)
        for move in order.moves:
            if move.old in path and move.new is not None:
                path[path.index(move.old)] = move.new
            elif move.new is None:
                path = [folder for folder in path if folder != move.old]
            elif move.new not in path:
                path.append(move.new)
        self.path = tuple(path)
        self.point("path set")
        return door.StepDone()

    def _load_modules(self, order: door.LoadModules) -> door.StepReport:
        wanted = [file for file in order.modules if self.md5(file.module) != file.md5]
        names = [file.module for file in wanted] + list(order.remove)
        if (bad := self._bad_file(wanted, names)) is not None:
            return bad
        ended = self._clear(names, kill=order.kill_blockers)
        if isinstance(ended, door.StepNotDone):
            return ended
        for file in wanted:
            self._switch(file)
            self.point(f"switched {file.module}")
        for module in order.remove:
            self.modules.pop(module, None)
            self.point(f"removed {module}")
        return door.StepDone(
            modules=len(wanted) + len(order.remove),
            skipped=len(order.modules) - len(wanted),
            batches=len(wanted),
            worst_stall_us=1,
            ended=ended,
        )

    def _clear_old_code(self, order: door.ClearOldCode) -> door.StepReport:
        held = self._clear([*order.modules], kill=False)
        return held if isinstance(held, door.StepNotDone) else door.StepDone()

    def _change_code(self, order: door.ChangeCode) -> door.StepReport:
        module, way = order.module.module, "up" if order.direction == "up" else "down"
        if self.md5(module) == order.module.md5:
            return door.StepDone(skipped=1)
        if (bad := self._bad_file([order.module], [module])) is not None:
            return bad
        if order.old is not None and order.direction == "up" and self.md5(module) != order.old.md5:
            return self._not_done("module_md5_mismatch", "the old file is not what runs", [module])
        ended = self._clear([module], kill=order.kill_blockers)
        if isinstance(ended, door.StepNotDone):
            return ended
        users = [p for p in self.processes.values() if p.module == module and p.supervised]
        if any("suspend" in user.trouble for user in users):
            return self._not_done("suspend_timeout", "did not stop in time", [module])
        for user in users:
            user.suspended = True
        self.point(f"suspended {module}")
        failing = [user for user in users if way in user.trouble]
        if failing:
            return self._taken_back(order, users, failing)
        self._switch(order.module)
        self.point(f"switched {module}")
        for user in users:
            user.shape = order.module.md5
            user.suspended = False
        self.point(f"changed {module}")
        return door.StepDone(modules=1, batches=1, processes=len(users), worst_suspend_us=1, ended=ended)

    def _taken_back(
        self, order: door.ChangeCode, users: list[FakeProcess], failing: list[FakeProcess]
    ) -> door.StepReport:
        """Everybody back as it was; or, where there is no way back, forward without the failing ones."""
        module = order.module.module
        hung = [user for user in failing if "block" in user.trouble.values()]
        stuck = order.direction == "up" and (order.old is None or any("down" in u.trouble for u in users))
        gone = failing if stuck else hung
        for user in gone:
            del self.processes[user.pid]
        if stuck:
            self._switch(order.module)
        for user in users:
            user.suspended = False
            user.shape = self.md5(module) or ""
        return self._not_done(
            "code_change_failed",
            f"{len(failing)} processes failed in code_change: planted",
            [module],
            reverted=not stuck,
            ended=tuple(_ended(user, "killed") for user in gone),
        )

    def _restart_application(self, order: door.RestartApplication) -> door.StepReport:
        name, modules = order.application, [file.module for file in order.modules]
        if name in ("kernel", "stdlib", "compiler"):
            return self._not_done("restart_refused", f"{name} is never restarted", modules)
        if (bad := self._bad_file(list(order.modules), modules)) is not None:
            return bad
        before = self.applications.get(name, door.Application(version="0", running=False))
        self.applications[name] = door.Application(version=before.version, running=False)
        self.point(f"stopped {name}")
        for pid in [p.pid for p in self.processes.values() if p.module in (*modules, *order.remove)]:
            del self.processes[pid]
        for file in order.modules:
            self._switch(file)
        for module in order.remove:
            self.modules.pop(module, None)
        self.point(f"replaced {name}")
        if f"{name}@{order.app_file}" in self.failing:
            return self._not_done("failed_to_start_app", f"{name}: planted", modules, reverted=False)
        self.applications[name] = door.Application(version=_version_in(order.app_file), running=True)
        for module in modules:
            for _ in range(self.booted.processes.get(module, 0)):
                self.spawn(module)
        self.point(f"started {name}")
        return door.StepDone(modules=len(modules))

    def _call_function(self, order: door.CallFunction) -> door.StepReport:
        called = f"{order.module}:{order.function}"
        self.calls.append(called)
        self.point(f"called {called}")
        if called in self.failing:
            return self._not_done("call_failed", "error planted", [], reverted=False)
        return door.StepDone(returned="ok")

    # ------------------------------------------------------------ parts

    def _bad_file(self, files: list[door.ModuleFile], names: list[str]) -> door.StepNotDone | None:
        for file in files:
            if file.file in self.failing:
                return self._not_done("load_failed", f"{file.file} is no beam file", names)
        return None

    def _clear(self, modules: list[str], *, kill: bool) -> tuple[door.Ended, ...] | door.StepNotDone:
        lingering = [p for p in self.processes.values() if p.module in modules and p.in_old_code]
        for process in lingering:
            process.in_old_code = not process.can_be_nudged
        held = [process for process in lingering if process.in_old_code]
        if held and not kill:
            return self._not_done("lingering_processes", f"{len(held)} processes still run old code", modules)
        for process in held:
            del self.processes[process.pid]
        return tuple(_ended(process, "killed: it ran old code") for process in held)

    def _switch(self, file: door.ModuleFile) -> None:
        self.modules[file.module] = (file.md5, file.file)
        for process in self.processes.values():
            if process.module == file.module and not process.supervised:
                process.in_old_code = True

    def _not_done(
        self,
        name: str,
        detail: str,
        modules: list[str],
        *,
        reverted: bool = True,
        ended: tuple[door.Ended, ...] = (),
    ) -> door.StepNotDone:
        live = {module: self.md5(module) for module in modules}
        return door.StepNotDone(name=name, detail=detail, reverted=reverted, live=live, ended=ended)


def _ended(process: FakeProcess, reason: str) -> door.Ended:
    return door.Ended(pid=process.pid, name=process.module, reason=reason, client_id=process.client_id)


def _version_in(app_file: str) -> str:
    """`…/lib/<app>-<version>/ebin/<app>.app`: the version of the folder."""
    return app_file.rsplit("/", 3)[-3].rpartition("-")[2]


class FakeNode:
    """A connection to a `FakeVm`; `engine.node.door.Node`."""

    def __init__(self, vm: FakeVm) -> None:
        self._vm = vm
        self._installed_in: int | None = None

    # ------------------------------------------------------------ reading

    def observe(self) -> door.NodeFacts:
        vm = self._living()
        return door.NodeFacts(
            name=vm.name,
            os_pid=1000 + vm.start_number,
            os_start_time=10 * vm.start_number,
            creation=vm.start_number,
            otp_release="25",
            erts_version="13.1.5",
            running_version=vm.booted.running_version,
            boot_tree=vm.booted.boot_tree,
        )

    def module_md5s(self, modules: Iterable[str] | None = None) -> dict[str, str]:
        vm = self._living()
        asked = vm.modules if modules is None else modules
        return {module: vm.modules[module][0] for module in asked if module in vm.modules}

    def module_files(self, modules: Iterable[str]) -> dict[str, str]:
        vm = self._living()
        return {module: vm.modules[module][1] for module in modules if module in vm.modules}

    def applications(self) -> dict[str, door.Application]:
        return dict(self._living().applications)

    def code_path(self) -> tuple[str, ...]:
        return self._living().path

    def suspended(self) -> tuple[door.ProcessSeen, ...]:
        return tuple(process.seen for process in self._living().processes.values() if process.suspended)

    def lingering(self, modules: Iterable[str]) -> tuple[door.ProcessSeen, ...]:
        asked = set(modules)
        return tuple(
            process.seen
            for process in self._living().processes.values()
            if process.module in asked and process.in_old_code
        )

    def module_users(self, modules: Iterable[str]) -> dict[str, door.ModuleUsers]:
        processes = self._living().processes.values()
        return {
            module: door.ModuleUsers(
                supervised=sum(p.module == module and p.supervised for p in processes),
                unsupervised=tuple(p.seen for p in processes if p.module == module and not p.supervised),
            )
            for module in modules
        }

    def held_funs(self, modules: Iterable[str], *, budget_ms: int = 2_000) -> door.HeldFuns:
        asked = set(modules)
        return door.HeldFuns(found=tuple(fun for fun in self._living().held_funs if fun.module in asked))

    def connections(self) -> int | None:
        vm = self._living()
        return sum(process.client_id is not None for process in vm.processes.values())

    def client_applications(self) -> dict[str, int]:
        clients = [p for p in self._living().processes.values() if p.client_id is not None]
        return {"probe": len(clients)} if clients else {}

    def evaluate_script(self, text: str) -> Term:
        """No Erlang here: a script that is one plain term is its own value."""
        self._living()
        return read_term(text)

    # ------------------------------------------------------------ changing

    def perform(
        self,
        key: door.StepKey,
        order: door.StepOrder,
        *,
        on_progress: Callable[[door.StepProgress], None] | None = None,
    ) -> door.StepReport:
        vm = self._living()
        if key in vm.outcomes:
            return vm.outcomes[key]
        if vm.running is not None:
            raise AgentBusy(f"The agent is at step {vm.running[0].step}.", next="Wait until it is done.")
        try:
            report = vm.do(order)
            vm.outcomes[key] = msgspec.structs.replace(report, ended=(*report.ended, *vm.crashed))
            vm.crashed.clear()
        except VmDies:
            vm.die()
            raise _lost() from None
        if vm.tool_died is not None:
            death, vm.tool_died = vm.tool_died, None
            raise death
        if on_progress is not None:
            on_progress(door.StepProgress(done=1, total=1, unit="modules"))
        return vm.outcomes[key]

    def ended(self) -> tuple[door.Ended, ...]:
        return tuple(self._living().crashed)

    def outcome(self, key: door.StepKey) -> door.StepReport | door.StillRunning | None:
        vm = self._living()
        if vm.running is not None and vm.running[0] == key:
            return door.StillRunning(key=key, stage=vm.running[1])
        return vm.outcomes.get(key)

    def dismiss(self) -> None:
        self._living().outcomes.clear()

    def close(self) -> None:
        return

    def _living(self) -> FakeVm:
        if not self._vm.is_running:
            raise NodeDown(f"No node answers as {self._vm.name}.", next="Start the node.")
        return self._vm


def _lost() -> ConnectionLost:
    return ConnectionLost("The connection to the node broke.", next="Run 'relup recover'.")
