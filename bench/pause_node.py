"""A bare node full of connection-like processes, in one of the builds that `pause` compares."""

import subprocess
from pathlib import Path

from engine.node.door import ModuleFile
from fixtures.erlang_node import ErlangNode

SOURCES = Path(__file__).parent / "erlang"
TIMEOUT_S = 600.0

_APP = (
    '{application, pause, [{description, ""}, {vsn, "%s"}, {modules, [pause_app, pause_conn]}, {registered, []},'
    " {applications, [kernel, stdlib]}, {mod, {pause_app, []}}]}.\n"
)
_APPUP = '{"2", [{"1", [{update, pause_conn, {advanced, []}}]}], []}.\n'
_READY = "{ok, _} = application:ensure_all_started(sasl), code:ensure_loaded(pause_conn)"


def built(folder: Path) -> Path:
    """Both versions of the application as OTP's release handler wants them, under `folder`."""
    for version, macros in (("1", []), ("2", ["-DV2"])):
        ebin = folder / f"pause-{version}" / "ebin"
        ebin.mkdir(parents=True)
        subprocess.run(["erlc", *macros, "-o", str(ebin), *map(str, SOURCES.glob("*.erl"))], check=True)
        (ebin / "pause.app").write_text(_APP % version)
    (folder / "pause-2" / "ebin" / "pause.appup").write_text(_APPUP)
    return folder


class PauseNode(ErlangNode):
    """A running node with version 1 on its code path and OTP's release handler started."""

    def __init__(self, builds: Path) -> None:
        self.builds = builds
        code = builds / "pause-1" / "ebin"
        super().__init__(code, "+P", "1000000", ready=_READY, timeout_s=TIMEOUT_S)

    def file(self, version: str) -> ModuleFile:
        """`pause_conn` of one version."""
        return self.module_file(self.builds / f"pause-{version}" / "ebin" / "pause_conn.beam")
