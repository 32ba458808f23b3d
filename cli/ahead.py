"""What is loaded ahead of becoming another user: afterwards relup's own files may be out of reach.

Commands import what they need when they need it. Root's Python may lie in a folder that the node's user
cannot enter, so before root becomes that user, all that any command may need is there.
"""

import pkgutil
from importlib import import_module

ROOMS = ("cli", "engine", "journal", "projections")
OUTSIDE = (
    *("encodings.ascii", "encodings.idna", "encodings.latin_1", "encodings.unicode_escape"),
    *("shutil", "ssl", "subprocess", "tempfile", "traceback"),
    *("psutil", "rich.console", "rich.progress", "rich.table"),
)
"""What the rooms, or the libraries behind them, import only when it is needed."""


def load_rooms() -> None:
    """Import every module of the rooms."""
    for room in ROOMS:
        for found in pkgutil.walk_packages(import_module(room).__path__, f"{room}."):
            import_module(found.name)


def load_everything() -> None:
    """Import every module of the rooms and of OUTSIDE, and read the agent's source."""
    load_rooms()
    for name in OUTSIDE:
        import_module(name)

    from engine.agent.source import WALK, agent_source, looking_source

    agent_source()
    looking_source(WALK)
