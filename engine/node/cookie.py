"""The node's cookie: a value that is never printed, logged or compared in the open by accident."""

from pathlib import Path

from engine.node.errors import CookieUnknown


class Cookie:
    """A cookie. Its repr, str and format hide it; `reveal` is for the handshake alone."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The cookie itself."""
        return self._text

    def __repr__(self) -> str:
        return "Cookie(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cookie) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


def cookie_from_file(path: Path) -> Cookie:
    """The cookie that a file holds, whitespace around it left out.

    Raises:
        CookieUnknown: The file cannot be read or holds none.
    """
    try:
        text = path.read_text(encoding="latin-1").strip()
    except OSError as why:
        raise CookieUnknown(
            f"Cookie file {path} cannot be read ({why.strerror}).", next="Give a file that you may read."
        ) from None
    if not text:
        raise CookieUnknown(f"Cookie file {path} is empty.", next="Write the node's cookie into it.")
    return Cookie(text)
