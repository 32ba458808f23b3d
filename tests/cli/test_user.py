"""Root becomes the user of the node before it writes; anybody else but that user is told so."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from cli.user import Owner, WrongUser, become, name_of, owner_of

HOUSE = Path(__file__).resolve().parents[2]
STRANGER = Owner(uid=54_321, gid=54_322)
"""A user that no machine has in its password file."""

AS_SOMEBODY = """
import os, sys
from cli.user import Owner, become
become(Owner(int(sys.argv[1]), int(sys.argv[2])))
print(os.getresuid(), os.getresgid(), sorted(os.getgroups()))
open(sys.argv[3], "w").close()
try:
    os.setuid(0)
    print("root again")
except PermissionError:
    print("for good")
"""


def in_a_child(program: str, *words: object) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(HOUSE)}
    command = [sys.executable, "-c", program, *map(str, words)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def test_root_becomes_the_owner_in_user_group_and_groups_and_cannot_go_back(tmp_path: Path) -> None:
    """All three ids of user and group change, root's groups are gone, and the first file is the owner's."""
    if os.geteuid() != 0:
        result = in_a_child(AS_SOMEBODY, os.geteuid(), os.getegid(), tmp_path / "written")
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "written").stat().st_uid == os.geteuid()
        return
    folder = tmp_path / "root"
    folder.mkdir()
    os.chown(folder, *STRANGER)
    for above in [folder, *folder.parents][1:-2]:
        above.chmod(above.stat().st_mode | 0o011)
    result = in_a_child(AS_SOMEBODY, *STRANGER, folder / "written")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"{(STRANGER.uid,) * 3} {(STRANGER.gid,) * 3} [{STRANGER.gid}]",
        "for good",
    ]
    written = (folder / "written").stat()
    assert (written.st_uid, written.st_gid) == STRANGER


def test_groups_go_before_the_group_and_the_group_before_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """In any other order the rest would be forbidden, or root's groups would stay."""
    calls: list[tuple[str, object]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda value, name=name: calls.append((name, value)))
    monkeypatch.setattr(os, "getresuid", lambda: (STRANGER.uid,) * 3)
    monkeypatch.setattr(os, "getresgid", lambda: (STRANGER.gid,) * 3)
    become(STRANGER)
    assert calls == [("setgroups", [STRANGER.gid]), ("setgid", STRANGER.gid), ("setuid", STRANGER.uid)]


def test_a_known_user_brings_its_own_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node's user that may read its certificates by a group may do so in relup too."""
    user = pwd.getpwall()[1]
    groups: list[int] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0 if user.pw_uid else 1)
    monkeypatch.setattr(os, "setgroups", groups.extend)
    monkeypatch.setattr(os, "setgid", lambda gid: None)
    monkeypatch.setattr(os, "setuid", lambda uid: None)
    monkeypatch.setattr(os, "getresuid", lambda: (user.pw_uid,) * 3)
    monkeypatch.setattr(os, "getresgid", lambda: (user.pw_gid,) * 3)
    become(Owner(user.pw_uid, user.pw_gid))
    assert sorted(groups) == sorted(os.getgrouplist(user.pw_name, user.pw_gid))


def test_the_owner_itself_has_nothing_to_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of the node needs no privilege to be itself."""
    monkeypatch.setattr(os, "setgroups", lambda groups: pytest.fail("dropped what it does not have"))
    become(Owner(os.geteuid(), os.getegid()))


def test_anybody_else_is_told_whom_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a wrong user would be unreadable for the node, so nothing is begun."""
    monkeypatch.setattr(os, "geteuid", lambda: 65_533)
    with pytest.raises(WrongUser) as refused:
        become(STRANGER)
    assert "uid 54321" in refused.value.happened
    assert "uid 65533" in refused.value.happened
    assert refused.value.next == "run relup as uid 54321 or as root"
    assert refused.value.name == "wrong_user"


def test_the_user_of_a_running_node_is_that_of_its_process(tmp_path: Path) -> None:
    """A node that was started by somebody else than RootDir's owner writes as somebody else."""
    assert owner_of(tmp_path, os_pid=os.getpid()) == (os.geteuid(), os.getegid())
    assert owner_of(tmp_path, os_pid=None) == (tmp_path.stat().st_uid, tmp_path.stat().st_gid)


def test_the_user_of_a_node_that_just_died_is_the_root_s_owner(tmp_path: Path) -> None:
    """A process that is gone cannot be asked."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert owner_of(tmp_path, os_pid=ended.pid) == (tmp_path.stat().st_uid, tmp_path.stat().st_gid)


def test_users_are_named_with_their_number() -> None:
    """A number alone says little, a name alone can mislead in a container."""
    assert name_of(0) == "root (uid 0)"
    assert name_of(STRANGER.uid) == "uid 54321"
