"""Erlang expressions, evaluated in the node by its own erl_eval: what reading calls are made of.

An expression is fixed text; what varies is bound to its variables, so that asking again makes no new atom.
It is scanned and parsed by the node once per connection; nothing is loaded there and nothing stays. It is
wrapped into a fun, because erl_eval answers with all variables of the outermost level.
"""

from collections.abc import Mapping

from engine.node.connection import Connection
from engine.node.errors import ProtocolViolation
from engine.term import Atom, Term, charlist, format_term

PARSE_TIMEOUT_S = 10.0


class Evaluation:
    """Evaluates expressions over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._parsed: dict[str, Term] = {}

    def value(self, expression: str, bindings: Mapping[str, Term] | None = None, *, timeout_s: float) -> Term:
        """The value of `expression` (ending in a dot) with `bindings`.

        Raises:
            RemoteException: It raised in the node.
            NodeUnreachable: The node did not answer.
        """
        parsed = self._parse(f"(fun() -> {expression.strip().removesuffix('.')} end)().")
        bound = [(Atom(name), value) for name, value in (bindings or {}).items()]
        answer = self._connection.call("erl_eval", "exprs", [parsed, bound], timeout_s=timeout_s)
        match answer:
            case ("value", value, _):
                return value
            case _:
                raise _unexpected("erl_eval:exprs", answer)

    def _parse(self, expression: str) -> Term:
        if expression not in self._parsed:
            match self._connection.call(
                "erl_scan", "string", [charlist(expression)], timeout_s=PARSE_TIMEOUT_S
            ):
                case ("ok", tokens, _):
                    pass
                case other:
                    raise _unexpected("erl_scan:string", other)
            match self._connection.call("erl_parse", "parse_exprs", [tokens], timeout_s=PARSE_TIMEOUT_S):
                case ("ok", parsed):
                    self._parsed[expression] = parsed
                case other:
                    raise _unexpected("erl_parse:parse_exprs", other)
        return self._parsed[expression]


def _unexpected(called: str, answer: Term) -> ProtocolViolation:
    return ProtocolViolation(
        f"{called} in the node answered {format_term(answer)[:300]}.",
        next="This is a fault of relup or of its Erlang source; report it.",
    )
