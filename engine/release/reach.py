"""Processes that an update of the hop does not reach: they keep the old state and meet the new code with it. Pure.

Who found them, and how, is not known here.
"""

from collections.abc import Iterator

from engine.release.case import Case, people, some
from engine.release.findings import Finding


def reach_findings(case: Case) -> Iterator[Finding]:
    """One finding per updated module, in the order of their names."""
    for module in sorted(case.extras):
        missed = case.live.out_of_reach.get(module, ())
        if missed:
            yield Finding(
                code="process_out_of_reach",
                severity="error",
                subject=module,
                happened=f"the hop updates {module}, and {people(len(missed))} of it"
                f" hang under no supervisor that answers: {some(missed)}; they would meet the new code with"
                " their old state",
                next="End them or have them started by a supervisor; where a supervisor did not answer, plan again"
                " when it does.",
            )
