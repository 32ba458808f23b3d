"""Verify, unpack and deploy, beside GNU tar and beside the official order, on the same files in the same run.

Packages of 40, 160 and 640 MB are made on tmpfs and removed again; the durable deploy is measured on the
disk under the build folder. Ours is timed from opening the package to the staged tree, in a fresh process;
the shell's and Erlang's work without the start of their programs would differ by a few milliseconds.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.clock import seconds
from bench.nodes import running_node
from bench.packages import make_package
from bench.rows import Row
from fixtures.build import default_folder
from fixtures.clients import Swarm

MB = 1_000_000
TAR_GOAL, OFFICIAL_GOAL, DURABLE_GOAL, MEMORY_GOAL_MIB = 0.85, 0.4, 1.3, 96
CLIENTS, CLIENT_INTERVAL_MS = 20, 20
DURABLE_TURNS = 3


class Size(NamedTuple):
    megabytes: int
    files: int
    turns: int


SIZES = (Size(40, 5_000, 3), Size(160, 15_000, 3), Size(640, 40_000, 1))
LATENCY_SIZE = SIZES[1]


class Once(NamedTuple):
    """One run of ours."""

    seconds: float
    peak_mib: float


def rows() -> list[Row]:
    """All sizes on tmpfs, then the durable deploy and the clients' latency on disk."""
    found: list[Row] = []
    with _folder(Path("/dev/shm")) as memory, _folder(default_folder().parent) as disk:
        for size in SIZES:
            tarball = _package(memory, size)
            found += _beside_the_others(tarball, memory / "work", size)
            if size == LATENCY_SIZE:
                found += _durable(tarball, disk / "work", size)
                found += _latency(tarball, disk / "work", size)
            tarball.unlink()
    return found


@contextmanager
def _folder(above: Path) -> Iterator[Path]:
    above.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="relup-bench-", dir=above) as folder:
        yield Path(folder)


def _package(memory: Path, size: Size) -> Path:
    tarball = memory / f"emqx-enterprise-5.10.5-{size.megabytes}mb.tar.gz"
    return make_package(tarball, compressed_bytes=size.megabytes * MB, files=size.files)


def _beside_the_others(tarball: Path, work: Path, size: Size) -> list[Row]:
    ours: list[Once] = []
    tar: list[float] = []
    official: list[float] = []
    for _ in range(size.turns):
        ours.append(_ours(tarball, work))
        tar.append(_timed(work, lambda: _sha256sum_and_tar(tarball, work)))
        official.append(_timed(work, lambda: _official(tarball, work)))
    taken = statistics.median(once.seconds for once in ours)
    name = f"deploy: verify and unpack {size.megabytes} MB, {size.files:,} files"
    peak = max(once.peak_mib for once in ours)
    return [
        _against(f"{name}, beside sha256sum -c && tar xzf", taken, statistics.median(tar), TAR_GOAL),
        _against(f"{name}, beside the official order", taken, statistics.median(official), OFFICIAL_GOAL),
        Row(
            name=f"deploy: peak memory, {size.megabytes} MB",
            value=peak,
            unit="MiB",
            goal=f"< {MEMORY_GOAL_MIB} MiB",
            met=peak < MEMORY_GOAL_MIB,
        ),
    ]


def _durable(tarball: Path, work: Path, size: Size) -> list[Row]:
    ours: list[float] = []
    tar: list[float] = []
    for _ in range(DURABLE_TURNS):
        ours.append(_ours(tarball, work, "--deploy").seconds)
        tar.append(_timed(work, lambda: _sha256sum_and_tar(tarball, work, sync=True)))
    name = f"deploy: durable on disk, {size.megabytes} MB, beside the same tar && sync -f"
    return [_against(name, statistics.median(ours), statistics.median(tar), DURABLE_GOAL)]


def _latency(tarball: Path, work: Path, size: Size) -> list[Row]:
    """What MQTT clients of a node on this machine feel of an unpacking: their worst round trip.

    Beside it the worst one of as long a time without: the longer one waits, the worse the worst.
    """
    with running_node() as node:
        began = time.perf_counter()
        low = _worst_latency_ms(node.mqtt_port, lambda: _ours(tarball, work, "--deploy", "--low-priority"))
        as_long = time.perf_counter() - began
        full = _worst_latency_ms(node.mqtt_port, lambda: _ours(tarball, work, "--deploy"))
        quiet = _worst_latency_ms(node.mqtt_port, lambda: time.sleep(as_long))
    name = f"deploy: worst MQTT round trip while {size.megabytes} MB are deployed"
    return [
        Row(name=f"{name}, low priority", value=low, unit="ms", baseline=quiet, ratio=low / quiet),
        Row(name=f"{name}, --full-speed", value=full, unit="ms", baseline=quiet, ratio=full / quiet),
    ]


def _worst_latency_ms(port: int, work: Callable[[], object]) -> float:
    with Swarm(port, count=CLIENTS, interval_ms=CLIENT_INTERVAL_MS, prefix="deploy-bench") as swarm:
        work()
        return swarm.stop().worst_latency_ms


def _against(name: str, value: float, baseline: float, goal: float) -> Row:
    ratio = value / baseline
    return Row(
        name=name,
        value=value,
        unit="s",
        baseline=baseline,
        ratio=ratio,
        goal=f"<= {goal} x",
        met=ratio <= goal,
    )


def _timed(work: Path, run: Callable[[], object]) -> float:
    work.mkdir(parents=True)
    try:
        return seconds(run)
    finally:
        shutil.rmtree(work)


def _ours(tarball: Path, work: Path, *options: str) -> Once:
    work.mkdir(parents=True)
    try:
        said = subprocess.run(
            [sys.executable, "-m", "bench.unpack_once", str(tarball), str(work), *options],
            cwd=Path(__file__).resolve().parent.parent,
            capture_output=True,
            check=True,
        ).stdout
    finally:
        shutil.rmtree(work)
    once = json.loads(said)
    return Once(once["seconds"], once["peak_mib"])


def _sha256sum_and_tar(tarball: Path, work: Path, *, sync: bool = False) -> None:
    sidecar = f"{tarball.name}.sha256"
    subprocess.run(["sha256sum", "-c", sidecar], cwd=tarball.parent, stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["tar", "xzf", str(tarball), "-C", str(work)], check=True)
    if sync:
        subprocess.run(["sync", "-f", str(work)], check=True)


_OFFICIAL = """
[Tarball, Unpacked, Tree] = init:get_plain_arguments(),
{ok, Content} = file:read_file(Tarball),
<<_:256>> = crypto:hash(sha256, Content),
ok = erl_tar:extract(Tarball, [compressed, {cwd, Unpacked}]),
[os:cmd("cp -Rp " ++ filename:join(Unpacked, Part) ++ " " ++ Tree) || Part <- ["bin", "lib"]],
halt(0).
"""


def _official(tarball: Path, work: Path) -> None:
    """The order of the official tool: read and hash whole, unpack from the path again, copy into place."""
    unpacked, tree = work / "unpacked", work / "tree"
    unpacked.mkdir()
    tree.mkdir()
    subprocess.run(
        ["erl", "-noshell", "-noinput", "-eval", _OFFICIAL, "-extra", str(tarball), str(unpacked), str(tree)],
        check=True,
    )
