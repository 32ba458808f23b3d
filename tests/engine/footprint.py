"""What a refused upgrade must leave as it was: the node, seen from inside, and every byte under RootDir."""

import hashlib
import os
import re
import stat
import time
from pathlib import Path

from fixtures.node import RunningNode

SETTLE_S = 10.0
"""A closed connection's processes are still on their way out for a moment."""
ATOMS_OF_ASKING = 60
"""Atoms that one plan, one upgrade and our own questions may leave: the one-time names under which each
connects (`'2A3B…@127.0.0.1'`), and words of the expressions when they are asked for the first time."""

PARTS = """
    Named = [{Name, Pid} || Name <- lists:sort(registered()), Pid <- [whereis(Name)], is_pid(Pid)],
    Parts = [
        {live_md5s, lists:sort([{M, erlang:get_module_info(M, md5)} || M <- erlang:loaded()])},
        {old_code, [M || M <- erlang:loaded(), erlang:check_old_code(M)]},
        {code_path, code:get_path()},
        {applications, lists:sort(application:which_applications())},
        {names, Named},
        {metrics, sys:get_state(emqx_metrics)},
        {clients, lists:sort(emqx_cm:all_channels())},
        {callbacks, persistent_term:get(emqx_post_upgrade, [])}
    ],
    [{element(1, Part), erlang:phash2(Part)} || Part <- Parts] ++
        [{processes, length(erlang:processes())}, {ports, length(erlang:ports())},
         {tables, length(ets:all())}, {atoms, erlang:system_info(atom_count)}]
"""
"""What the node says of itself; a digest of each part, so that a difference is short to tell."""


def node_footprint(node: RunningNode) -> dict[str, int]:
    """The node as it bears witness itself, once what came before us has gone.

    The retained messages, which it would save by a timer of its own, are saved now.
    """
    node.eval("dets:sync(emqx_retainer)")
    deadline = time.monotonic() + SETTLE_S
    seen = _asked(node)
    while (now := _asked(node)) | {"atoms": 0} != seen | {"atoms": 0} and time.monotonic() < deadline:
        seen = now
    return now


def node_differences(node: RunningNode, before: dict[str, int]) -> list[str]:
    """The parts of the footprint that are not as before; asked again until they are, or time is up."""
    deadline = time.monotonic() + SETTLE_S
    while (found := _differing(before, _asked(node))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _differing(before: dict[str, int], now: dict[str, int]) -> list[str]:
    allowed = {"atoms": ATOMS_OF_ASKING}
    return [
        f"{part}: {before[part]} before, {now[part]} now"
        for part in before
        if not 0 <= now[part] - before[part] <= allowed.get(part, 0)
    ]


def _asked(node: RunningNode) -> dict[str, int]:
    return {name: int(value) for name, value in _PART.findall(node.eval(PARTS))}


_PART = re.compile(r"{(\w+),(\d+)}")


def tree_footprint(root: Path) -> dict[str, str]:
    """Every path under RootDir outside relup's journal and lock: type, mode, time of change, bytes.

    The times of RootDir and relup/ themselves are left out: the staging came and went in them.
    """
    found: dict[str, str] = {}
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        if here == root / "relup":
            folders[:] = [name for name in folders if name != "journal"]
            files = [name for name in files if name != "lock"]
        for name in (*folders, *files):
            path = here / name
            found[str(path.relative_to(root))] = _imprint(path, timeless=path == root / "relup")
    return found


def _imprint(path: Path, *, timeless: bool) -> str:
    seen = path.lstat()
    content = ""
    if stat.S_ISLNK(seen.st_mode):
        content = os.readlink(path)  # noqa: PTH115 - the text of the link, not a path
    elif stat.S_ISREG(seen.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    time_of_change = 0 if timeless else seen.st_mtime_ns
    return f"{seen.st_mode:o} {seen.st_uid} {time_of_change} {content}"
