"""From what is known of a node to an open connection: which port, which cookie, TLS or not."""

from typing import TYPE_CHECKING

from engine.node.address import EPMD_PORT, Address, address_from_epmd, fixed_address, host_of
from engine.node.connection import Connection
from engine.node.cookie import Cookie
from engine.node.discovery import KnownNode
from engine.node.errors import CookieUnknown, TlsRefused

if TYPE_CHECKING:
    import ssl


def address_of(known: KnownNode, *, host: str | None = None, timeout_s: float = 5.0) -> Address:
    """Where the node listens; epmd is asked where the node relies on it.

    Args:
        host: Instead of the host in its name.

    Raises:
        NodeDown, ProtocolViolation: As `address_from_epmd`.
    """
    if known.port is not None:
        return Address(known.name, host or host_of(known.name), known.port)
    if known.uses_epmd:
        return address_from_epmd(
            known.name, host=host, epmd_port=known.epmd_port or EPMD_PORT, timeout_s=timeout_s
        )
    return fixed_address(known.name, host=host)


def connect(
    known: KnownNode, *, cookie: Cookie | None = None, host: str | None = None, timeout_s: float = 5.0
) -> Connection:
    """An open connection to the node.

    Args:
        cookie: Instead of the one that discovery found.
        host: Instead of the host in its name.

    Raises:
        CookieUnknown: Nobody knows the cookie.
        NodeUnreachable: As `Connection`.
    """
    cookie = cookie or known.cookie
    if cookie is None:
        raise CookieUnknown(
            f"The cookie of node {known.name} is not known.",
            next="Give a file that holds it (--cookie-file).",
        )
    tls = _tls_of(known)
    address = address_of(known, host=host, timeout_s=timeout_s)
    return Connection(address, cookie=cookie, tls=tls, timeout_s=timeout_s)


def _tls_of(known: KnownNode) -> "ssl.SSLContext | None":
    """What the connection is encrypted with; None for a node that does not encrypt its distribution."""
    if not known.is_tls:
        return None
    if known.dist_optfile is None:
        raise TlsRefused(
            f"Node {known.name} encrypts its distribution, but its command line has no -ssl_dist_optfile.",
            next="Start the node with -ssl_dist_optfile.",
        )
    # Imported here: ssl takes long to import, and few nodes need it.
    from engine.node.tls import context_from_optfile

    return context_from_optfile(known.dist_optfile)
