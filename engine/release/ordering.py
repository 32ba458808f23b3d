"""The order in which a hop may switch modules: who is called comes before who calls. Pure."""

from collections.abc import Iterable, Mapping


def callees_first(modules: Iterable[str], calls: Mapping[str, frozenset[str]]) -> list[tuple[str, ...]]:
    """The modules in groups, callees before callers; a group of several calls each other in a circle.

    Tarjan's strongly connected components, without recursion. Groups and their members are in a stable order.

    Args:
        calls: For each module, the modules it calls; others than `modules` are let be.
    """
    wanted = sorted(modules)
    known = set(wanted)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    waiting: set[str] = set()
    groups: list[tuple[str, ...]] = []
    for root in wanted:
        if root in index:
            continue
        work = [(root, iter(sorted(calls.get(root, frozenset()) & known)))]
        index[root] = low[root] = len(index)
        stack.append(root)
        waiting.add(root)
        while work:
            module, callees = work[-1]
            callee = next((name for name in callees if name not in index or name in waiting), None)
            if callee is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[module])
                if low[module] == index[module]:
                    groups.append(_popped(stack, until=module))
                    waiting.difference_update(groups[-1])
            elif callee in index:
                low[module] = min(low[module], index[callee])
            else:
                index[callee] = low[callee] = len(index)
                stack.append(callee)
                waiting.add(callee)
                work.append((callee, iter(sorted(calls.get(callee, frozenset()) & known))))
    return groups


def _popped(stack: list[str], *, until: str) -> tuple[str, ...]:
    at = stack.index(until)
    group = tuple(sorted(stack[at:]))
    del stack[at:]
    return group
