"""What the command line of a running Erlang VM tells. Pure: words in, facts out.

A real one: `…/beam.smp -Bd -- -root /opt/emqx -bindir … -- -boot … -name emqx@h -setcookie c -start_epmd false`.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath

_HELPERS = ("hidden", "remsh", "escript", "compile")
"""Flags of short-lived nodes beside the real one: remote shells, `ctl` and other tools."""
_TLS = {"inet_tls", "inet6_tls"}


class CommandLine:
    """The flags of one VM, each with the words behind it; the last of several counts."""

    def __init__(self, words: Sequence[str]) -> None:
        self._flags: dict[str, list[str]] = {}
        program = PurePosixPath(words[0]).name if words else ""
        self.is_beam = program == "beam" or program.startswith("beam.")
        values: list[str] = []
        for word in words[1:]:
            if word.startswith("-") and len(word) > 1:
                values = []
                self._flags[word[1:]] = values
            else:
                values.append(word)

    def value(self, flag: str) -> str | None:
        """The last word behind a flag; None without the flag or a word."""
        values = self._flags.get(flag)
        return values[-1] if values else None

    @property
    def is_helper(self) -> bool:
        """Whether it is a tool's VM, not the node itself."""
        listens = self.value("dist_listen") != "false"
        return not listens or any(flag in self._flags for flag in _HELPERS)

    @property
    def is_tls(self) -> bool:
        """Whether distribution is encrypted. EMQX names it -ekka_proto_dist, Erlang -proto_dist."""
        return not _TLS.isdisjoint((self.value("proto_dist"), self.value("ekka_proto_dist")))

    @property
    def fixed_port(self) -> int | None:
        """The port given by OTP's own flag (`-erl_epmd_port`), None without it."""
        port = self.value("erl_epmd_port")
        return int(port) if port is not None and port.isdecimal() else None

    @property
    def uses_epmd(self) -> bool:
        """Whether epmd knows it; EMQX replaces epmd by a module of its own that knows the fixed ports."""
        return self.value("epmd_module") is None and self.value("start_epmd") != "false"
