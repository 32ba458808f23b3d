"""Asking before something cannot be taken back. Where nobody can answer, the answer is no."""

import sys

import typer


def agreed(question: str) -> bool:
    """Whether the person at the terminal says yes; without a terminal, no, and how to say it beforehand."""
    if not sys.stdin.isatty():
        print("not a terminal: --yes does it without asking", file=sys.stderr)
        return False
    return typer.confirm(question, default=False, err=True)
