"""Whom relup works as: started by root it becomes the user of the node, before it writes its first byte.

What root alone can read (tarball, sidecar, cookie file) is opened before `become`. Nothing is chowned: all
that relup writes under RootDir belongs to the node's user from the start.
"""

import os
import pwd
from pathlib import Path
from typing import NamedTuple

from engine.errors import BadRequest


class Owner(NamedTuple):
    """A user and the primary group of what it writes."""

    uid: int
    gid: int


class WrongUser(BadRequest):
    """Neither root nor the user of the node."""

    name = "wrong_user"


def owner_of(root: Path, *, os_pid: int | None = None) -> Owner:
    """The user of the running node `os_pid`; RootDir's owner when the node is down."""
    running = Path("/proc") / str(os_pid)
    seen = (running if os_pid is not None and running.exists() else root).stat()
    return Owner(seen.st_uid, seen.st_gid)


def become(owner: Owner) -> None:
    """Be `owner` from here on, for good: groups, group, user, in that order.

    Nothing to do for the owner itself.

    Raises:
        WrongUser: This process is neither `owner` nor root.
    """
    if os.geteuid() == owner.uid:
        return
    if os.geteuid() != 0:
        raise WrongUser(
            f"the node belongs to {name_of(owner.uid)}, and this is {name_of(os.geteuid())}",
            next="run relup as root" if owner.uid == 0 else f"run relup as {name_of(owner.uid)} or as root",
        )
    os.setgroups(_groups(owner))
    os.setgid(owner.gid)
    os.setuid(owner.uid)
    assert os.getresuid() == (owner.uid,) * 3, "root was left behind for good"
    assert os.getresgid() == (owner.gid,) * 3, "root's group was left behind for good"


def name_of(uid: int) -> str:
    """`emqx (uid 1000)`; only the number for a user that this machine does not know."""
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _groups(owner: Owner) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(owner.uid).pw_name, owner.gid)
    except KeyError:
        return [owner.gid]
