"""TLS as the node itself does it towards other nodes: from the client part of its `ssl_dist_optfile`.

Source: SSL User's Guide, "Using TLS for Erlang Distribution". An option that is not named here does not
concern a client's session, or Python's ssl module has no say in it. Without `verify` the node is not checked,
as in OTP up to 25: the handshake proves the cookie both ways.
"""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import RelupError
from engine.node.errors import TlsRefused
from engine.release.terms import read_term_file
from engine.term import Atom, Term, text_of

_CORRECT_IT = "Correct the file that the node's -ssl_dist_optfile names, or the files it names."


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """What a client session needs; paths as the file has them.

    Attributes:
        checks_name: Whether the certificate must be for the host in the node's name.
    """

    certfile: str | None = None
    keyfile: str | None = None
    cacertfile: str | None = None
    password: str | None = field(default=None, repr=False)
    verifies: bool = False
    checks_name: bool = True


def options_of(optfile: Term) -> TlsOptions:
    """The client's options of a parsed optfile, `[{server, […]}, {client, […]}]`.

    Raises:
        TlsRefused: It is no such list.
    """
    sides = _properties(optfile)
    options = _properties(sides.get("client", []))
    return TlsOptions(
        certfile=_text(options, "certfile"),
        keyfile=_text(options, "keyfile"),
        cacertfile=_text(options, "cacertfile"),
        password=_text(options, "password"),
        verifies=options.get("verify") == "verify_peer",
        checks_name=options.get("server_name_indication") != "disable",
    )


def client_context(options: TlsOptions, *, folder: Path = Path("/")) -> ssl.SSLContext:
    """A context for sessions with the node; relative paths are relative to `folder`.

    Raises:
        TlsRefused: A file is missing, unreadable or no certificate or key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = options.verifies and options.checks_name
    context.verify_mode = ssl.CERT_REQUIRED if options.verifies else ssl.CERT_NONE
    named = options.certfile
    try:
        if options.cacertfile is not None:
            named = options.cacertfile
            context.load_verify_locations(folder / options.cacertfile)
        if options.certfile is not None:
            named = f"{options.certfile} or its key"
            key = folder / options.keyfile if options.keyfile is not None else None
            # Without a password Python would ask for it at the terminal.
            context.load_cert_chain(folder / options.certfile, key, password=options.password or "")
    except (OSError, ValueError) as why:
        reason = getattr(why, "reason", None) or getattr(why, "strerror", None) or why
        raise TlsRefused(f"{named} cannot be used ({reason}).", next=_CORRECT_IT) from None
    return context


def context_from_optfile(path: Path) -> ssl.SSLContext:
    """A context made from the node's own option file.

    Raises:
        TlsRefused: The file or one that it names is no use.
    """
    try:
        optfile = read_term_file(path)
    except RelupError as why:
        raise TlsRefused(why.happened, next=_CORRECT_IT) from None
    return client_context(options_of(optfile), folder=path.parent)


def _properties(term: Any) -> dict[str, Any]:
    """A property list; a lone atom means `{Atom, true}`, the first of two counts."""
    if not isinstance(term, list):
        raise TlsRefused("The TLS option file is no list of options.", next=_CORRECT_IT)
    found: dict[str, Any] = {}
    for option in term:
        match option:
            case (Atom() as name, value):
                found.setdefault(name, value)
            case Atom():
                found.setdefault(option, Atom("true"))
    return found


def _text(options: dict[str, Any], name: str) -> str | None:
    value = options.get(name)
    try:
        return None if value is None else text_of(value)
    except ValueError:
        raise TlsRefused(f"Option {name} of the TLS option file is no text.", next=_CORRECT_IT) from None
