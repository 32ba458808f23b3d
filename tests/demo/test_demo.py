"""The demo counts honestly, and leaves neither node nor folder however it ends."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from demo.__main__ import CLIENTS, nothing_lost, told
from fixtures.clients import SwarmReport
from tests.leftovers import leftovers

HOUSE = Path(__file__).resolve().parents[2]

GOOD = SwarmReport(
    clients=CLIENTS,
    connected=CLIENTS,
    published=9_000,
    delivered=9_000,
    under_way=0,
    duplicates=0,
    disconnects=0,
    worst_gap_ms=23.4,
    worst_latency_ms=12.1,
    disconnected=(),
)


def test_the_last_line_says_what_the_clients_saw() -> None:
    """Connections kept, messages lost, the worst gap and the time: the words are promised."""
    line = told(GOOD, took_s=4.26)
    assert line == "kept 200/200 connections, lost 0 messages, worst gap 23 ms, upgrade 4.3 s"


@pytest.mark.parametrize(
    "worse",
    [
        replace(GOOD, connected=CLIENTS - 1, disconnects=1),
        replace(GOOD, delivered=8_999),
        replace(GOOD, published=0, delivered=0),
        replace(GOOD, clients=CLIENTS - 1, connected=CLIENTS - 1),
    ],
    ids=["a connection", "a message", "nobody spoke", "a client too few"],
)
def test_whatever_was_lost_is_a_failure(worse: SwarmReport) -> None:
    """One connection or one message less is no success, nor is a silence."""
    assert nothing_lost(GOOD)
    assert not nothing_lost(worse)


def _hears_ctrl_c() -> None:
    """Whoever runs the tests in the background ignores SIGINT, and hands that down."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_nothing(number: signal.Signals) -> None:
    """Ctrl-C in the middle ends the node by its pid and removes its folder."""
    folder = None
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "demo"],
        cwd=HOUSE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_hears_ctrl_c,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if " as emqx" in line:
                folder = next((HOUSE / "build").glob(f"demo-{demo.pid}-*"))
            if "clients are connected" in line:
                break
        os.killpg(demo.pid, number)
        rest = demo.stdout.read()
    assert demo.returncode == 130
    assert "its node is ended" in rest
    assert folder is not None
    assert not folder.exists()
    assert leftovers(folder) == []
