"""Finding the node: real processes, a copied /proc, etc/emqx.conf and the environment."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from engine.errors import BadRequest
from engine.node.command_line import CommandLine
from engine.node.cookie import Cookie, cookie_from_file
from engine.node.dial import address_of, connect
from engine.node.discovery import KnownNode, base_root, configured_node, running_node, running_nodes
from engine.node.errors import NodeNotFound, SeveralNodes
from engine.node.processes import is_alive
from tests.engine.node.plain import COOKIE, PlainNode

PlainNodes = Callable[..., PlainNode]
NOBODY: Mapping[str, str] = {}


class Proc:
    """A folder like /proc with processes of our choice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "self").mkdir(parents=True)

    def add(self, pid: int, line: str, **environment: str) -> None:
        process = self.folder / str(pid)
        process.mkdir()
        words = line.split()
        (process / "cmdline").write_bytes("".join(f"{word}\0" for word in words).encode())
        (process / "stat").write_text(f"{pid} (a (b) c) S {' '.join(map(str, range(4, 22)))} {pid * 100} 0")
        entries = [f"{name}={value}\0" for name, value in environment.items()]
        (process / "environ").write_text("".join(entries))


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path / "proc")


BEAM = "/opt/emqx/erts-14.2/bin/beam.smp -Bd -- -root {root} -bindir /x -- -boot b -noshell"
EMQX = (
    BEAM
    + " -name {name} -setcookie {cookie} -start_epmd false -epmd_module ekka_epmd -emqx_data_dir {root}/data"
)


def emqx(root: str = "/opt/emqx", name: str = "emqx@127.0.0.1", more: str = "") -> str:
    return EMQX.format(root=root, name=name, cookie="sesame") + more


def test_a_running_node_is_known_by_its_command_line(proc: Proc) -> None:
    """Name, cookie, roots, data folder, owner, start and the way it speaks."""
    proc.add(77, emqx(more=" -ekka_proto_dist inet_tls -ssl_dist_optfile /etc/emqx/ssl_dist.conf"))
    proc.add(78, "/bin/sh /opt/emqx/bin/emqx start")
    node = running_node(Path("/opt/emqx"), proc=proc.folder)
    assert (node.name, node.cookie) == ("emqx@127.0.0.1", Cookie("sesame"))
    assert (node.base_root, node.boot_tree) == (Path("/opt/emqx"), Path("/opt/emqx"))
    assert node.data_dir == Path("/opt/emqx/data")
    assert (node.is_tls, node.dist_optfile) == (True, Path("/etc/emqx/ssl_dist.conf"))
    assert node.process is not None
    assert (node.process.pid, node.process.start_time, node.process.uid) == (77, 7700, os.getuid())
    assert node.is_running
    assert not node.uses_epmd
    assert address_of(node).port == 4370


def test_a_node_booted_from_a_deployed_tree_belongs_to_its_base(proc: Proc) -> None:
    """-root is a tree under relup/: the base root is RootDir, the boot tree is said apart."""
    proc.add(77, emqx(root="/opt/emqx/relup/5.10.5"))
    node = running_node(Path("/opt/emqx"), proc=proc.folder)
    assert (node.base_root, node.boot_tree) == (Path("/opt/emqx"), Path("/opt/emqx/relup/5.10.5"))
    assert base_root(Path("/opt/emqx")) == Path("/opt/emqx")


def test_tools_beside_the_node_are_not_the_node(proc: Proc) -> None:
    """Remote shells, ctl and escripts run from the same root and are passed over."""
    proc.add(70, emqx())
    for pid, more in enumerate(
        (" -hidden", " -remsh x@y", " -dist_listen false", " -escript main x"), start=71
    ):
        proc.add(pid, emqx(name=f"ctl{pid}@127.0.0.1", more=more))
    assert running_node(Path("/opt/emqx"), proc=proc.folder).name == "emqx@127.0.0.1"


def test_erlang_that_is_no_release_of_this_layout_is_not_offered(proc: Proc) -> None:
    """A plain `erl` and a node without a name are none of ours."""
    proc.add(70, BEAM.format(root="/usr/lib/erlang") + " -name plain@127.0.0.1")
    proc.add(71, BEAM.format(root="/opt/emqx") + " -emqx_data_dir /d")
    assert running_nodes(proc=proc.folder) == []


def test_several_nodes_have_to_be_told_apart(proc: Proc) -> None:
    """Without --root or --node two candidates are an error that names both; each narrows it down."""
    proc.add(70, emqx())
    proc.add(71, emqx(root="/srv/emqx", name="emqx1@127.0.0.1"))
    with pytest.raises(SeveralNodes, match=r"emqx@127\.0\.0\.1.*emqx1@127\.0\.0\.1") as several:
        running_node(proc=proc.folder)
    assert "sesame" not in f"{several.value} {several.value.next}"
    assert running_node(Path("/srv/emqx"), proc=proc.folder).name == "emqx1@127.0.0.1"
    assert running_node(name="emqx@127.0.0.1", proc=proc.folder).base_root == Path("/opt/emqx")


def test_no_node_is_an_error_that_says_what_was_looked_for(proc: Proc) -> None:
    """With its root in the text, and what to do."""
    with pytest.raises(NodeNotFound, match="/opt/emqx") as none:
        running_node(Path("/opt/emqx"), proc=proc.folder)
    assert none.value.next


def test_a_root_behind_a_link_is_the_same_root(proc: Proc, tmp_path: Path) -> None:
    """--root may name the install through a symlink."""
    real, link = tmp_path / "emqx-5.10.4", tmp_path / "emqx"
    real.mkdir()
    link.symlink_to(real)
    proc.add(70, emqx(root=str(real)))
    assert running_node(link, proc=proc.folder).base_root == real


def test_a_process_that_ends_meanwhile_is_passed_over(proc: Proc) -> None:
    """Folders of /proc may vanish or be empty between two reads."""
    proc.add(70, emqx())
    (proc.folder / "71").mkdir()
    proc.add(72, "")
    assert len(running_nodes(proc=proc.folder)) == 1


def test_a_real_node_is_found_and_connected_to(plain_node: PlainNodes, tmp_path: Path) -> None:
    """A real VM with EMQX's flag is found in the real /proc, with its port, and answers."""
    node = plain_node("-emqx_data_dir", str(tmp_path))
    known = running_node(name=node.name)
    assert known.process is not None
    assert known.process.pid == node.process.pid
    assert known.port == node.port
    with connect(known, timeout_s=20) as connection:
        assert connection.call("erlang", "node", timeout_s=60) == node.name
    assert is_alive(known.process)
    node.end()
    assert not is_alive(known.process)


def test_the_cookie_is_in_no_repr_and_no_error(proc: Proc) -> None:
    """Whatever prints a known node hides it."""
    proc.add(70, emqx())
    node = running_node(proc=proc.folder)
    assert node.cookie is not None
    assert node.cookie.reveal() == "sesame"
    assert "sesame" not in f"{node} {node!r} {node.cookie} {node.cookie!r}"


def test_without_a_setcookie_erlangs_own_file_is_read(proc: Proc, tmp_path: Path) -> None:
    """As Erlang does, from the home that the command line names."""
    (tmp_path / ".erlang.cookie").write_text("from-home\n")
    line = emqx(more=f" -home {tmp_path}").replace("-setcookie sesame", "")
    proc.add(70, line)
    assert running_node(proc=proc.folder).cookie == Cookie("from-home")


def test_a_node_known_to_epmd_brings_its_epmds_port(proc: Proc) -> None:
    """No epmd module of its own: epmd is asked, at the port of the node's environment."""
    proc.add(70, f"{BEAM} -name x@h -setcookie c -emqx_data_dir /d".format(root="/r"), ERL_EPMD_PORT="5000")
    node = running_node(proc=proc.folder)
    assert (node.uses_epmd, node.epmd_port, node.cookie) == (True, 5000, Cookie("c"))


@pytest.mark.parametrize(
    ("words", "name"),
    [("-sname a@h", "a@h"), ("-name b@h.i -name c@h.i", "c@h.i"), ("-sname short", "short@")],
)
def test_names_are_completed_as_erlang_does(proc: Proc, words: str, name: str) -> None:
    """-sname too; the host is added where it is missing; the last flag counts."""
    proc.add(70, BEAM.format(root="/r") + f" {words} -emqx_data_dir /d")
    found = running_node(proc=proc.folder).name
    assert found.startswith(name)
    assert "." not in found.partition("@")[2] or name.startswith("c")


def test_a_command_line_without_words_is_no_beam() -> None:
    """Nothing is read out of nothing."""
    assert not CommandLine([]).is_beam
    assert CommandLine(["/x/beam.smp"]).is_beam
    assert not CommandLine(["/x/beamer"]).is_beam


# ---------------------------------------------------------------- not running


def write_conf(root: Path, text: str) -> None:
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc" / "emqx.conf").write_text(text)


CONFS = [
    'node {\n  name = "emqx@127.0.0.1"\n  cookie = "secret # not a comment"\n}\n',
    'node.name = "emqx@127.0.0.1"\nnode.cookie = "secret # not a comment"\n',
    '## c\nnode { name = emqx@127.0.0.1, cookie: "secret # not a comment" } // c\n',
    'include "base.hocon"\nlog { x = [ {name = no}, "b" ] }\nnode\n{\n name =\n emqx@127.0.0.1\n'
    ' inner { name = "no@no" }\n cookie = """secret # not a comment"""\n}\nother.node.name = no\n',
    'node { name = "old@h", cookie = x }\nnode.name = "emqx@127.0.0.1"\nnode.cookie = "secret # not a comment"\n',
]


@pytest.mark.parametrize("conf", CONFS, ids=["object", "dotted", "one line", "awkward", "twice"])
def test_emqx_conf_names_a_node_that_is_down(tmp_path: Path, conf: str) -> None:
    """Objects, dotted keys, quotes, comments, lists, includes; the last of two counts."""
    write_conf(tmp_path, conf)
    node = configured_node(tmp_path, environment=NOBODY)
    assert node == KnownNode(
        name="emqx@127.0.0.1",
        cookie=Cookie("secret # not a comment"),
        base_root=tmp_path,
        data_dir=tmp_path / "data",
    )
    assert not node.is_running


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    """EMQX_NODE__NAME before EMQX_NODE_NAME before emqx.conf; likewise the cookie."""
    write_conf(tmp_path, CONFS[0])
    older = {"EMQX_NODE_NAME": "older@h", "EMQX_NODE_COOKIE": "older"}
    newer = {"EMQX_NODE__NAME": "newer@h", "EMQX_NODE__COOKIE": "newer", **older}
    for environment, name, cookie in ((older, "older@h", "older"), (newer, "newer@h", "newer")):
        node = configured_node(tmp_path, environment=environment)
        assert (node.name, node.cookie) == (name, Cookie(cookie))


def test_another_etc_folder_can_be_named(tmp_path: Path) -> None:
    """Packages keep it in /etc/emqx."""
    (tmp_path / "emqx.conf").write_text("node.name = a@b")
    assert configured_node(Path("/nowhere"), etc=tmp_path, environment=NOBODY).name == "a@b"


@pytest.mark.parametrize(
    ("named", "environment", "folder"),
    [
        ("", NOBODY, "/var/lib/emqx"),
        ("node.data_dir = data", NOBODY, "/var/lib/emqx"),
        ("node.data_dir = /srv/emqx", NOBODY, "/srv/emqx"),
        ("node.data_dir = mine", NOBODY, "mine"),
        ("node.data_dir = /srv/emqx", {"EMQX_NODE__DATA_DIR": "/mnt"}, "/mnt"),
    ],
)
def test_the_data_folder_of_a_node_that_is_down_is_the_configured_one(
    tmp_path: Path, named: str, environment: dict[str, str], folder: str
) -> None:
    """Its own default is the installation's; what is relative is so to RootDir."""
    write_conf(tmp_path, f"node.name = a@b\n{named}\n")
    known = configured_node(tmp_path, data=Path("/var/lib/emqx"), environment=environment)
    assert known.data_dir == tmp_path / folder


@pytest.mark.parametrize("conf", ["", "node { cookie = x }", 'node.name = ""', '"{{{ = = ]'])
def test_a_file_that_names_nobody_is_told(tmp_path: Path, conf: str) -> None:
    """The error names the file it looked into."""
    write_conf(tmp_path, conf)
    with pytest.raises(NodeNotFound, match=r"emqx\.conf"):
        configured_node(tmp_path, environment=NOBODY)


def test_without_a_file_nobody_is_found(tmp_path: Path) -> None:
    """No etc folder is no crash."""
    with pytest.raises(NodeNotFound):
        configured_node(tmp_path, environment=NOBODY)


def test_a_cookie_file_holds_the_cookie(tmp_path: Path) -> None:
    """A newline behind it does not count; an empty or unreadable file is refused."""
    file = tmp_path / "cookie"
    file.write_text(f"{COOKIE}\n")
    assert cookie_from_file(file) == Cookie(COOKIE)
    file.write_text(" \n")
    with pytest.raises(BadRequest, match="empty"):
        cookie_from_file(file)
    with pytest.raises(BadRequest, match="cannot be read"):
        cookie_from_file(tmp_path / "none")


def test_a_node_whose_cookie_nobody_knows_is_not_dialled() -> None:
    """The error asks for --cookie-file."""
    with pytest.raises(BadRequest) as unknown:
        connect(KnownNode(name="a@127.0.0.1", cookie=None, base_root=Path("/r")))
    assert "--cookie-file" in unknown.value.next
