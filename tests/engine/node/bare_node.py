"""A bare Erlang node for the tests of the door: own name, port and cookie, ended by its process.

It runs small applications of these tests (`erlang/`), compiled once per session in two versions.
"""

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
from fixtures.ports import free_port, give_back

SOURCES = Path(__file__).parent / "erlang"
START_TIMEOUT_S = 60.0

APPS = {
    "probe": '{application, probe, [{vsn, "1"}, {modules, []}, {registered, []},'
    " {applications, [kernel, stdlib]}, {env, [{limit, 10}]}, {mod, {probe_app, []}}]}.\n",
    "store": '{application, store, [{vsn, "%s"}, {modules, [store]}, {registered, []},'
    " {applications, [kernel, stdlib]}, {env, [{size, 1}]}, {mod, {store, []}}]}.\n",
}


def compile_all(folder: Path) -> Path:
    """Both versions of every test module under `folder`/v1 and /v2, and builds that fail under /bad."""
    _compile(folder / "v1", sorted(SOURCES.glob("*.erl")), [])
    _compile(
        folder / "v2", [SOURCES / f"{name}.erl" for name in ("counter", "looper", "store", "onload")], ["V2"]
    )
    _compile(folder / "bad", [SOURCES / f"{name}.erl" for name in ("store", "onload")], ["V2", "FAILS"])
    (folder / "v1" / "probe.app").write_text(APPS["probe"])
    for number, version in enumerate(("v1", "v2", "bad"), 1):
        (folder / version / "store.app").write_text(APPS["store"] % number)
    return folder


def _compile(target: Path, sources: list[Path], macros: list[str]) -> None:
    target.mkdir(parents=True)
    defined = [f"-D{macro}" for macro in macros]
    subprocess.run(["erlc", *defined, "-o", str(target), *map(str, sources)], check=True)


class BareNode:
    """A running node. Use it as a context manager.

    Args:
        builds: What `compile_all` made; version 1 is on the code path.
        flags: More words for `erl`.
    """

    def __init__(self, builds: Path, *flags: str) -> None:
        self.builds = builds
        self.port = free_port()
        self.name = f"bare{self.port}@127.0.0.1"
        self.cookie = secrets.token_hex(8)
        self._process = subprocess.Popen(
            [
                "erl",
                *("-name", self.name, "-setcookie", self.cookie, "-hidden", "-noinput"),
                *("-start_epmd", "false", "-erl_epmd_port", str(self.port)),
                *("-kernel", "inet_dist_use_interface", "{127,0,0,1}"),
                *("-kernel", "logger_level", "emergency"),
                *("-pa", str(builds / "v1"), *flags),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "ERL_CRASH_DUMP_SECONDS": "0"},
        )
        self._witness: Evaluation | None = None

    @property
    def os_pid(self) -> int:
        return self._process.pid

    def connect(self) -> Connection:
        """A new connection to it."""
        return Connection(Address(self.name, "127.0.0.1", self.port), cookie=Cookie(self.cookie))

    def vm(self) -> Vm:
        """The node behind the door."""
        return Vm(self.connect)

    def eval(self, expression: str, **bindings: Any) -> Any:
        """The value of an expression (without its dot), over a connection of the test's own."""
        if self._witness is None:
            self._witness = Evaluation(self.connect())
        return self._witness.value(f"{expression}.", bindings, timeout_s=60)

    def file(self, module: str, version: str) -> ModuleFile:
        """A module's beam of one of the builds."""
        path = self.builds / version / f"{module}.beam"
        md5 = self.eval(
            "element(2, element(2, beam_lib:md5(File)))", File=[ord(letter) for letter in str(path)]
        )
        return ModuleFile(module=module, file=str(path), md5=md5.hex())

    def __enter__(self) -> Self:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.eval("ok")
            except NodeUnreachable:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.end()
                    raise
                time.sleep(0.05)
            except BaseException:
                self.end()
                raise
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
