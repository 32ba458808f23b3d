"""The entry of the command line, and the one place where errors leave the program.

`relup status` has a quarter of a second for everything, and typer's import alone takes more than half of
that: a plain `status` is recognised and answered without it (cli/quick.py), all else goes to cli/app.py.
"""

import sys
from typing import Any

from cli.exit_codes import exit_code
from cli.output import Output
from cli.quick import context_of_status


def run() -> None:
    """Run the command line and leave with its exit code."""
    arguments = sys.argv[1:]
    try:
        _obey(arguments)
    except BrokenPipeError:
        # Whoever read our answer has enough of it.
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        sys.exit(_told(error, arguments))


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
