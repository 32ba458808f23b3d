"""Reads the agent's Erlang source and gives its modules names that carry the digest of it. Files only.

An agent of another relup has another digest, so two sources never meet under one module name; the name
that is registered in the VM (`relup_agent`) is the same for all.
"""

import hashlib
import re
from functools import cache
from pathlib import Path

import msgspec

WALK = "relup_agent_walk"
"""The one module of the agent that is also interpreted without being loaded."""
HELD_FUNS = "relup_held_funs"
"""Only ever interpreted."""

_DESK = "relup_agent"
_MODULE = re.compile(r"^-module\((relup_agent\w*)\)\.$", re.MULTILINE)
_CALLED = re.compile(r"\b(relup_agent(?:_[a-z]+)?)(?=:[a-z])")


class AgentSource(msgspec.Struct, frozen=True):
    """The agent as it is shipped: `modules` maps the name in the VM to Erlang forms, the desk first."""

    digest: str
    modules: dict[str, tuple[str, ...]]

    @property
    def desk(self) -> str:
        """The module with `start/1`."""
        return next(iter(self.modules))


@cache
def agent_source() -> AgentSource:
    """The agent of this relup."""
    texts = {name: text for name, text in _texts().items() if name.startswith(_DESK)}
    digest = hashlib.sha256("\0".join(texts.values()).encode()).hexdigest()[:8]
    return AgentSource(
        digest=digest,
        modules={f"{name}_{digest}": forms(_named(text, digest)) for name, text in texts.items()},
    )


@cache
def looking_source(module: str) -> tuple[str, ...]:
    """The forms of a module that only looks (`WALK`, `HELD_FUNS`), under its plain name."""
    return forms(_texts()[module])


def forms(text: str) -> tuple[str, ...]:
    """The forms of Erlang source as this folder writes it: comments on lines of their own, and a dot that
    ends a line ends a form.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("%")]
    found: list[str] = []
    form: list[str] = []
    for line in lines:
        form.append(line)
        if line.endswith("."):
            found.append("\n".join(form))
            form = []
    assert not form, "the source ends with a form"
    return tuple(found)


@cache
def _texts() -> dict[str, str]:
    """Every module's text by its plain name, in a fixed order."""
    found = {
        file.name.removesuffix(".erl"): file.read_text(encoding="utf-8")
        for file in Path(__file__).parent.glob("*.erl")
    }
    return {name: found[name] for name in sorted(found)}


def _named(text: str, digest: str) -> str:
    text = _MODULE.sub(rf"-module(\1_{digest}).", text)
    return _CALLED.sub(rf"\1_{digest}", text)
