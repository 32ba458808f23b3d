"""A bare Erlang node for the tests of the door, with small applications of these tests (`erlang/`), compiled
once per session in two versions.
"""

import subprocess
from pathlib import Path

from engine.node.door import ModuleFile
from engine.term import Term
from fixtures.erlang_node import ErlangNode

SOURCES = Path(__file__).parent / "erlang"

APPS = {
    "probe": '{application, probe, [{vsn, "1"}, {modules, []}, {registered, []},'
    " {applications, [kernel, stdlib]}, {env, [{limit, 10}]}, {mod, {probe_app, []}}]}.\n",
    "store": '{application, store, [{vsn, "%s"}, {modules, [store]}, {registered, []},'
    " {applications, [kernel, stdlib]}, {env, [{size, 1}]}, {mod, {store, []}}]}.\n",
}


def compile_all(folder: Path) -> Path:
    """Both versions of every test module under `folder`/v1 and /v2, builds that fail under /bad, and those with an
    on_load that takes a second, or does not return, under /slow, /hangs and /waits.
    """
    _compile(folder / "v1", sorted(SOURCES.glob("*.erl")), [])
    _compile(
        folder / "v2",
        [SOURCES / f"{name}.erl" for name in ("counter", "looper", "store", "onload", "strict")],
        ["V2"],
    )
    _compile(folder / "bad", [SOURCES / f"{name}.erl" for name in ("store", "onload")], ["V2", "FAILS"])
    loading = [SOURCES / f"{name}.erl" for name in ("counter", "onload")]
    _compile(folder / "slow", loading, ["V2", "ON_LOAD_MS=1000"])
    _compile(folder / "hangs", loading, ["V2", "ON_LOAD_MS=infinity"])
    _compile(folder / "waits", [SOURCES / "onload.erl"], ["V2", "WAITS"])
    (folder / "v1" / "probe.app").write_text(APPS["probe"])
    for number, version in enumerate(("v1", "v2", "bad"), 1):
        (folder / version / "store.app").write_text(APPS["store"] % number)
    return folder


def _compile(target: Path, sources: list[Path], macros: list[str]) -> None:
    target.mkdir(parents=True)
    defined = [f"-D{macro}" for macro in macros]
    subprocess.run(["erlc", *defined, "-o", str(target), *map(str, sources)], check=True)


class BareNode(ErlangNode):
    """A running node. Use it as a context manager.

    Args:
        builds: What `compile_all` made; version 1 is on the code path.
        flags: More words for `erl`.
    """

    def __init__(self, builds: Path, *flags: str) -> None:
        self.builds = builds
        super().__init__(builds / "v1", *flags)

    def spawn(self, what: str, **bindings: Term) -> None:
        """A process that has done this by now, and lives on."""
        self.eval(
            f"Us = self(), spawn(fun() -> {what}, Us ! done, receive after infinity -> ok end end),"
            " receive done -> ok end",
            **bindings,
        )

    def wait_for(self, process: str, module: str, function: str) -> None:
        """Until a process (an Erlang expression) stands in that function."""
        self.eval(
            f"(fun Wait() -> case process_info({process}, current_function) of"
            f" {{_, {{{module}, {function}, _}}}} -> ok; _ -> timer:sleep(5), Wait() end end)()"
        )

    def file(self, module: str, version: str) -> ModuleFile:
        """A module's beam of one of the builds."""
        return self.module_file(self.builds / version / f"{module}.beam")
