"""Finds the node that belongs to a RootDir: running, from /proc; else from etc/emqx.conf and the environment.

Everything that tells how a node is called, reached and convinced is gathered here; nothing connects.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.node.command_line import CommandLine
from engine.node.conf import values_of
from engine.node.cookie import Cookie, cookie_from_file
from engine.node.errors import NodeNotFound, SeveralNodes
from engine.node.processes import OsProcess, command_lines, environment_value

_NAME_VARIABLES = ("EMQX_NODE__NAME", "EMQX_NODE_NAME")
_COOKIE_VARIABLES = ("EMQX_NODE__COOKIE", "EMQX_NODE_COOKIE")
_DATA_VARIABLES = ("EMQX_NODE__DATA_DIR", "EMQX_NODE_DATA_DIR")


class KnownNode(msgspec.Struct, frozen=True):
    """What is known of a node before anybody talks to it.

    Attributes:
        name: Full node name.
        cookie: None when nothing tells it.
        base_root: RootDir, which keeps etc, data, log.
        boot_tree: The tree it was booted from, RootDir or one under its relup/; None when it is not running.
        data_dir: Its -emqx_data_dir, or what its configuration says.
        is_tls: Whether distribution is encrypted; None when nothing tells it (it is not running).
        dist_optfile: Its -ssl_dist_optfile.
        port: Its distribution port where OTP's own flag fixes it.
        uses_epmd: epmd knows its port; else it is EMQX's fixed one.
        epmd_port: From its ERL_EPMD_PORT.
        process: None when it is not running.
    """

    name: str
    cookie: Cookie | None
    base_root: Path
    boot_tree: Path | None = None
    data_dir: Path | None = None
    is_tls: bool | None = None
    dist_optfile: Path | None = None
    port: int | None = None
    uses_epmd: bool = False
    epmd_port: int | None = None
    process: OsProcess | None = None

    @property
    def is_running(self) -> bool:
        """Whether a process of it was seen."""
        return self.process is not None


def base_root(tree: Path) -> Path:
    """RootDir of a tree: the tree itself, or the folder whose relup/ it lies in."""
    return tree.parent.parent if tree.parent.name == "relup" else tree


def running_nodes(*, proc: Path = Path("/proc")) -> list[KnownNode]:
    """Every node of an EMQX-layout release that runs on this machine, tools' nodes left out."""
    found = (_running(process, CommandLine(words), proc) for process, words in command_lines(proc))
    return [node for node in found if node is not None]


def running_node(
    root: Path | None = None, *, name: str | None = None, proc: Path = Path("/proc")
) -> KnownNode:
    """The one running node of this RootDir, or of this name, or the only one there is.

    Raises:
        NodeNotFound: None fits.
        SeveralNodes: More than one does.
    """
    wanted = None if root is None else _real(root)
    fitting = [
        node
        for node in running_nodes(proc=proc)
        if (wanted is None or _real(node.base_root) == wanted) and (name is None or node.name == name)
    ]
    if len(fitting) > 1:
        names = ", ".join(f"{node.name} ({node.base_root})" for node in fitting)
        raise SeveralNodes(f"Several nodes run here: {names}.", next="Name one with --root or --node.")
    if not fitting:
        raise NodeNotFound(
            f"No running node{_of(root, name)} is found on this machine.",
            next="Start it (bin/emqx start), or name it with --root and --node.",
        )
    return fitting[0]


def configured_node(
    root: Path,
    *,
    etc: Path | None = None,
    data: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> KnownNode:
    """The node as the environment, then etc/emqx.conf, name it; for when it is not running.

    Args:
        etc: Folder of emqx.conf; RootDir/etc when not given (packages keep it in /etc/emqx).
        data: The installation's data folder, which the configuration may override; RootDir/data when not given.

    Raises:
        NodeNotFound: Neither names it.
    """
    conf = (etc or root / "etc") / "emqx.conf"
    try:
        values = values_of(conf.read_text(errors="replace"))
    except OSError:
        values = {}
    name = _first(environment, _NAME_VARIABLES) or values.get("node.name")
    if not name:
        raise NodeNotFound(
            f"The node of {root} is not running, and {conf} does not name it.",
            next="Start it (bin/emqx start), or name it with --node.",
        )
    cookie = _first(environment, _COOKIE_VARIABLES) or values.get("node.cookie")
    return KnownNode(
        name=name,
        cookie=Cookie(cookie) if cookie else None,
        base_root=root,
        data_dir=_data_dir(root, data, _first(environment, _DATA_VARIABLES) or values.get("node.data_dir")),
    )


def _data_dir(root: Path, installed: Path | None, named: str | None) -> Path:
    """What node.data_dir names, seen from RootDir; its default is the folder of the installation."""
    if named in (None, "data"):
        return installed or root / "data"
    return root / named


def _running(process: OsProcess, line: CommandLine, proc: Path) -> KnownNode | None:
    root = line.value("root")
    name = _full_name(line)
    if not line.is_beam or line.is_helper or root is None or name is None:
        return None
    tree, data_dir, optfile = Path(root), line.value("emqx_data_dir"), line.value("ssl_dist_optfile")
    if data_dir is None and not (tree / "releases" / "emqx_vars").exists():
        return None
    epmd_port = environment_value(process, "ERL_EPMD_PORT", proc=proc)
    return KnownNode(
        name=name,
        cookie=_cookie(line),
        base_root=base_root(tree),
        boot_tree=tree,
        data_dir=Path(data_dir) if data_dir is not None else None,
        is_tls=line.is_tls,
        dist_optfile=Path(optfile) if optfile is not None else None,
        port=line.fixed_port,
        uses_epmd=line.uses_epmd,
        epmd_port=int(epmd_port) if epmd_port and epmd_port.isdecimal() else None,
        process=process,
    )


def _full_name(line: CommandLine) -> str | None:
    """-name or -sname; without an @ Erlang adds the host's long or short name, so we do."""
    long_name, short_name = line.value("name"), line.value("sname")
    name = long_name or short_name
    if name is None or "@" in name:
        return name
    host = socket.getfqdn() if long_name else socket.gethostname().partition(".")[0]
    return f"{name}@{host}"


def _cookie(line: CommandLine) -> Cookie | None:
    """-setcookie, else the file that Erlang itself would read."""
    given = line.value("setcookie")
    if given is not None:
        return Cookie(given)
    home = line.value("home")
    file = Path(home or "/nonexistent") / ".erlang.cookie"
    return cookie_from_file(file) if os.access(file, os.R_OK) else None


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((environment[name] for name in names if environment.get(name)), None)


def _of(root: Path | None, name: str | None) -> str:
    called = f" {name}" if name else ""
    return f"{called} of {root}" if root else called
