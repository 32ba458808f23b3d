"""What can go wrong between us and the node, grouped by blame; each says whose fault it was.

A cookie never stands in a text here.
"""

from engine.errors import BadRequest, Busy, NodeUnreachable
from engine.term import Term, format_term

_REASON_LIMIT = 500


class InvalidNodeName(BadRequest):
    """A node's name is `name@host`; where the name ends in digits, they tell the port."""

    name = "invalid_node_name"


class CookieUnknown(BadRequest):
    """The node's cookie is not known: it was not found, or the file that was given holds none."""

    name = "cookie_unknown"


class NodeDown(NodeUnreachable):
    """Nothing answers at the node's address."""

    name = "node_down"


class WrongCookie(NodeUnreachable):
    """The node, or we, refused the other's proof that it knows the cookie."""

    name = "wrong_cookie"


class HandshakeRefused(NodeUnreachable):
    """The node speaks the protocol and does not want us, or we do not want it."""

    name = "handshake_refused"


class TlsRefused(NodeUnreachable):
    """The TLS session with the node could not be set up: certificates, keys, versions."""

    name = "tls_refused"


class ProtocolViolation(NodeUnreachable):
    """What came over the wire is no distribution protocol."""

    name = "protocol_violation"


class DecodeError(ProtocolViolation):
    """Bytes that are no External Term Format, or more than we are willing to hold."""

    def __init__(self, happened: str, *, offset: int) -> None:
        super().__init__(
            f"Byte {offset} of a term: {happened}.",
            next="Check that the node is an Erlang/OTP 23 or newer node and nothing sits between.",
        )
        self.offset = offset


class EncodeError(TypeError):
    """Our own code tried to send a value that is no Erlang term."""


class CallTimedOut(NodeUnreachable):
    """No answer before the deadline; whether the call ran, runs or will run is unknown."""

    name = "call_timed_out"


class ConnectionLost(NodeUnreachable):
    """The connection broke; what was under way has an unknown outcome."""

    name = "connection_lost"


class AgentBusy(Busy):
    """The agent in the VM is at another step."""

    name = "agent_busy"


class NodeNotFound(NodeUnreachable):
    """No running node, and nothing on disk, tells how the node is reached."""

    name = "node_not_found"


class SeveralNodes(BadRequest):
    """More than one running node fits; the operator has to say which."""

    name = "several_nodes"


class RemoteException(NodeUnreachable):
    """The called function raised inside the node: `kind` is error, exit or throw.

    Attributes:
        kind: The Erlang class.
        reason: The term that was raised.
        stack: The Erlang stack trace, `[]` where there is none.
    """

    name = "remote_exception"

    def __init__(self, kind: str, reason: Term, stack: Term, *, called: str) -> None:
        shown = format_term(reason)
        super().__init__(
            f"{called} in the node raised {kind}: {shown[:_REASON_LIMIT]}.",
            next="Look at the node's log; the connection is still usable.",
        )
        self.kind = kind
        self.reason = reason
        self.stack = stack
