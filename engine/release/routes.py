"""Ways of several hops through a catalog. Pure."""

from collections import deque
from collections.abc import Iterable

Route = tuple[str, ...]
"""The versions in order, both ends included."""


def routes_between(
    pairs: Iterable[tuple[str, str]], *, from_version: str, target_version: str | None = None
) -> tuple[Route, ...]:
    """The way with the fewest hops to the target, or to each version that can be reached.

    Args:
        pairs: The hops, as `(from, target)`.
        target_version: None for all.
    """
    onward: dict[str, list[str]] = {}
    for start, end in pairs:
        onward.setdefault(start, []).append(end)
    shortest: dict[str, Route] = {from_version: (from_version,)}
    waiting = deque([from_version])
    while waiting:
        here = waiting.popleft()
        for there in onward.get(here, ()):
            if there not in shortest:
                shortest[there] = (*shortest[here], there)
                waiting.append(there)
    wanted = [version for version in shortest if target_version in (None, version)]
    return tuple(shortest[version] for version in wanted if version != from_version)


def routes_of(pairs: Iterable[tuple[str, str]]) -> tuple[Route, ...]:
    """Every way of more than one hop, from every version of the catalog."""
    kept = list(pairs)
    starts = dict.fromkeys(start for start, _ in kept)
    return tuple(
        route for start in starts for route in routes_between(kept, from_version=start) if len(route) > 2
    )
