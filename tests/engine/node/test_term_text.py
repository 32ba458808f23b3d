"""What `format_term` writes, a real node reads back as the same term."""

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.node.connection import Connection
from engine.term import Term, charlist, format_term
from tests.engine.node.terms import text_terms

LONG_S = 60.0


@settings(max_examples=60, deadline=None)
@given(batch=st.lists(text_terms, max_size=10))
def test_a_node_reads_the_text_as_the_same_term(shared_connection: Connection, batch: list[Term]) -> None:
    """erl_scan and erl_parse, of a real node, give back exactly the term that was written."""
    text = charlist(f"{format_term(batch)}.")
    scanned = shared_connection.call("erl_scan", "string", [text], timeout_s=LONG_S)
    assert isinstance(scanned, tuple)
    assert scanned[0] == "ok", scanned
    read = shared_connection.call("erl_parse", "parse_term", [scanned[1]], timeout_s=LONG_S)
    assert isinstance(read, tuple)
    assert shared_connection.call("erlang", "=:=", [read[1], batch], timeout_s=LONG_S) == "true"
