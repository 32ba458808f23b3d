"""How the engine tells what it is doing, without knowing who listens."""

from typing import Protocol


class Progress(Protocol):
    """Phases follow one another; `step` opens one and closes the one before."""

    def step(self, title: str, *, total: int | None = None, unit: str = "") -> None:
        """A phase begins: `unpack target`, of `total` `unit`s ("bytes", "modules") where known."""
        ...

    def total(self, total: int, *, unit: str) -> None:
        """The current phase's total is known now."""
        ...

    def reached(self, done: int) -> None:
        """`done` of the current phase's total."""
        ...

    def note(self, text: str) -> None:
        """One line worth keeping on the screen."""
        ...


class Silent:
    """Nobody listens."""

    def step(self, title: str, *, total: int | None = None, unit: str = "") -> None: ...

    def total(self, total: int, *, unit: str) -> None: ...

    def reached(self, done: int) -> None: ...

    def note(self, text: str) -> None: ...
