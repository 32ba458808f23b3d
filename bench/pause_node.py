"""A bare node full of connection-like processes, in one of the builds that `pause` compares."""

import os
import secrets
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.errors import NodeUnreachable
from engine.node.address import Address
from engine.node.connection import Connection
from engine.node.cookie import Cookie
from engine.node.door import ModuleFile
from engine.node.evaluation import Evaluation
from engine.node.vm import Vm
from engine.term import Term, charlist
from fixtures.ports import free_port, give_back

SOURCES = Path(__file__).parent / "erlang"
START_TIMEOUT_S = 60.0
TIMEOUT_S = 600.0

_APP = (
    '{application, pause, [{description, ""}, {vsn, "%s"}, {modules, [pause_app, pause_conn]}, {registered, []},'
    " {applications, [kernel, stdlib]}, {mod, {pause_app, []}}]}.\n"
)
_APPUP = '{"2", [{"1", [{update, pause_conn, {advanced, []}}]}], []}.\n'


def built(folder: Path) -> Path:
    """Both versions of the application as OTP's release handler wants them, under `folder`."""
    for version, macros in (("1", []), ("2", ["-DV2"])):
        ebin = folder / f"pause-{version}" / "ebin"
        ebin.mkdir(parents=True)
        subprocess.run(["erlc", *macros, "-o", str(ebin), *map(str, SOURCES.glob("*.erl"))], check=True)
        (ebin / "pause.app").write_text(_APP % version)
    (folder / "pause-2" / "ebin" / "pause.appup").write_text(_APPUP)
    return folder


class PauseNode:
    """A running node; use it as a context manager."""

    def __init__(self, builds: Path) -> None:
        self.builds = builds
        self.port = free_port()
        self.name = f"pause{self.port}@127.0.0.1"
        self._cookie = secrets.token_hex(8)
        self._process = subprocess.Popen(
            [
                *("erl", "-name", self.name, "-setcookie", self._cookie, "-hidden", "-noinput"),
                *("-start_epmd", "false", "-erl_epmd_port", str(self.port), "+P", "1000000"),
                *("-kernel", "inet_dist_use_interface", "{127,0,0,1}"),
                *("-kernel", "logger_level", "emergency"),
                *("-pa", str(builds / "pause-1" / "ebin")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "ERL_CRASH_DUMP_SECONDS": "0"},
        )
        self._asking: Evaluation | None = None

    def connect(self) -> Connection:
        """A new connection to it."""
        return Connection(Address(self.name, "127.0.0.1", self.port), cookie=Cookie(self._cookie))

    def vm(self) -> Vm:
        """The node behind the door."""
        return Vm(self.connect)

    def eval(self, expression: str, **bindings: Term) -> Any:
        """The value of an expression, without its dot."""
        if self._asking is None:
            self._asking = Evaluation(self.connect())
        return self._asking.value(f"{expression}.", bindings, timeout_s=TIMEOUT_S)

    def file(self, version: str) -> ModuleFile:
        """`pause_conn` of one version."""
        path = self.builds / f"pause-{version}" / "ebin" / "pause_conn.beam"
        md5 = self.eval("element(2, element(2, beam_lib:md5(File)))", File=charlist(str(path)))
        return ModuleFile(module="pause_conn", file=str(path), md5=md5.hex())

    def __enter__(self) -> Self:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.eval("{ok, _} = application:ensure_all_started(sasl), code:ensure_loaded(pause_conn)")
            except NodeUnreachable:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.end()
                    raise
                time.sleep(0.05)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Kill it and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        give_back(self.port)
