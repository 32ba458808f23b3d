"""One line of the bench's table. Every room's bench answers with these; nothing is measured here."""

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One measured value and what it is held against.

    Attributes:
        name: What was measured, room first: `cli: relup status`.
        value: The measurement, in `unit`.
        unit: `s`, `ms`, `events/s`, `MiB`, `x`.
        baseline: The same work done the other way in the same run, in `unit`.
        ratio: `value` / `baseline`, where a goal is said as a ratio.
        goal: The goal in words, `< 0.25 s`; None for a number shown only beside others.
        met: Whether this run met the goal; None without one.
    """

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    goal: str | None = None
    met: bool | None = None
