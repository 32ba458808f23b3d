"""What a node and its files say after a hop, asked without relup: releases, states, code path, leftovers."""

from pathlib import Path
from typing import NamedTuple

from engine.place import Place
from engine.release.beam import module_md5
from engine.release.manifest import read_manifest, verify_tree
from fixtures.build import Built
from fixtures.node import RunningNode

OWN_APPS = ("emqx", "emqx_conf", "emqx_retainer")


class Released(NamedTuple):
    """What tells a node of one release from that of another.

    Attributes:
        connection: Size of a connection's state record.
        metrics: What the metrics process knows of itself.
        retainer: Version of the running application.
    """

    connection: int
    metrics: str
    retainer: str


RELEASED = {
    "5.10.4": Released(5, "[resets,started_at]", '"5.0.25"'),
    "5.10.5": Released(6, "[resets,started_at,window_s]", '"5.0.26"'),
    "5.10.6": Released(7, "[owner,resets,started_at,window_s]", '"5.0.27"'),
}


def assert_runs(node: RunningNode, version: str, *, built: Built, connections: int) -> None:
    """The node runs this release and no other: code, states, applications; its connections are served."""
    released = RELEASED[version]
    assert live_md5s(node) == md5s_of(built.tree(version), loaded_in=node)
    assert node.eval("emqx_release:version()") == f'"{version}"'
    states = node.eval("[tuple_size(sys:get_state(P)) || {_, P} <- emqx_cm:all_channels()]")
    assert states == f"[{','.join([str(released.connection)] * connections)}]"
    assert node.eval("lists:sort(maps:keys(emqx_metrics:info()))") == released.metrics
    running = node.eval("element(3, lists:keyfind(emqx_retainer, 1, application:which_applications()))")
    assert running == released.retainer
    assert_nothing_left(node)


def assert_nothing_left(node: RunningNode) -> None:
    """No agent, no suspended process, no staging."""
    agent = (
        '[M || M <- erlang:loaded(), lists:prefix("relup_agent", atom_to_list(M))] ++ [whereis(relup_agent)]'
    )
    assert node.eval(agent) == "[undefined]"
    asked = "[catch sys:get_state(N, 5000) || N <- [emqx_metrics, emqx_cm, emqx_retainer, emqx_broker]]"
    assert "EXIT" not in node.eval(asked)
    if (node.root / "relup").exists():
        assert [path for path in (node.root / "relup").iterdir() if path.name.startswith(".staging")] == []


def live_md5s(node: RunningNode) -> dict[str, str]:
    """Every loaded module of the releases, by the node's own word: lower-case hex."""
    text = node.eval(
        'lists:flatten([io_lib:format("~s ~s ", [M, binary:encode_hex(erlang:get_module_info(M, md5))]) ||'
        ' M <- lists:sort(erlang:loaded()), lists:prefix("emqx", atom_to_list(M))])'
    )
    words = text.strip('"').split()
    return dict(zip(words[::2], (md5.lower() for md5 in words[1::2]), strict=True))


def md5s_of(tree: Path, *, loaded_in: RunningNode) -> dict[str, str]:
    """The modules of a release by their files; the distribution module counts only where it is used."""
    files = [file for app in OWN_APPS for file in tree.glob(f"lib/{app}-[0-9]*/ebin/*.beam")]
    return {file.stem: module_md5(file) for file in sorted(files)}


def code_path(node: RunningNode) -> dict[str, str]:
    """Which tree each application is looked for in: RootDir is `.`, a deployed tree `relup/<version>`."""
    entries = node.eval("[unicode:characters_to_list(P) || P <- code:get_path()]").strip('[]"').split('","')
    found: dict[str, str] = {}
    for entry in map(Path, entries):
        if entry.parent.parent.name == "lib":
            tree = entry.parent.parent.parent
            found[entry.parent.name.partition("-")[0]] = str(tree.relative_to(node.root.resolve()))
    return found


def assert_deployed(node: RunningNode, version: str, *, built: Built) -> None:
    """The tree lies right under relup/, whole, with the runtime folders only, and boots next."""
    place = Place(node.root.resolve())
    tree = place.tree(version)
    manifest = read_manifest(tree)
    assert manifest is not None
    assert verify_tree(tree, manifest) == []
    assert {path.name.partition("-")[0] for path in tree.iterdir()} == {"bin", "erts", "lib", "releases"}
    assert place.marker.read_text() == version
    source = built.tree(version)
    for file in ("bin/emqx", "releases/emqx_vars"):
        assert (tree / file).read_bytes() == (source / file).read_bytes()
