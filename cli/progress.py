"""What the engine is doing, on stderr: a bar per phase on a terminal, else one plain line per phase.

It listens at `engine.progress.Progress` and decides nothing. rich is imported only when a terminal shows
bars. `--json` does not silence it, since stdout stays clean.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from cli.output import is_plain, printable
from engine.progress import Progress

if TYPE_CHECKING:
    from rich.progress import TaskID

_KIB = 1024
_BAR_WIDTH = 40
_SHORTEST_BAR = 4
_WIDTH_OF_WORDS = 76
"""Of what stands beside the bar: the longest phase, its amount and its time. They are not cut off for a bar."""


def amount(done: int, total: int | None, unit: str) -> str:
    """`41 of 120 modules`, `3.2 of 40.0 MiB`; bytes are shown in MiB."""
    if unit == "bytes":
        mib = [f"{count / _KIB / _KIB:.1f}" for count in (done, total) if count is not None]
        return " of ".join(mib) + " MiB"
    return f"{done} of {total} {unit}".rstrip() if total is not None else f"{done} {unit}".rstrip()


class PlainProgress:
    """One line when a phase ends, with its time: for logs, pipes and NO_COLOR."""

    def __init__(self, stream: TextIO, *, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._now = now
        self._title: str | None = None
        self._total: int | None = None
        self._unit = ""
        self._done: int | None = None
        self._began = 0.0

    def step(self, title: str, *, total: int | None = None, unit: str = "") -> None:
        self.close()
        self._title, self._total, self._unit, self._done = title, total, unit, None
        self._began = self._now()

    def total(self, total: int, *, unit: str) -> None:
        self._total, self._unit = total, unit

    def reached(self, done: int) -> None:
        self._done = done

    def note(self, text: str) -> None:
        print(f"  {printable(text)}", file=self._stream, flush=True)

    def close(self, *, failed: bool = False) -> None:
        """End the phase in hand and say so; nothing to do when none is open."""
        if self._title is None:
            return
        counted = "" if self._done is None else f", {amount(self._done, self._total, self._unit)}"
        took = f"{self._now() - self._began:.1f} s"
        word = "stopped after" if failed else "in"
        print(f"{printable(self._title)}: {word} {took}{counted}", file=self._stream, flush=True)
        self._title = None


class BarProgress:
    """A moving bar per phase, finished ones above it, drawn by rich."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        console = Console(file=stream, highlight=False)
        columns: list[ProgressColumn] = [
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False)),
            BarColumn(bar_width=min(_BAR_WIDTH, console.width - _WIDTH_OF_WORDS)),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeElapsedColumn(),
        ]
        if console.width < _WIDTH_OF_WORDS + _SHORTEST_BAR:
            del columns[2]
        self._bars: Bars = Bars(*columns, console=console)
        self._task: TaskID | None = None
        self._total: int | None = None
        self._unit = ""
        self._bars.start()

    def step(self, title: str, *, total: int | None = None, unit: str = "") -> None:
        self._finish()
        self._total, self._unit = total, unit
        self._task = self._bars.add_task(printable(title), total=total, amount="")

    def total(self, total: int, *, unit: str) -> None:
        self._total, self._unit = total, unit
        if self._task is not None:
            self._bars.update(self._task, total=total)

    def reached(self, done: int) -> None:
        if self._task is not None:
            shown = amount(done, self._total, self._unit)
            self._bars.update(self._task, completed=done, amount=shown)

    def note(self, text: str) -> None:
        self._bars.console.print(f"  {printable(text)}", markup=False)

    def close(self, *, failed: bool = False) -> None:
        """Leave the bars as they stand; a phase that failed keeps its unfinished bar."""
        if not failed:
            self._finish()
        elif self._task is not None:
            self._bars.stop_task(self._task)
        self._task = None
        self._bars.stop()

    def _finish(self) -> None:
        if self._task is None:
            return
        total = self._total if self._total is not None else 1
        self._bars.update(self._task, total=total, completed=total)
        self._task = None


@contextmanager
def shown(stream: TextIO, *, environ: Mapping[str, str] = os.environ) -> Iterator[Progress]:
    """Progress for the length of a command; the last phase is ended, well or not, on the way out."""
    progress = PlainProgress(stream) if is_plain(stream, environ) else BarProgress(stream)
    try:
        yield progress
    except BaseException:
        progress.close(failed=True)
        raise
    progress.close()
