"""Asking before something cannot be taken back. Where nobody can answer, the answer is no."""

import sys

import typer


def agreed(question: str) -> bool:
    """Whether the person at the terminal says yes; no when it ends the question.

    Without a terminal the answer is no, and it is said how to say yes beforehand.
    """
    if not sys.stdin.isatty():
        print("not a terminal: --yes does it without asking", file=sys.stderr)
        return False
    try:
        return typer.confirm(question, default=False, err=True)
    except typer.Abort:
        print(file=sys.stderr)
        return False
