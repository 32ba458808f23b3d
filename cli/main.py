"""The entry of the command line, and the one place where errors leave the program.

`relup status` has a quarter of a second for everything, and typer's import alone takes more than half of
that: a plain `status` is recognised and answered without it (cli/quick.py), all else goes to cli/app.py.
"""

import sys
from typing import Any

from cli.exit_codes import DONE, INTERRUPTED, exit_code
from cli.output import Output
from cli.quick import context_of_status
from cli.streams import guard, lost_answer


def run() -> None:
    """Run the command line and leave with its exit code."""
    arguments = sys.argv[1:]
    answer = guard()
    code = _code_of(arguments)
    lost = lost_answer(answer)
    if lost is not None and code == DONE:
        Output().fail(lost)
        code = exit_code(lost)
    sys.exit(code)


def _code_of(arguments: list[str]) -> int | str | None:
    """Obey; the exit code."""
    try:
        _obey(arguments)
    except SystemExit as leaving:
        return leaving.code or DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return _told(error, arguments)
    return DONE


def _obey(arguments: list[str]) -> None:
    context = context_of_status(arguments)
    if context is not None:
        from cli.standing import show

        show(context)
    else:
        from cli.app import app_for

        app_for(arguments)(prog_name="relup")


def _told(error: Exception, arguments: list[str]) -> int:
    """Tell the operator about an error; the exit code to leave with."""
    output = Output(json="--json" in arguments)
    verbose = bool({"--verbose", "-v"} & set(arguments))
    told: Any = error
    if not hasattr(error, "happened"):
        told = _unexpected(error)
        verbose = True
    if verbose:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    output.fail(told, node=getattr(error, "versions", None))
    return exit_code(error)


def _unexpected(error: Exception) -> Exception:
    from engine.errors import RelupError

    told = RelupError(
        f"relup itself failed: {type(error).__name__}: {error}",
        next="Run 'relup status' to see what the node runs, and report this with the traceback above.",
    )
    told.runs_now = "unknown to this command; the journal has every step that was begun"
    return told
