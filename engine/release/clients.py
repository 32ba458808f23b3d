"""Clients whose connections a hop ends by restarting the application that they belong to. Pure."""

from collections.abc import Iterator

from engine.release.case import Case
from engine.release.findings import Finding


def client_findings(case: Case) -> Iterator[Finding]:
    """One finding per restarted application that has connections of clients, in the hop's order."""
    sampled = sum(case.live.clients.values())
    for application in case.hop.restarted():
        if served := case.live.clients.get(application, 0):
            yield Finding(
                code="restart_ends_clients",
                severity="error",
                subject=application,
                happened=f"the hop restarts {application}, and {served} of {sampled} clients that were looked at have"
                " their connections in it; a restart ends them",
                next="Load and update its modules in place of the restart. --max-lost accepts as many as there are.",
            )
