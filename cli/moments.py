"""Times as options: what an operator types, as nanoseconds since the epoch."""

import typer

MOMENT = "Such as 2026-07-14, 2026-07-14T03:15 or 2026-07-14T03:15:02Z; UTC when nothing else is said."


def moment_option(text: str | None, *, option: str, other: str = "") -> int | None:
    """The moment that an option names; None when it was not given.

    Args:
        text: As it was typed.
        option: Where.
        other: What it is not either, where the option takes something else too.
    """
    from projections.moment import read_moment

    if text is None:
        return None
    try:
        return read_moment(text)
    except ValueError:
        raise typer.BadParameter(f"{option} {text!r} is {other}no time. {MOMENT}") from None
