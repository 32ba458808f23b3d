"""EMQX versions: what one is, which of two is newer, which may follow which in a hot upgrade. Pure.

A version names folders (`relup/<version>/`, `releases/<version>/`), so its text is checked to be a safe path
component: digits, dots and one suffix of letters, digits, `.`, `+`, `-`. Source: the version texts of EMQX
5.x releases ("5.10.4", "5.6.1+patch.A", "5.10.4-rc.3").
"""

import re
from functools import total_ordering

import msgspec

from engine.release.errors import InvalidVersion

MAX_LENGTH = 64
_SHAPE = re.compile(
    r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})"
    r"((?:[-+][0-9A-Za-z]+(?:[.+-][0-9A-Za-z]+)*)?)",
    re.ASCII,
)
_PRE_RELEASE, _RELEASE, _PATCHED = 0, 1, 2


@total_ordering
class Version(msgspec.Struct, frozen=True):
    """One version, ordered: `5.10.4-rc.3` < `5.10.4-rc.10` < `5.10.4` < `5.10.4+patch.A` < `5.10.5`.

    Attributes:
        suffix: With its sign, `""` where there is none.
    """

    major: int
    minor: int
    patch: int
    suffix: str = ""

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}{self.suffix}"

    def __lt__(self, other: "Version") -> bool:
        return self._order() < other._order()

    def _order(self) -> tuple[object, ...]:
        rank = {"": _RELEASE, "+": _PATCHED, "-": _PRE_RELEASE}[self.suffix[:1]]
        parts = tuple(
            (0, int(part), "") if part.isdigit() else (1, 0, part)
            for part in re.split(r"[.+-]", self.suffix[1:])
        )
        return (self.major, self.minor, self.patch, rank, parts)


def is_version(text: str) -> bool:
    """Whether the text is a version, and therefore safe as one component of a path."""
    return len(text) <= MAX_LENGTH and _SHAPE.fullmatch(text) is not None


def parse_version(text: str) -> Version:
    """The version that the text is.

    Raises:
        InvalidVersion: It is none.
    """
    found = _SHAPE.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if found is None:
        raise InvalidVersion(
            f"{text[:MAX_LENGTH]!r} is not a version such as 5.10.4, 5.10.4-rc.3 or 5.6.1+patch.A",
            next="Write the version as the release does in releases/emqx_vars (REL_VSN).",
        )
    major, minor, patch, suffix = found.groups()
    return Version(int(major), int(minor), int(patch), suffix)


def is_same_minor(one: Version, other: Version) -> bool:
    """Whether only the patch digit or the suffix tells the two apart."""
    return (one.major, one.minor) == (other.major, other.minor)


def is_newer_patch(target: Version, *, than: Version) -> bool:
    """Whether a hot upgrade may lead from `than` to `target`."""
    return is_same_minor(target, than) and than < target
