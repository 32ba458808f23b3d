"""Hypothesis strategies for Erlang terms."""

from typing import Any

from hypothesis import strategies as st

from engine.term import Atom, BitString, Export, ImproperList, Pid, Port, Reference, Term, map_of

words = st.integers(0, 2**32 - 1)
atoms = st.text(st.characters(codec="utf-8"), max_size=40).map(Atom)
integers = st.one_of(
    st.integers(),
    st.binary(min_size=254, max_size=258).map(lambda digits: int.from_bytes(digits, "little", signed=True)),
    st.sampled_from([255, 256, 2**31 - 1, 2**31, -(2**31)]),
)
floats = st.floats(allow_nan=False, allow_infinity=False)
bit_strings = st.builds(
    lambda content, bits: BitString(content[:-1] + bytes([content[-1] >> (8 - bits) << (8 - bits)]), bits),
    st.binary(min_size=1, max_size=20),
    st.integers(1, 7),
)
nodes = st.sampled_from([Atom("a@h"), Atom("émqx@127.0.0.1")])
pids = st.builds(Pid, nodes, words, words, words)
ports = st.builds(Port, nodes, st.integers(0, 2**64 - 1), words)
references = st.builds(Reference, nodes, words, st.lists(words, min_size=1, max_size=5).map(tuple))
exports = st.builds(Export, atoms, atoms, st.integers(0, 255))
texts = st.one_of(atoms, integers, floats, st.binary(max_size=40), bit_strings)
scalars = st.one_of(texts, pids, ports, references, exports)


def composed(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Terms made of others."""
    improper = st.builds(
        ImproperList,
        st.lists(parts, min_size=1, max_size=4).map(tuple),
        parts.filter(lambda tail: not isinstance(tail, list | ImproperList)),
    )
    maps = st.lists(st.tuples(parts, parts), max_size=4, unique_by=lambda pair: repr(pair[0])).map(map_of)
    return st.one_of(st.lists(parts, max_size=6), st.lists(parts, max_size=6).map(tuple), improper, maps)


terms: st.SearchStrategy[Term] = st.recursive(scalars, composed, max_leaves=12)
"""Any term."""
text_terms: st.SearchStrategy[Term] = st.recursive(texts, composed, max_leaves=12)
"""Any term that Erlang text can hold."""
