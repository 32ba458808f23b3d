"""The command line in a process of its own, watched through the journal and signalled at a chosen step."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from journal.errors import JournalError
from journal.events import AnyEvent, StepStarted
from tests.engine.scene import FRONT_DOOR
from tests.faults.serving import Serving, Told

LONGEST_S = 240.0


class Running:
    """A `relup upgrade` that runs."""

    def __init__(self, serving: Serving, tarball: Path, *more: str, catalog: Path | None = None) -> None:
        self._serving = serving
        self._seen = len(serving.scene.entries()) if serving.scene.place.journal.exists() else 0
        words = ["--json", "--root", str(serving.node.root)]
        words += ["--catalog", str(catalog or serving.built.reversible_catalog)]
        self._process = subprocess.Popen(
            [sys.executable, str(FRONT_DOOR), *words, "upgrade", str(tarball), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=serving.node.environment,
            stdin=subprocess.DEVNULL,
        )

    def wait_for_step(self, name: str, *, nth: int = 1) -> None:
        """Until the n-th step of that name has begun."""
        self._wait_until(lambda events: [begun_step(event) for event in events].count(name) >= nth)

    def _wait_until(self, holds: Callable[[list[AnyEvent]], bool]) -> None:
        until = time.monotonic() + LONGEST_S
        while not holds(self._events()):
            assert self._process.poll() is None, self._process.communicate()
            assert time.monotonic() < until
            time.sleep(0.02)

    def _events(self) -> list[AnyEvent]:
        """What this run has written so far; a journal that is only just being made has nothing."""
        try:
            return [entry.event for entry in self._serving.scene.entries()[self._seen :]]
        except JournalError:
            return []

    def send(self, number: signal.Signals) -> None:
        """One signal."""
        self._process.send_signal(number)

    def send_and_wait(self, number: signal.Signals) -> None:
        """Send it and wait until the operator is told that it was heard."""
        self.send(number)
        assert self._process.stderr is not None
        while "after the step in hand" not in (line := self._process.stderr.readline()):
            assert line, self._process.communicate()

    def ended(self) -> tuple[Told, str]:
        """How it ended, and what it said on the screen meanwhile."""
        said, shown = self._process.communicate(timeout=LONGEST_S)
        answer: dict[str, Any] = json.loads(said)
        return Told(self._process.returncode, answer, shown), shown

    def kill(self) -> None:
        """Leave no process behind."""
        self._process.kill()
        self._process.communicate()


def begun_step(event: AnyEvent) -> str | None:
    """The name of the step that an event begins."""
    return event.name if isinstance(event, StepStarted) else None
