"""Progress on stderr: bars on a terminal, one line per phase elsewhere."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from cli.progress import PlainProgress, amount, shown

HOUSE = Path(__file__).resolve().parents[2]
STORY = """
import sys
from cli.progress import shown
with shown(sys.stderr) as progress:
    progress.step("unpack target", total=4 * 1024 * 1024, unit="bytes")
    progress.reached(2 * 1024 * 1024)
    progress.note("two modules are live already")
    progress.step("change code")
    progress.total(200, unit="processes")
    progress.reached(200)
    progress.step("make \\x1b[2Jpermanent")
print("answer")
"""


def run_on_a_terminal(story: str, *, columns: int = 100) -> tuple[str, str]:
    """(what a terminal on stderr shows, stdout) of a Python program, however it ends."""
    main, side = pty.openpty()
    shown_bytes: list[bytes] = []

    def read() -> None:
        while True:
            try:
                shown_bytes.append(os.read(main, 65536))
            except OSError:  # the other side is closed
                return

    reader = Thread(target=read, daemon=True)
    reader.start()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
    environ.pop("NO_COLOR", None)
    try:
        done = subprocess.run(
            [sys.executable, "-c", story],
            cwd=HOUSE,
            stderr=side,
            stdout=subprocess.PIPE,
            env=environ,
            check=False,
        )
    finally:
        os.close(side)
        reader.join(10)
        os.close(main)
    return b"".join(shown_bytes).decode(), done.stdout.decode()


def test_a_terminal_shows_a_bar_per_phase_with_its_amount_and_time() -> None:
    """Each phase has its own bar; notes stand above; nothing foreign reaches the terminal raw."""
    screen, answer = run_on_a_terminal(STORY)
    assert answer == "answer\n"
    assert "unpack target" in screen
    assert "2.0 of 4.0 MiB" in screen
    assert "200 of 200 processes" in screen
    assert "0:00:0" in screen
    assert "two modules are live already" in screen
    assert "make \\x1b[2Jpermanent" in screen
    assert screen.endswith("\n") or "\x1b[?25h" in screen, "the cursor is shown again"


LONG = """
import sys
from cli.progress import shown
with shown(sys.stderr) as progress:
    progress.step("check the target against the node")
    progress.step("deploy target", total=494, unit="files and folders")
    progress.reached(494)
"""


@pytest.mark.parametrize("columns", [60, 80])
def test_a_narrow_terminal_gives_up_the_bar_before_the_words(columns: int) -> None:
    """What is done, how much of it and how long it took are whole."""
    screen, _ = run_on_a_terminal(LONG, columns=columns)
    assert "494 of 494 files and folders" in screen
    assert "0:00:00" in screen
    assert "✓" in screen
    assert "…" not in screen
    assert ("━" in screen) == (columns == 80)


def test_a_terminal_gets_its_cursor_back_when_a_phase_fails() -> None:
    """A bar that stops in the middle leaves a usable terminal and no claim that it was finished."""
    failing = STORY.replace('progress.step("change code")', 'raise SystemExit("suspend timeout")')
    screen, answer = run_on_a_terminal(failing)
    assert answer == ""
    assert "suspend timeout" in screen
    assert "\x1b[?25h" in screen
    assert "✓" not in screen


def test_a_pipe_gets_one_line_per_phase_with_its_time() -> None:
    """A log file can be read: no escape sequence, no repeated line."""
    piped = subprocess.run(
        [sys.executable, "-c", STORY], cwd=HOUSE, capture_output=True, text=True, check=True
    )
    assert "\x1b" not in piped.stderr
    lines = piped.stderr.splitlines()
    assert lines[0] == "  two modules are live already"
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "unpack target",
        "change code",
        "make \\x1b[2Jpermanent",
    ]
    assert lines[1].endswith("s, 2.0 of 4.0 MiB")
    assert lines[2].endswith("s, 200 of 200 processes")


def test_a_plain_phase_says_how_long_it_took_and_how_it_ended() -> None:
    """The time is the phase's own; a phase that failed is not told as done."""
    stream = io.StringIO()
    times = iter([10.0, 12.5, 20.0, 20.4])
    progress = PlainProgress(stream, now=lambda: next(times))
    progress.step("load modules")
    progress.close()
    progress.step("change code")
    progress.close(failed=True)
    progress.close()
    assert stream.getvalue().splitlines() == ["load modules: in 2.5 s", "change code: stopped after 0.4 s"]


def test_an_error_ends_the_phase_as_stopped() -> None:
    """The last line before an error says which phase it stopped."""
    stream = io.StringIO()

    def fails() -> None:
        with shown(stream) as progress:
            progress.step("change code")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert stream.getvalue().startswith("change code: stopped after")


@pytest.mark.parametrize(
    ("done", "total", "unit", "text"),
    [
        (3, 120, "modules", "3 of 120 modules"),
        (3, None, "modules", "3 modules"),
        (1_572_864, 41_943_040, "bytes", "1.5 of 40.0 MiB"),
        (1_572_864, None, "bytes", "1.5 MiB"),
        (2, 5, "", "2 of 5"),
    ],
)
def test_an_amount_reads_like_words(done: int, total: int | None, unit: str, text: str) -> None:
    """Bytes are shown in MiB, all else counted in its own unit."""
    assert amount(done, total, unit) == text


def test_plain_progress_needs_no_rich() -> None:
    """A command on a pipe does not pay for the import of the bars."""
    seen = "import sys, cli.progress, cli.output; print('rich' in sys.modules)"
    piped = subprocess.run(
        [sys.executable, "-c", seen], cwd=HOUSE, capture_output=True, text=True, check=True
    )
    assert piped.stdout.strip() == "False"
