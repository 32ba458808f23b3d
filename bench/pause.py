"""What clients feel of one hop, four ways: ours, OTP's release handler, the official order, a plain load loop.

Each measurement runs on a fresh node of the same build, the ways alternating; the median of the runs counts.
A prober in the node asks connections steadily; the worst and the 99th hundredth of its latencies are shown.
"""

import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.pause_node import PauseNode, built
from bench.rows import Row
from engine.node.door import (
    CallFunction,
    ChangeCode,
    LoadModules,
    ModuleFile,
    StepDone,
    StepKey,
    StepProgress,
)
from engine.term import charlist

RUNS = int(os.environ.get("PAUSE_RUNS", "5"))
SIZES = tuple(map(int, os.environ.get("PAUSE_SIZES", "1000 10000 100000").split()))
MODULES = (500, 2500)
REQUESTS_PER_MS = 2
BUSY_OF = 10_000
BUSY_SHARE = 0.02
BUSY_MS = 200
MS = 1000


class Felt(msgspec.Struct, frozen=True):
    """One hop as the prober and the clock saw it; microseconds."""

    worst: float
    p99: float
    total: float
    lost: float


Way = Callable[[PauseNode], float]


def ours(node: PauseNode) -> float:
    """The agent's update; the agent is there already, as it is in an upgrade."""
    vm = node.vm()
    install = CallFunction(module="erlang", function="node", arguments=())
    vm.perform(StepKey(upgrade_id="bench", step=0, attempt=1, direction="do"), install)
    order = ChangeCode(module=node.file("2"), old=node.file("1"), direction="up", from_version="1", extra=[])
    node.eval(f"pause_probe:start({REQUESTS_PER_MS})")
    start = node.eval("erlang:monotonic_time(microsecond)")
    report = vm.perform(StepKey(upgrade_id="bench", step=1, attempt=1, direction="do"), order)
    took: float = node.eval("erlang:monotonic_time(microsecond)") - start
    assert isinstance(report, StepDone), report
    vm.close()
    return took


def _other(call: str) -> Way:
    def way(node: PauseNode) -> float:
        node.eval(f"pause_probe:start({REQUESTS_PER_MS})")
        took: float = node.eval(
            f"pause_probe:{call}",
            File=charlist(node.file("2").file),
            Folder=charlist(str(node.builds / "pause-2")),
        )
        return took

    return way


WAYS: dict[str, Way] = {
    "ours": ours,
    "release_handler": _other("release_handler(Folder)"),
    "official order": _other('official(pause_conn, File, "1")'),
    "plain load": _other("plain(pause_conn, File)"),
}


def rows() -> list[Row]:
    """Every size, then the busy processes, then many modules."""
    with _builds() as builds:
        felt = {size: _felt(builds, size, busy=0) for size in SIZES}
        found = [row for size in SIZES for row in _size_rows(size, felt[size])]
        found += _growth(felt)
        found += _busy_rows(
            _felt(builds, BUSY_OF, busy=int(BUSY_OF * BUSY_SHARE), ways=("ours", "official order"))
        )
        for count in MODULES:
            found += _module_rows(builds, count)
    return found


@contextmanager
def _builds() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bench-pause-"))
    try:
        yield built(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# ---------------------------------------------------------------- processes


def _felt(builds: Path, size: int, *, busy: int, ways: tuple[str, ...] = tuple(WAYS)) -> dict[str, Felt]:
    """The median of each way, the ways in turn."""
    seen: dict[str, list[Felt]] = {way: [] for way in ways}
    for _ in range(RUNS):
        for way in ways:
            seen[way].append(_once(builds, size, WAYS[way], busy))
    return {
        way: Felt(
            *(statistics.median(getattr(one, field) for one in runs) for field in Felt.__struct_fields__)
        )
        for way, runs in seen.items()
    }


def _once(builds: Path, size: int, way: Way, busy: int) -> Felt:
    with PauseNode(builds) as node:
        node.eval(f"{{ok, _}} = application:ensure_all_started(pause), pause_app:fill({size})")
        node.eval(f"pause_probe:busy({busy}, {BUSY_MS})")
        total = way(node)
        worst, p99, _, alive = node.eval("pause_probe:stop()")
        return Felt(worst=worst, p99=p99, total=total, lost=size - alive)


def _size_rows(size: int, felt: dict[str, Felt]) -> list[Row]:
    beside = felt["release_handler"]
    found = []
    for way, one in felt.items():
        is_judged = way == "ours" and size == 10_000
        ratio = one.worst / beside.worst
        found += [
            Row(
                name=f"pause: {size} processes, {way}: worst latency",
                value=one.worst / MS,
                unit="ms",
                baseline=beside.worst / MS,
                ratio=ratio,
                goal="≤ 0.6 of release_handler" if is_judged else None,
                met=ratio <= 0.6 if is_judged else None,
            ),
            Row(name=f"pause: {size} processes, {way}: p99 latency", value=one.p99 / MS, unit="ms"),
            Row(name=f"pause: {size} processes, {way}: whole hop", value=one.total / MS, unit="ms"),
            Row(name=f"pause: {size} processes, {way}: processes lost", value=one.lost, unit="processes"),
        ]
    return found


def _growth(felt: dict[int, dict[str, Felt]]) -> list[Row]:
    if not {10_000, 100_000} <= felt.keys():
        return []
    grown = felt[100_000]["ours"].worst / felt[10_000]["ours"].worst
    return [
        Row(
            name="pause: ours, worst latency at 100,000 over 10,000",
            value=grown,
            unit="x",
            goal="≤ 10 x",
            met=grown <= 10,
        )
    ]


def _busy_rows(felt: dict[str, Felt]) -> list[Row]:
    one, official = felt["ours"], felt["official order"]
    ratio = one.worst / official.worst
    return [
        Row(
            name=f"pause: {BUSY_OF} processes, 2 % busy: worst latency",
            value=one.worst / MS,
            unit="ms",
            baseline=official.worst / MS,
            ratio=ratio,
            goal="≤ 0.1 of the official order",
            met=ratio <= 0.1,
        ),
        Row(
            name=f"pause: {BUSY_OF} processes, 2 % busy: whole hop",
            value=one.total / MS,
            unit="ms",
            baseline=official.total / MS,
            ratio=one.total / official.total,
        ),
    ]


# ---------------------------------------------------------------- modules

_MAKE = """
Made = fun(Name) ->
    {ok, _, Beam} = compile:forms([{attribute, 1, module, list_to_atom(Name)},
        {attribute, 1, export, [{list_to_atom("f" ++ integer_to_list(F)), 1} || F <- lists:seq(1, 24)]} |
        [{function, F, list_to_atom("f" ++ integer_to_list(F)), 1,
            [{clause, F, [{integer, F, K}], [], [{tuple, F, [{integer, F, Version}, {integer, F, K * F}]}]}
                || K <- lists:seq(1, 20)]} || F <- lists:seq(1, 24)]]),
    Beam
end,
Template = Made("pm00000"),
[begin
    Name = lists:flatten(io_lib:format("pm~5..0w", [N])),
    Beam = binary:replace(Template, <<"pm00000">>, list_to_binary(Name), [global]),
    File = filename:join(Folder, Name ++ ".beam"),
    ok = file:write_file(File, Beam),
    {list_to_binary(Name), unicode:characters_to_binary(File), code:module_md5(Beam)}
end || N <- lists:seq(1, Count)]
"""
"""One module is compiled; the others are it under another name of the same length."""


def _module_rows(builds: Path, count: int) -> list[Row]:
    goal = 0.7 if count == MODULES[0] else 0.4
    seen = [_modules_once(builds, count) for _ in range(max(1, RUNS // 2))]
    total, mixed, stall, plain, plain_mixed = (
        statistics.median(values) for values in zip(*seen, strict=True)
    )
    found = [
        Row(
            name=f"pause: {count} modules: whole load",
            value=total / MS,
            unit="ms",
            baseline=plain / MS,
            ratio=total / plain,
            goal=f"≤ {goal} of the plain loop",
            met=total / plain <= goal,
        ),
        Row(
            name=f"pause: {count} modules: longest switch",
            value=stall / MS,
            unit="ms",
            goal="≤ 50 ms",
            met=stall <= 50 * MS,
        ),
    ]
    if count == MODULES[-1]:
        found.append(
            Row(
                name=f"pause: {count} modules: first switched to last",
                value=mixed / MS,
                unit="ms",
                baseline=plain_mixed / MS,
                ratio=mixed / plain_mixed,
                goal="≤ 0.25 of the plain loop",
                met=mixed / plain_mixed <= 0.25,
            )
        )
    return found


def _modules_once(builds: Path, count: int) -> tuple[float, float, float, float, float]:
    """Ours: total, mixed, longest switch; the plain loop: total, mixed. A thousand processes run meanwhile."""
    with PauseNode(builds) as node:
        old, new = _versions(node, builds, count)
        _ready(node, old)
        vm = node.vm()
        key = StepKey(upgrade_id="bench", step=0, attempt=1, direction="do")
        vm.perform(key, CallFunction(module="erlang", function="node", arguments=()))
        start = node.eval("erlang:monotonic_time(microsecond)")
        key = StepKey(upgrade_id="bench", step=1, attempt=1, direction="do")
        first: list[float] = []

        def heard(_: StepProgress) -> None:
            if not first:
                first.append(node_time(node))

        report = vm.perform(key, LoadModules(modules=new), on_progress=heard)
        end = node_time(node)
        assert isinstance(report, StepDone), report
        vm.close()
        mixed = end - (first[0] if first else start)
    with PauseNode(builds) as node:
        _ready(node, old)
        files = [charlist(file.file) for file in new]
        plain, plain_mixed = node.eval("pause_probe:load_one_by_one(Files)", Files=files)
    return end - start, mixed, report.worst_stall_us, plain, plain_mixed


def node_time(node: PauseNode) -> float:
    """The node's clock, microseconds."""
    return float(node.eval("erlang:monotonic_time(microsecond)"))


def _ready(node: PauseNode, old: tuple[ModuleFile, ...]) -> None:
    """A thousand processes, and the old modules loaded."""
    node.eval("{ok, _} = application:ensure_all_started(pause), pause_app:fill(1000)")
    node.eval(
        "[{module, _} = code:load_abs(filename:rootname(F)) || F <- Files]",
        Files=[charlist(file.file) for file in old],
    )


def _versions(
    node: PauseNode, builds: Path, count: int
) -> tuple[tuple[ModuleFile, ...], tuple[ModuleFile, ...]]:
    made = []
    for version in (1, 2):
        folder = builds / f"modules-{count}-{version}"
        made.append(_made(node, folder, count, version))
    return made[0], made[1]


def _made(node: PauseNode, folder: Path, count: int, version: int) -> tuple[ModuleFile, ...]:
    folder.mkdir(exist_ok=True)
    found = node.eval(_MAKE, Folder=charlist(str(folder)), Version=version, Count=count)
    return tuple(
        ModuleFile(module=module.decode(), file=file.decode(), md5=md5.hex()) for module, file, md5 in found
    )
