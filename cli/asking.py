"""Asking before something cannot be taken back."""

import sys

import typer


def somebody_is_there() -> bool:
    """Whether there is a terminal to ask at."""
    return sys.stdin.isatty()


def agreed(question: str) -> bool:
    """Whether the person at the terminal says yes; no when it ends the question.

    Without a terminal the answer is no, and it is said how to say yes beforehand.
    """
    if not somebody_is_there():
        print("not a terminal: --yes does it without asking", file=sys.stderr)
        return False
    try:
        return typer.confirm(question, default=False, err=True)
    except typer.Abort:
        print(file=sys.stderr)
        return False
