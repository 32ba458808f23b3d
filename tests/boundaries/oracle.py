"""What is so: the live code, the processes' states, the path, the files; asked of the node and the disk.

None of it is asked of relup: md5s and states come from the node's own `erl_call`, the rest from the disk.
"""

import ast
from pathlib import Path

import msgspec

from fixtures.build import Built
from fixtures.node import RunningNode

_LIVE = (
    'iolist_to_binary(lists:join(" ", [[atom_to_list(M), $=, binary:encode_hex(M:module_info(md5))]'
    ' || {M, F} <- code:all_loaded(), is_list(F), string:find(F, "/lib/emqx") =/= nomatch]))'
)
_STATES = (
    'iolist_to_binary(lists:join(" ", [integer_to_list(tuple_size(S)) || S <- '
    "[sys:get_state(emqx_metrics, 2000) | [sys:get_state(P, 2000) || {_, P} <- emqx_cm:all_channels()]]]))"
)
_SUSPENDED = (
    "length([P || P <- processes(), {current_function, {sys, L, _}} <- [process_info(P, current_function)],"
    " lists:member(L, [suspend_loop, suspend_loop_hib])])"
)
_PATH = (
    'iolist_to_binary(lists:join(" ", [P || P <- code:get_path(), string:find(P, "/lib/emqx") =/= nomatch]))'
)
_AGENT = 'length([M || {M, _} <- code:all_loaded(), lists:prefix("relup_agent", atom_to_list(M))])'


class World(msgspec.Struct, frozen=True, kw_only=True):
    """One node and its RootDir as they are."""

    md5s: dict[str, str]
    state_sizes: tuple[int, ...]
    """Of the metrics server first, then of each connection: the tuple's size tells the record's version."""
    suspended: int
    in_relup: set[str]
    """Our applications whose code path entry lies under relup/."""
    agent_modules: int
    marker: str | None
    trees: tuple[str, ...]
    leftovers: tuple[str, ...]


def world(node: RunningNode) -> World:
    """Look at everything."""
    relup = node.root / "relup"
    names = sorted(path.name for path in relup.iterdir()) if relup.is_dir() else []
    marker = relup / "current"
    return World(
        md5s=dict(pair.split("=") for pair in _text(node, _LIVE).split()),
        state_sizes=tuple(int(size) for size in _text(node, _STATES).split()),
        suspended=int(node.eval(_SUSPENDED)),
        in_relup={
            Path(entry).parent.name.partition("-")[0]
            for entry in _text(node, _PATH).split()
            if "/relup/" in entry
        },
        agent_modules=int(node.eval(_AGENT)),
        marker=marker.read_text().strip() if marker.exists() else None,
        trees=tuple(name for name in names if name[0].isdigit()),
        leftovers=tuple(name for name in names if name.startswith((".staging", ".removed"))),
    )


def _text(node: RunningNode, expression: str) -> str:
    """The text of an expression whose value is a binary, printed as `<<"…">>`."""
    printed = node.eval(expression).strip()
    text: str = ast.literal_eval(printed.removeprefix("<<").removesuffix(">>") or '""')
    return text


def tree_md5s(built: Built, version: str) -> dict[str, str]:
    """The module md5 of every beam of ours in a built tree."""
    from engine.release.beam import file_md5s

    files = {beam.stem: beam for beam in built.tree(version).glob("lib/emqx*/ebin/*.beam")}
    return {module: md5.upper() for module, md5 in file_md5s(files).items()}
