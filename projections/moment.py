"""How a moment is shown: RFC 3339, UTC, whole seconds for people and nanoseconds beside it for programs."""

from datetime import UTC, datetime

NS_PER_S = 1_000_000_000


def shown(at_ns: int) -> str:
    """`2026-07-14T03:15:02Z`."""
    return datetime.fromtimestamp(at_ns // NS_PER_S, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_moment(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time or date; without an offset it is UTC.

    Raises:
        ValueError: It is neither.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * NS_PER_S + moment.microsecond * 1000
