"""Where the etc, data and log of a RootDir lie: in deb and rpm installs elsewhere, and releases/emqx_vars says where.

Source: EMQX's emqx_vars, in which a package assigns them literally (EMQX_ETC_DIR="/etc/emqx") or as the default of
the variable, and an archive relative to the root.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.release.errors import CannotReadEmqxVars
from engine.release.vars import settled_variables


class Folders(msgspec.Struct, frozen=True, kw_only=True):
    """The folders that stay when the release changes."""

    etc: Path
    data: Path
    """Unless the configuration names another (node.data_dir)."""
    log: Path

    def exported(self) -> dict[str, str]:
        """The variables by which bin/emqx of the base root tells a deployed tree where they are."""
        return {
            "EMQX_ETC_DIR": str(self.etc),
            "RUNNER_DATA_DIR": str(self.data),
            "RUNNER_LOG_DIR": str(self.log),
            "EMQX_LOG_DIR": str(self.log),
        }


def folders_of(root: Path, *, environment: Mapping[str, str] = os.environ) -> Folders:
    """The folders of a RootDir; its own where emqx_vars cannot be read or names none."""
    try:
        said = settled_variables(root / "releases" / "emqx_vars", environment)
    except CannotReadEmqxVars:
        said = {}
    return Folders(
        etc=root / (said.get("EMQX_ETC_DIR") or "etc"),
        data=root / (said.get("RUNNER_DATA_DIR") or "data"),
        log=root / (said.get("RUNNER_LOG_DIR") or "log"),
    )
