"""Where things lie under RootDir. Paths only; nothing here opens a file."""

from pathlib import Path

import msgspec

STAGING_PREFIX = ".staging-"


class Place(msgspec.Struct, frozen=True):
    """The layout of one install root (reference: EMQX's RootDir, and what relup adds to it).

    Attributes:
        root: RootDir, absolute and resolved; the authority for etc, data, log and plugins.
    """

    root: Path

    @property
    def relup(self) -> Path:
        """All that relup owns."""
        return self.root / "relup"

    @property
    def journal(self) -> Path:
        return self.relup / "journal"

    @property
    def lock(self) -> Path:
        return self.relup / "lock"

    @property
    def marker(self) -> Path:
        """`relup/current`: the version that the next start boots."""
        return self.relup / "current"

    @property
    def own_catalog(self) -> Path:
        return self.relup / "catalog"

    def staging(self, upgrade_id: str) -> Path:
        return self.relup / f"{STAGING_PREFIX}{upgrade_id}"

    def tree(self, version: str) -> Path:
        """The deployed tree of a target version."""
        return self.relup / version

    @staticmethod
    def of_tree(tree: Path) -> "Place":
        """The place that a running tree belongs to: itself, or the RootDir above its `relup/`."""
        tree = tree.resolve()
        return Place(tree.parent.parent if tree.parent.name == "relup" else tree)
