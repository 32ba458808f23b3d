"""Single values of etc/emqx.conf, which is HOCON. Text in, strings out; no file is opened here.

A subset: objects, dotted keys, quotes, comments; lists and includes are passed over, substitutions are not
made. Source: EMQX documentation, "Configuration Files".
"""

import re
from collections.abc import Iterator, Mapping

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r]+ | (?:\#|//)[^\n]*)
      | \"\"\"(?P<block>.*?)\"\"\"
      | "(?P<quoted>(?:[^"\\\n]|\\.)*)"
      | (?P<mark>[{}\[\],=:\n]|\+=)
      | (?P<bare>(?:(?!//)[^{}\[\],=:\n\#"])+)
      | (?P<stray>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "/": "/"}
_OPENING = "{["
_CLOSING = "}]"


def values_of(conf: str) -> Mapping[str, str]:
    """Every plain value by its dotted key; the last one counts where a key stands twice."""
    found: dict[str, str] = {}
    folders: list[str] = []  # the keys of the objects we are in; "" for a list
    key = ""
    value: str | None = None  # None until the = after a key
    for kind, text in [*_tokens(conf), ("mark", "\n")]:
        if kind != "mark":
            if value is None:
                key += text
            else:
                value += text
        elif text in ("=", ":", "+=") and value is None:
            value = ""
        elif text in _OPENING:
            folders.append(key.strip() if text == "{" and "" not in folders else "")
            key, value = "", None
        elif text in (",", "\n", *_CLOSING):
            if value is not None and value.strip() and "" not in folders:
                found[".".join([*folders, key.strip()])] = value.strip()
            if text in _CLOSING and folders:
                folders.pop()
            if text != "\n" or value or key.startswith("include"):
                key, value = "", None
        else:
            value = (value or "") + text
    return found


def _tokens(conf: str) -> Iterator[tuple[str, str]]:
    for token in _TOKEN.finditer(conf):
        kind = token.lastgroup or ""
        if kind == "quoted":
            yield kind, re.sub(r"\\(.)", lambda escape: _ESCAPED.get(escape[1], escape[1]), token[kind])
        elif kind != "blank":
            yield kind, token[kind]
