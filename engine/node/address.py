"""Where a node listens: EMQX's fixed ports, or epmd's answer. epmd is asked, never started or ended.

Source of the fixed ports: EMQX's dist module; of epmd's protocol: ERTS User's Guide, "EPMD Protocol".
"""

import re
import socket
from struct import Struct

import msgspec

from engine.node.errors import InvalidNodeName, NodeDown, ProtocolViolation

EPMD_PORT = 4369
_EMQX_BASE_PORT = 4370
_PORT_PLEASE2_REQUEST = Struct(">HB")
_PORT2_RESPONSE = Struct(">BBH")
_REQUEST_TAG = 122
_RESPONSE_TAG = 119


class Address(msgspec.Struct, frozen=True):
    """A node's name, and the host and port where it listens for other nodes."""

    node: str
    host: str
    port: int


def fixed_port(node: str) -> int:
    """EMQX's port of a node name: 4370 plus the number that ends the part before the @.

    Raises:
        InvalidNodeName: That is no port (emqx99999@…).
    """
    digits = re.search(r"[0-9]*$", node.partition("@")[0])
    port = _EMQX_BASE_PORT + int(digits[0] or 0) if digits else _EMQX_BASE_PORT
    if port > 0xFFFF:
        raise InvalidNodeName(
            f"Node name {node} gives port {port}, which is none.", next="Give the node's distribution port."
        )
    return port


def host_of(node: str) -> str:
    """The part behind the @.

    Raises:
        InvalidNodeName: There is none.
    """
    name, _, host = node.partition("@")
    if not name or not host:
        raise InvalidNodeName(f"'{node}' is no full node name.", next="Give it as name@host.")
    return host


def fixed_address(node: str, *, host: str | None = None) -> Address:
    """Where an EMQX node listens; nobody is asked."""
    return Address(node, host or host_of(node), fixed_port(node))


def address_from_epmd(
    node: str, *, host: str | None = None, epmd_port: int = EPMD_PORT, timeout_s: float = 5.0
) -> Address:
    """Where a node listens, as the epmd of its host says.

    Raises:
        NodeDown: No epmd there, or it does not know the node.
        ProtocolViolation: What answers there is no epmd.
    """
    host = host or host_of(node)
    name = node.partition("@")[0].encode()
    request = _PORT_PLEASE2_REQUEST.pack(len(name) + 1, _REQUEST_TAG) + name
    try:
        with socket.create_connection((host, epmd_port), timeout=timeout_s) as epmd:
            epmd.sendall(request)
            answer = _received(epmd)
    except OSError as why:
        raise NodeDown(
            f"No epmd answers at {host}:{epmd_port} ({why.strerror or why}), so node {node} is not running.",
            next="Start the node, or give its distribution port.",
        ) from None
    return Address(node, host, _port(answer, node=node, epmd=f"{host}:{epmd_port}"))


def _received(epmd: socket.socket) -> bytes:
    """All that epmd answers; it hangs up after it. Four bytes say all that is needed."""
    answer = b""
    while len(answer) < _PORT2_RESPONSE.size and (more := epmd.recv(512)):
        answer += more
    return answer


def _port(answer: bytes, *, node: str, epmd: str) -> int:
    if len(answer) < 2 or answer[0] != _RESPONSE_TAG:
        raise ProtocolViolation(
            f"What answers at {epmd} is no epmd.", next="Give the node's distribution port, or epmd's."
        )
    if answer[1] != 0 or len(answer) < _PORT2_RESPONSE.size:
        raise NodeDown(
            f"The epmd at {epmd} knows no node {node}.", next="Start the node, or check its name (--node)."
        )
    port: int = _PORT2_RESPONSE.unpack_from(answer)[2]
    return port
