"""Where the archive's symlinks lead. Pure.

A target is relative and climbs only at its start. The folders above a link are real ones (no
name is both folder and link), so its first climbs mean what they say, and every further link met on the
way keeps the same rule: what stays inside by its text stays inside in truth.
"""

from engine.release.archive_errors import SymlinkAbsolute, SymlinkEscapes, SymlinkIndirect, SymlinkLoop

_LONGEST_CHAIN = 16


class Links:
    """The symlinks of one archive."""

    def __init__(self) -> None:
        self._targets: dict[str, str] = {}
        """Path of the link to the path it means, both from the top."""

    def add(self, path: str, target: str) -> None:
        """Take in a link.

        Raises:
            SymlinkAbsolute, SymlinkEscapes, SymlinkIndirect
        """
        if target.startswith("/"):
            raise SymlinkAbsolute(path)
        parts = [part for part in target.split("/") if part not in ("", ".")]
        climbs = 0
        while climbs < len(parts) and parts[climbs] == "..":
            climbs += 1
        down = parts[climbs:]
        if not target or ".." in down:
            raise SymlinkIndirect(path)
        above = path.split("/")[:-1]
        if climbs > len(above):
            raise SymlinkEscapes(path)
        self._targets[path] = "/".join(above[: len(above) - climbs] + down)

    def refuse_loops(self) -> None:
        """Follow every link through the others.

        Raises:
            SymlinkLoop: One leads back to itself, or through more links than any honest package has.
        """
        for link in self._targets:
            path = link
            for _ in range(_LONGEST_CHAIN):
                onward = self._onward(path)
                if onward is None:
                    break
                path = onward
            else:
                raise SymlinkLoop(link)

    def _onward(self, path: str) -> str | None:
        """The path with its first link replaced; None when there is none on it."""
        at = 0
        while at != -1:
            at = path.find("/", at + 1)
            front = path if at == -1 else path[:at]
            if front in self._targets:
                return self._targets[front] + path[len(front) :]
        return None
