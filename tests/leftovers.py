"""No test leaves a node behind: looked for when the whole session ends, ended by pid, and told as a failure.

Only processes whose command line names a folder of this very session are looked at, so that other
sessions, and the operator's own nodes on this machine, are left alone.
"""

import time
from pathlib import Path

import psutil
import pytest

GRACE_S = 5.0
"""A node that was told to stop may still be on its way out."""


def beams_under(folder: Path) -> list[psutil.Process]:
    """Erlang VMs of this machine with a path under `folder` in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if line and Path(line[0]).name.startswith("beam") and any(f"{folder}/" in word for word in line):
            found.append(process)
    return found


def leftovers(folder: Path, *, grace_s: float = GRACE_S) -> list[psutil.Process]:
    """The VMs under `folder` that are still there after `grace_s`."""
    until = time.monotonic() + grace_s
    while (found := beams_under(folder)) and time.monotonic() < until:
        time.sleep(0.1)
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session that left nodes, after its workers, where it has some, have ended."""
    if hasattr(session.config, "workerinput"):
        return
    factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
    # pytest offers the session's folder only to fixtures, and this runs when they are gone.
    for node in leftovers(factory.getbasetemp().resolve()):
        print(f"\nleft behind by a test: pid {node.pid}: {' '.join(node.cmdline())[:300]}")
        node.kill()
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
