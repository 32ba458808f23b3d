"""The node behind the door: questions as expressions, orders through the agent, over one connection.

A lost connection is opened again by the next call, so that an outcome can be asked for after it. What is
said to the agent is `engine.node.agent`; what is asked, `engine.node.expressions`.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

from engine.agent.source import HELD_FUNS, WALK, agent_source, looking_source
from engine.errors import NodeUnreachable
from engine.node import agent, door, expressions
from engine.node.connection import Connection
from engine.node.errors import AgentBusy, CallTimedOut, ConnectionLost, ProtocolViolation, RemoteException
from engine.node.evaluation import Evaluation
from engine.term import Atom, Term, format_term, text_of

READ_TIMEOUT_S = 30.0
WALK_TIMEOUT_S = 300.0
"""For what looks at every process."""
INSTALL_TIMEOUT_S = 60.0
DISMISS_TIMEOUT_S = 120.0


class Vm:
    """`engine.node.door.Node` over the Erlang distribution.

    Args:
        connect: Opens a connection to the node; called again after one was lost.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._open: tuple[Connection, Evaluation] | None = None

    # ------------------------------------------------------------ reading

    def observe(self) -> door.NodeFacts:
        name, os_pid, stat, creation, otp, erts, version, root = self._read(expressions.OBSERVE)
        return door.NodeFacts(
            name=text_of(name),
            os_pid=os_pid,
            os_start_time=_start_time(stat),
            creation=creation,
            otp_release=text_of(otp),
            erts_version=text_of(erts),
            running_version=None if version == "undefined" else text_of(version),
            boot_tree=text_of(root),
        )

    def module_md5s(self, modules: Iterable[str] | None = None) -> dict[str, str]:
        if modules is None:
            found = self._read(expressions.ALL_MD5S)
        else:
            found = self._read(expressions.MD5S_OF, Names=_names(modules))
        return {name.decode(): md5.hex() for name, md5 in found}

    def module_files(self, modules: Iterable[str]) -> dict[str, str]:
        found = self._read(expressions.FILES_OF, Names=_names(modules))
        return {name.decode(): text_of(file) for name, file in found}

    def applications(self) -> dict[str, door.Application]:
        return {
            name.decode(): door.Application(version=text_of(version), running=running == "true")
            for name, version, running in self._read(expressions.APPLICATIONS)
        }

    def code_path(self) -> tuple[str, ...]:
        return tuple(text_of(folder) for folder in self._read(expressions.CODE_PATH))

    def suspended(self) -> tuple[door.ProcessSeen, ...]:
        return _seen(self._walk(expressions.SUSPENDED))

    def lingering(self, modules: Iterable[str]) -> tuple[door.ProcessSeen, ...]:
        return _seen(self._walk(expressions.LINGERING, Names=_names(modules)))

    def module_users(self, modules: Iterable[str]) -> dict[str, door.ModuleUsers]:
        asked = list(modules)
        counts, strays, unanswering = self._walk(expressions.MODULE_USERS, Names=_names(asked))
        supervised = {name.decode(): count for name, count in counts}
        unsupervised, silent = _seen(strays), _seen(unanswering)
        return {
            module: door.ModuleUsers(
                supervised=supervised.get(module, 0),
                unsupervised=tuple(process for process in unsupervised if process.module == module),
                silent=silent,
            )
            for module in asked
        }

    def held_funs(self, modules: Iterable[str], *, budget_ms: int = 2_000) -> door.HeldFuns:
        found, late = self._walk(
            expressions.HELD_FUNS, source=HELD_FUNS, Names=_names(modules), BudgetMs=budget_ms
        )
        return door.HeldFuns(
            found=tuple(
                door.HeldFun(module=text_of(module), where=text_of(where), is_old=old == "true", count=count)
                for module, where, old, count in sorted(found)
            ),
            time_ran_out=late == "true",
        )

    def connections(self) -> int | None:
        try:
            count = self._read(expressions.CONNECTIONS)
        except CallTimedOut:
            return None
        return count if isinstance(count, int) else None

    def client_applications(self) -> dict[str, int]:
        return Counter(name.decode() for name in self._read(expressions.CLIENT_APPLICATIONS))

    def evaluate_script(self, text: str) -> Term:
        return cast("Term", self._read(expressions.SCRIPT, Text=text.encode()))

    # ------------------------------------------------------------ changing

    def perform(
        self,
        key: door.StepKey,
        order: door.StepOrder,
        *,
        on_progress: Callable[[door.StepProgress], None] | None = None,
    ) -> door.StepReport:
        self._install()
        request = agent.performing(order, self._connection.pid)

        def on_message(message: Term) -> None:
            progress = agent.progress_of(message)
            if progress is not None and on_progress is not None:
                on_progress(progress)

        timeout_s = _patience_s(order)
        answer = self._ask(agent.keyed(key, request), timeout_s=timeout_s, on_message=on_message)
        match answer:
            case ("outcome", report):
                return agent.report_of(report)
            case None:
                raise ConnectionLost(
                    f"The agent in the VM ended while step {key.step} was in its hands.",
                    next="Run 'relup recover': it looks at what the node runs now.",
                )
            case _:
                raise _refused(answer)

    def ended(self) -> tuple[door.Ended, ...]:
        match self._ask(agent.plain("ended"), timeout_s=READ_TIMEOUT_S):
            case ("ended", processes):
                return agent.ended_of(processes)
            case _:  # no agent, or one of an older relup that watches nobody
                return ()

    def outcome(self, key: door.StepKey) -> door.StepReport | door.StillRunning | None:
        answer = self._ask(agent.keyed(key, agent.OUTCOME), timeout_s=READ_TIMEOUT_S)
        match answer:
            case None | "unknown":
                return None
            case ("outcome", report):
                return agent.report_of(report)
            case ("running", stage):
                return door.StillRunning(key=key, stage=text_of(stage))
            case _:
                raise _refused(answer)

    def dismiss(self) -> None:
        """As the door says; while old code is still being purged the agent stays, and then goes by itself."""
        answer = self._ask(agent.plain("dismiss"), timeout_s=DISMISS_TIMEOUT_S)
        if answer not in (None, "dismissed"):
            raise _refused(answer)
        if answer is not None:
            self._read(expressions.AGENT_GONE, Names=_names(agent_source().modules))

    def close(self) -> None:
        if self._open is not None:
            self._open[0].close()
            self._open = None

    # ------------------------------------------------------------ the agent

    def _install(self) -> None:
        """The agent of this relup stands at the desk; a foreign idle one makes room."""
        source = agent_source()
        match self._ask(agent.plain("hello"), timeout_s=READ_TIMEOUT_S):
            case None:
                pass
            case ("agent", desk, running, _) if desk == source.desk or running != "none":
                return
            case ("agent", *_):
                self.dismiss()
            case other:
                raise _refused(other)
        beams = [(Atom(name), beam) for name, beam in self._beams(source.modules).items()]
        started = self._read(expressions.LOAD_AGENT, Beams=beams, Desk=Atom(source.desk))
        assert started in ("ok", "already_started"), "the desk starts or stands already"

    def _beams(self, modules: dict[str, tuple[str, ...]]) -> dict[str, bytes]:
        if self._read(expressions.HAS_COMPILER) == "true":
            sources: Term = [[form.encode() for form in forms] for forms in modules.values()]
            compiled = self._evaluate(expressions.COMPILE, {"Sources": sources}, timeout_s=INSTALL_TIMEOUT_S)
            return {text_of(name): beam for name, beam in compiled}
        from engine.agent.compiler import compile_outside  # few nodes need it, and it takes long to import

        return compile_outside(modules, tree=Path(self.observe().boot_tree))

    def _ask(
        self, request: Term, *, timeout_s: float, on_message: Callable[[Term], None] | None = None
    ) -> Any:
        """The agent's answer; None when there is no agent, or it ended instead of answering."""
        arguments = [Atom(agent.NAME), request, Atom("infinity")]
        try:
            return self._guarded(
                lambda: self._connection.call(
                    "gen_server", "call", arguments, timeout_s=timeout_s, on_message=on_message
                )
            )
        except RemoteException as raised:
            if raised.kind == "exit":
                return None
            raise

    # ------------------------------------------------------------ asking

    def _read(self, expression: str, **bindings: Term) -> Any:
        return self._evaluate(expression, bindings, timeout_s=READ_TIMEOUT_S)

    def _walk(self, expression: str, *, source: str = WALK, **bindings: Term) -> Any:
        texts = [form.encode() for form in looking_source(source)]
        return self._evaluate(expression, {"Texts": texts, **bindings}, timeout_s=WALK_TIMEOUT_S)

    def _evaluate(self, expression: str, bindings: dict[str, Term], *, timeout_s: float) -> Any:
        return self._guarded(lambda: self._evaluation.value(expression, bindings, timeout_s=timeout_s))

    def _guarded(self, call: Callable[[], Term]) -> Any:
        """A broken connection is forgotten, so that the next call opens another."""
        try:
            return call()
        except RemoteException:
            raise
        except NodeUnreachable:
            self.close()
            raise

    @property
    def _connection(self) -> Connection:
        return self._opened()[0]

    @property
    def _evaluation(self) -> Evaluation:
        return self._opened()[1]

    def _opened(self) -> tuple[Connection, Evaluation]:
        if self._open is None:
            connection = self._connect()
            self._open = (connection, Evaluation(connection))
        return self._open


def _names(modules: Iterable[str]) -> list[bytes]:
    return [module.encode() for module in modules]


def _seen(processes: Any) -> tuple[door.ProcessSeen, ...]:
    return tuple(
        door.ProcessSeen(
            pid=text_of(pid), name=text_of(name), module=text_of(module), client_id=agent.client_of(client)
        )
        for pid, name, module, client in processes
    )


def _start_time(stat: bytes) -> int:
    """Field 22 of /proc/<pid>/stat; the second field, the program's name, may hold spaces and parentheses."""
    return int(stat.rpartition(b")")[2].split()[19])


def _patience_s(order: door.StepOrder) -> float:
    """Longer than all deadlines that the agent keeps at this order."""
    match order:
        case door.CallFunction(timeout_ms=timeout_ms):
            return timeout_ms / 1000 + 30
        case door.ChangeCode():
            waits = order.suspend_timeout_ms * 2 + order.change_timeout_ms * 6 + order.blocker_timeout_ms
            return waits / 1000 + 120
        case door.RestartApplication(modules=modules):
            waits = 3 * order.timeout_ms + 3 * order.blocker_timeout_ms + order.on_load_timeout_ms
            return waits / 1000 + len(modules) + 120
        case door.LoadModules(modules=modules):
            waits = order.blocker_timeout_ms + order.on_load_timeout_ms
            return waits / 1000 + len(modules) + 300
        case door.ClearOldCode(modules=modules):
            return order.blocker_timeout_ms / 1000 + len(modules) + 300
        case door.SetCodePath():
            return 60.0


def _refused(answer: Any) -> NodeUnreachable | AgentBusy:
    match answer:
        case ("busy", (upgrade, (step, direction), _), stage):
            return AgentBusy(
                f"The agent in the VM is at step {step} ({direction}) of upgrade {text_of(upgrade)}: {stage}.",
                next="Wait until it is done, then run 'relup status'.",
            )
        case ("refused", ("protocol", spoken)):
            return ProtocolViolation(
                f"The agent in the VM speaks protocol {spoken}, this relup speaks {agent.PROTOCOL}.",
                next="Finish the upgrade with the relup that began it.",
            )
        case _:
            return ProtocolViolation(
                f"The agent in the VM answered {format_term(answer)[:300]}.",
                next="This is a fault of relup; report it.",
            )
