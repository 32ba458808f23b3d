"""Measures the journal: durable appends, replay, status and logs at size, compaction, following.

Everything is measured against the barest way to do the same, in the same run on the same machine. Replay
and what builds on it is measured in memory where the machine has a filesystem there; appends on the disk
of the temporary folder, because waiting for it is what they do.
"""

import gc
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path

import lmdb
import msgspec

from bench.rows import Row
from journal import codec
from journal.compaction import clear_history
from journal.environment import MAP_SIZE_BYTES, MAX_DBS
from journal.events import (
    AnyEvent,
    Entry,
    Evidence,
    ModuleChange,
    NodeObservation,
    NodeRestarted,
    PlanResolved,
    RecordedStep,
    Requester,
    StepStarted,
    StepSucceeded,
    UpgradeId,
    UpgradeRequested,
    UpgradeSucceeded,
)
from journal.opening import create_or_open
from journal.reader import read
from journal.store import Store
from projections.facts import Facts, fold
from projections.replay import refresh_snapshots
from projections.retention import clearing

MILLION = 1_000_000
APPENDS = 2_000
FOLLOWED = 100_000
REPEATS = 5
HOME = Path(__file__).resolve().parent.parent
BY = Requester(user="emqx", host="bench", pid=1, tool_version="0")


def rows(*, events: int = MILLION, followed: int = FOLLOWED) -> list[Row]:
    """Every measurement of this room.

    Args:
        events: Size of the large history.
        followed: Appends under a follower.
    """
    with _folder(in_memory=False) as disk, _folder(in_memory=True) as memory:
        found = [_append(disk)]
        large = _filled(memory / "large", events)
        found += _replays(memory, large, events)
        found += [
            _status(memory, large),
            _logs(memory, large),
            _peak_memory(large, events),
            _compaction(large, events),
        ]
        found.append(_follow(memory, followed))
    return found


@contextmanager
def _folder(*, in_memory: bool) -> Iterator[Path]:
    where = "/dev/shm" if in_memory and Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="relup-bench-", dir=where) as name:
        yield Path(name)


def _row(
    name: str, value: float, unit: str, baseline: float, goal: str, *, met: bool, ratio: float | None = None
) -> Row:
    ratio = value / baseline if ratio is None else ratio
    return Row(
        name=f"journal: {name}", value=value, unit=unit, baseline=baseline, ratio=ratio, goal=goal, met=met
    )


# ---------------------------------------------------------------- a history to measure on


def _upgrade(number: int) -> list[AnyEvent]:
    """The events of one upgrade of eight steps, and of the restart after it."""
    node = NodeObservation(
        name="emqx@127.0.0.1",
        os_pid=number,
        os_start_time=number,
        creation=number,
        otp_release="25",
        running_version="5.10.4",
        boot_tree="/opt/emqx",
    )
    changes = tuple(
        ModuleChange(module=f"emqx_{index}", from_md5=f"{index:032x}", to_md5=f"{index + 1:032x}")
        for index in range(2)
    )
    steps = tuple(
        RecordedStep(number=step, name="LoadModules", subject="2 modules", undoable=True, modules=changes)
        for step in range(3, 9)
    )
    plan = PlanResolved(
        plan_id=f"{number:064x}",
        from_version="5.10.4",
        target_version="5.10.5",
        package_sha256=f"{number:064x}",
        hop_file="5.10.4-to-5.10.5.relup",
        hop_sha256=f"{number:064x}",
        steps=steps,
    )
    walks: list[AnyEvent] = []
    for step in range(1, 9):
        evidence = Evidence(modules=50, skipped=2, batches=1, worst_stall_us=1234)
        walks.append(StepStarted(step=step, name="LoadModules"))
        walks.append(StepSucceeded(step=step, name="LoadModules", took_us=12_345, evidence=evidence))
    return [
        UpgradeRequested(by=BY, tarball="/opt/upgrade/emqx-enterprise-5.10.5-debian12-amd64.tar.gz"),
        *walks[:4],
        plan,
        *walks[4:],
        UpgradeSucceeded(took_us=1_234_567, connections_before=1000, connections_after=1000),
        NodeRestarted(node=node),
    ]


def _events() -> Iterator[tuple[UpgradeId, AnyEvent]]:
    for number in count(1):
        upgrade_id = UpgradeId(f"20260714T031502Z-{number:08x}")
        for event in _upgrade(number):
            yield upgrade_id, event


def _filled(root: Path, events: int) -> Path:
    """The folder of a journal with that many events, written without waiting for the disk."""
    folder = _folder_of(root)
    _open(folder).close()
    environment = lmdb.open(str(folder / "1"), max_dbs=MAX_DBS, map_size=MAP_SIZE_BYTES, sync=False)
    entries = environment.open_db(b"entries")
    with environment.begin(db=entries) as transaction:
        previous = transaction.get(codec.key(1), b"")[: codec.HASH_SIZE]
    source = enumerate(islice(_events(), events - 1), start=2)
    while batch := list(islice(source, 20_000)):
        with environment.begin(write=True, db=entries) as transaction:
            for seq, (upgrade_id, event) in batch:
                entry = Entry(seq=seq, at=seq * 1_000_000_000, upgrade_id=upgrade_id, event=event)  # type: ignore[arg-type]  # a plain number
                key, value = codec.record(entry, previous=previous)
                previous = value[: codec.HASH_SIZE]
                transaction.put(key, value, append=True, overwrite=False)
    environment.sync(True)
    environment.close()
    return folder


def _folder_of(root: Path) -> Path:
    """Where the journal of an install root lies; the root is made as small as one can be."""
    (root / "releases").mkdir(parents=True, exist_ok=True)
    (root / "releases" / "emqx_vars").write_text('REL_VSN="5.10.4"\n')
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc" / "emqx.conf").write_text('node.name = "bench@127.0.0.1"\nnode.cookie = "bench"\n')
    return root / "relup" / "journal"


def _open(folder: Path) -> Store:
    return create_or_open(folder, clock=time.time_ns, node=None, root=str(folder.parent.parent))


def _best(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Seconds of the fastest run."""
    return min(_timed(work) for _ in range(repeats))


def _timed(work: Callable[[], object]) -> float:
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# ---------------------------------------------------------------- append


def _append(disk: Path) -> Row:
    """Durable appends beside bare py-lmdb put and commit of the same bytes, in turns."""
    events = list(islice(_events(), APPENDS))
    with _open(_folder_of(disk / "append")) as store:
        bare_folder = disk / "bare"
        bare_folder.mkdir()
        bare = lmdb.open(str(bare_folder), max_dbs=MAX_DBS, map_size=MAP_SIZE_BYTES)
        entries = bare.open_db(b"entries")
        ours = theirs = 0.0
        for number, (upgrade_id, event) in enumerate(events):
            _, record = store.sealed_record(event)
            began = time.perf_counter()
            with bare.begin(write=True, db=entries) as transaction:
                transaction.put(number.to_bytes(8, "big"), record, append=True)
            between = time.perf_counter()
            store.append(event, upgrade_id=upgrade_id)
            ours += time.perf_counter() - between
            theirs += between - began
        bare.close()
    value, baseline = APPENDS / ours, APPENDS / theirs
    return _row(
        "append", value, "events/s", baseline, ">= 0.8 of bare put+commit", met=value >= 0.8 * baseline
    )


# ---------------------------------------------------------------- replay


def _replays(memory: Path, large: Path, events: int) -> list[Row]:
    """The goal is held at the largest size; the smaller ones show whether time grows with it and no faster."""
    sizes = (events // 100, events // 10, events)
    folders = [large if size == events else _filled(memory / f"replay-{size}", size) for size in sizes]
    rates = [_replay_rates(folder, size) for folder, size in zip(folders, sizes, strict=True)]
    found = [
        Row(
            name=f"journal: replay {size} events",
            value=rate,
            unit="events/s",
            baseline=bare,
            ratio=rate / bare,
        )
        for size, (rate, bare) in zip(sizes[:-1], rates[:-1], strict=True)
    ]
    rate, bare = rates[-1]
    goal = ">= 0.6 of a bare loop"
    found.append(_row(f"replay {events} events", rate, "events/s", bare, goal, met=rate >= 0.6 * bare))
    best = max(rate for rate, _ in rates)
    goal = ">= 0.7 of the best rate of all sizes"
    found.append(_row("replay grows linearly", rate, "events/s", best, goal, met=rate >= 0.7 * best))
    return found


def _replay_rates(folder: Path, size: int) -> tuple[float, float]:
    """Events per second with decode, chain and fold, and of the bare loop, in turns."""
    repeats = 3 if size >= MILLION else REPEATS
    ours, bare = [], []
    for _ in range(repeats):
        ours.append(_timed(lambda: fold(read(folder).entries(), Facts())))
        bare.append(_timed(lambda: _bare_loop(folder)))
    return size / min(ours), size / min(bare)


def _bare_loop(folder: Path) -> None:
    """Cursor, blake2b and msgspec decode, and nothing else."""
    decode = msgspec.msgpack.Decoder(Entry).decode
    blake2b = hashlib.blake2b
    environment = lmdb.open(str(folder / "1"), max_dbs=MAX_DBS, map_size=MAP_SIZE_BYTES, readonly=True)
    entries = environment.open_db(b"entries", create=False)
    previous = codec.GENESIS
    with environment.begin(db=entries) as transaction:
        for key, value in transaction.cursor():
            payload = value[32:]
            previous = blake2b(previous + key + payload, digest_size=32).digest()
            decode(payload)
    environment.close()


# ---------------------------------------------------------------- status and logs at size


def _status(memory: Path, large: Path) -> Row:
    """`relup status`, from a snapshot, with a large history and with ten events."""
    small = _filled(memory / "ten", 10)
    for folder in (small, large):
        with _open(folder) as store:
            refresh_snapshots(store)
    return _command("status", small, large, limit=1.3)


def _logs(memory: Path, large: Path) -> Row:
    """The last 100 attempts of a large history beside those of ten events."""
    return _command("logs", _folder_of(memory / "ten"), large, "--last", "100", limit=2.0)


def _command(name: str, small: Path, large: Path, *words: str, limit: float) -> Row:
    """Median times of the whole command on a root whose node is down, in turns."""

    def run(folder: Path) -> float:
        root = folder.parent.parent
        command = [sys.executable, str(HOME / "relup.py"), "--root", str(root), name, *words]
        return _timed(
            lambda: subprocess.run(command, stdout=subprocess.DEVNULL, env=_environment(), check=True)
        )

    pairs = [(run(small), run(large)) for _ in range(9)]
    few, many = statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)
    return _row(
        f"{name} at size",
        many * 1000,
        "ms",
        few * 1000,
        f"<= {limit} of the time with ten events",
        met=many <= limit * few,
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HOME), "PYTHONDONTWRITEBYTECODE": ""}


# ---------------------------------------------------------------- memory, compaction, following


def _peak_memory(large: Path, events: int) -> Row:
    """The largest of the two processes of a full replay, mapped pages counted."""
    program = (
        "import resource, sys\nfrom pathlib import Path\nfrom bench.memory import peak_mib\n"
        "from journal.reader import read\n"
        "from projections.facts import Facts, fold\nfold(read(Path(sys.argv[1])).entries(), Facts())\n"
        "print(max(peak_mib(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(large)],
        cwd=HOME,
        env=_environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    peak = float(done.stdout)
    return Row(
        name=f"journal: replay peak memory, {events} events",
        value=peak,
        unit="MiB",
        goal="< 128 MiB",
        met=peak < 128,
    )


def _compaction(large: Path, events: int) -> Row:
    """`logs-clear` of everything ended: the fold, the new generation and the switch."""
    with _open(large) as store:

        def clear() -> None:
            found = clearing(read(large), standing_is_over=True)
            assert found is not None
            clear_history(
                store, until=found.until, dropped_upgrades=found.dropped_upgrades, state=found.state, by=BY
            )

        took = _timed(clear)
    return Row(
        name=f"journal: compaction of {events} events", value=took, unit="s", goal="< 10 s", met=took < 10
    )


def _follow(memory: Path, followed: int) -> Row:
    """How a follower changes the rate of the writer; it must see every event once and in order."""
    alone, accompanied = [], []
    for number in range(3):
        alone.append(_append_rate(memory / f"alone-{number}", followed // 3, follower=False))
        accompanied.append(_append_rate(memory / f"followed-{number}", followed // 3, follower=True))
    value, baseline = max(accompanied), max(alone)
    return _row(
        "append under a follower", value, "events/s", baseline, ">= 0.9 of alone", met=value >= 0.9 * baseline
    )


def _append_rate(root: Path, events: int, *, follower: bool) -> float:
    folder = _folder_of(root)
    with _open(folder) as store:
        child = _follower(folder, events + 1) if follower else 0
        story = list(islice(_events(), events))
        took = _timed(lambda: [store.append(event, upgrade_id=upgrade_id) for upgrade_id, event in story])
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "each event once and in order"
    shutil.rmtree(root)
    return events / took


def _follower(folder: Path, events: int) -> int:
    """A process that follows to the last event; it ends with 0 when it saw each once and in order."""
    program = (
        "import sys\nfrom itertools import islice\nfrom pathlib import Path\nfrom journal.reader import read\n"
        "folder, events = Path(sys.argv[1]), int(sys.argv[2])\n"
        "seen = [entry.seq for entry in islice(read(folder).follow(), events)]\n"
        "sys.exit(seen != list(range(1, events + 1)))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, str(folder), str(events)], cwd=HOME, env=_environment()
    ).pid


if __name__ == "__main__":
    for row in rows():
        print(msgspec.json.encode(row).decode())
